"""Records files/: small checkpoints written by torch in both formats, and the values in them.

Needs torch:

    python tests/weights/record.py
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

FILES = Path(__file__).parent / "files"


def tensors() -> OrderedDict:
    """Every element type, and every way a tensor can lie in its storage."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 3, 5, generator=generator)
    state = OrderedDict(
        contiguous=base,
        shared_row=base[1],
        shared_column=base[:, :, 2],
        transposed=base.permute(2, 0, 1),
        strided=base[::2, 1:, ::3],
        repeated=base[0, 0, :1].expand(3, 4),
        channels_last=torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        parameter=torch.nn.Parameter(torch.randn(3)),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        truth=torch.tensor([True, False, True]),
    )
    for dtype in ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"):
        state[dtype] = (torch.randn(7, generator=generator) * 50).abs().to(getattr(torch, dtype))
    return state


def checkpoint(state: OrderedDict) -> dict:
    """What a trainer saves: the weights among many other things."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    return {
        "epoch": 3,
        "best": 0.5,
        "model": OrderedDict((f"module.{k}", v) for k, v in state.items()),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "device": torch.device("cpu"),
        "size": torch.Size([3, 4]),
    }


def main() -> None:
    torch.manual_seed(0)
    FILES.mkdir(exist_ok=True)
    state = tensors()
    saved = checkpoint(state)
    torch.save(saved, FILES / "zip.pth")
    torch.save(saved, FILES / "stream.pth", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(3, 2).state_dict(), FILES / "linear.pt")
    torch.save({"w": torch.arange(5).to(torch.uint16)}, FILES / "typed.pth")
    torch.save(torch.nn.Linear(3, 2), FILES / "module.pth")
    arrays = {k: v.detach().float() if v.dtype == torch.bfloat16 else v for k, v in state.items()}
    np.savez(FILES / "values.npz", **{k: v.detach().numpy() for k, v in arrays.items()})


if __name__ == "__main__":
    main()
