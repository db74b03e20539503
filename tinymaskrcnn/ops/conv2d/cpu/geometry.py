"""What a convolution reads and writes. By this its forms are chosen, and from it they plan."""

from __future__ import annotations

from typing import NamedTuple

from ...arguments import output_size

Shape = tuple[int, int, int, int]
Pair = tuple[int, int]


class Geometry(NamedTuple):
    """The shapes and steps of a convolution. It can be hashed, so a plan is made once and kept.

    Attributes:
        x: (N, H, W, C) of the maps that the taps read.
        weight: (O, C/groups, kH, kW).
        y: (N, outH, outW, O) of the maps that are written.
        stride, padding, dilation: (h, w) in pixels.
        groups: of channels, convolved separately.
    """

    x: Shape
    weight: Shape
    y: Shape
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @classmethod
    def of(
        cls, x: Shape, weight: Shape, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> Geometry:
        """With the shape of y that the others lead to."""
        height, width = output_size(x[1:3], weight[2:], stride, padding, dilation)
        y = x[0], height, width, weight[0]
        return cls(x, weight, y, stride, padding, dilation, groups)

    @property
    def dense_3x3(self) -> bool:
        """Whether 3x3 neighbours and all channels are summed at every pixel, as Winograd's forms
        need."""
        return (*self.weight[2:], *self.stride, *self.dilation, self.groups) == (3, 3, *[1] * 5)

    def turned(self) -> Geometry:
        """The convolution that gives the gradient of x from that of y, by the weight turned by 180
        degrees. For strides of 1 only."""
        outs, ins, kernel_h, kernel_w = self.weight
        return self._replace(
            x=self.y,
            weight=(ins, outs, kernel_h, kernel_w),
            y=self.x,
            padding=(
                self.dilation[0] * (kernel_h - 1) - self.padding[0],
                self.dilation[1] * (kernel_w - 1) - self.padding[1],
            ),
        )
