// A head that can learn: matrix products forward, and the gradients of their weights backward. Every
// product is the kernel's (`convolve`), also those of the gradients. A convolution is a product with
// the patches that it looks at. Not here: the losses, and what they are about (training.js).

// A layer over rows. It multiplies with, and changes, the very panels from which the model predicts.
class Dense {
  constructor(ops, { panels, bias, taps, depth, outs }) {
    Object.assign(this, { ops, panels, bias, outs, depth: taps * depth });
    this.length = Math.ceil(outs / ops.panel) * ops.panel * this.depth;
    this.parameters = [[panels, this.length], [bias, outs]].map(([at, length]) => ({ at: at / 4, length, grad: new Float32Array(length), velocity: new Float32Array(length) }));
  }

  forward(x, relu) {
    return this.ops.linear(x, { panels: this.panels, bias: this.bias, taps: 1, depth: this.depth, outs: this.outs }, relu);
  }

  // From dy, the loss's gradient by the output, those by the weight and the bias; returns the one by x.
  backward(x, dy, wanted) {
    const { ops, depth, outs } = this, [N] = x.shape, P = ops.panel, [weight, bias] = this.parameters;
    const columns = ops.map(depth, 1, 1, N), turned = ops.numbers(columns), rows = ops.numbers(x);
    for (let n = 0; n < N; n++) for (let k = 0; k < depth; k++) turned[k * N + n] = rows[n * depth + k];
    const d = dy.at / 4, product = ops.numbers(ops.linear(columns, this.matrix(N, outs, (n, o) => ops.f32[d + n * outs + o])));
    for (let k = 0; k < depth; k++) for (let o = 0; o < outs; o++) weight.grad[(Math.floor(o / P) * depth + k) * P + o % P] = product[k * outs + o];
    bias.grad.fill(0);
    for (let i = 0; i < N * outs; i++) bias.grad[i % outs] += ops.f32[d + i];
    if (!wanted) return null;
    return ops.linear(dy, this.matrix(outs, depth, (o, k) => ops.f32[weight.at + (Math.floor(o / P) * depth + k) * P + o % P]));
  }

  // A matrix (depth, outs) for the kernel, without a bias.
  matrix(depth, outs, value) {
    const { ops } = this, P = ops.panel, length = Math.ceil(outs / P) * P * depth, panels = ops.take(length + outs), at = panels / 4;
    ops.f32.fill(0, at, at + length + outs);
    for (let o = 0; o < outs; o++) for (let k = 0, to = at + Math.floor(o / P) * depth * P + o % P; k < depth; k++, to += P) ops.f32[to] = value(k, o);
    return { panels, bias: panels + 4 * length, taps: 1, depth, outs };
  }
}

// Layers with ReLU in a row, then two side by side: one for scores, one for offsets.
class Head {
  // trunk: layers in order; `spread` of them are 3x3 convolutions over maps, the others take rows.
  constructor(ops, trunk, spread, scores, deltas) {
    this.ops = ops;
    this.spread = spread;
    [this.trunk, [this.scores, this.deltas]] = [trunk, [scores, deltas]].map((layers) => layers.map((layer) => new Dense(ops, layer)));
  }

  get layers() { return [...this.trunk, this.scores, this.deltas]; }
  get parameters() { return this.layers.flatMap((layer) => layer.parameters); }

  forward(x) {
    this.inputs = [];
    this.hidden = [];
    this.trunk.forEach((layer, i) => {
      const [N, H, W] = x.shape, rows = i < this.spread ? patches(this.ops, x) : { at: x.at, shape: [N, 1, 1, layer.depth] };
      const { at } = layer.forward(rows, true);
      x = { at, shape: i < this.spread ? [N, H, W, layer.outs] : [N, 1, 1, layer.outs] };
      this.inputs.push(rows);
      this.hidden.push(x);
    });
    return { scores: this.scores.forward(x), deltas: this.deltas.forward(x) };
  }

  backward(dscores, ddeltas) {
    const { ops } = this, last = this.hidden.at(-1);
    let dx = this.scores.backward(last, dscores, true);
    ops.kernels.add_scaled(this.deltas.backward(last, ddeltas, true).at, dx.at, 1, ops.numbers(dx).length);
    for (let i = this.trunk.length - 1; i >= 0; i--) {
      const out = ops.numbers(this.hidden[i]), d = ops.numbers(dx), [N, H, W] = this.hidden[i].shape;
      for (let k = 0; k < d.length; k++) if (!(out[k] > 0)) d[k] = 0; // ReLU
      const dy = { at: dx.at, shape: [N * H * W, 1, 1, this.trunk[i].outs] };
      const drows = this.trunk[i].backward(this.inputs[i], dy, i > 0);
      if (i > 0) dx = i < this.spread ? unpatched(ops, drows, this.hidden[i - 1].shape) : drows;
    }
  }

  get norm() { return Math.hypot(...this.parameters.map(({ grad }) => Math.sqrt(grad.reduce((sum, g) => sum + g * g, 0)))); }

  // SGD: velocity = momentum * velocity + grad; parameter -= lr * velocity. `scale` clips the grads.
  step(lr, momentum, scale) {
    for (const { at, length, grad, velocity } of this.parameters) for (let i = 0; i < length; i++) {
      velocity[i] = momentum * velocity[i] + scale * grad[i];
      this.ops.f32[at + i] -= lr * velocity[i];
    }
  }
}

// Row by row the 3x3 pixels around each pixel of a map, zeros outside: (N*H*W, 9*C).
function patches(ops, x) {
  const [N, H, W, C] = x.shape, y = ops.map(N * H * W, 1, 1, 9 * C), out = ops.numbers(y).fill(0), from = ops.numbers(x);
  each3x3([N, H, W], (row, tap, pixel) => out.set(from.subarray(pixel * C, pixel * C + C), (9 * row + tap) * C));
  return y;
}

// The gradient of a map, from that of its patches: each pixel adds up what its patches got.
function unpatched(ops, rows, [N, H, W, C]) {
  const y = ops.map(N, H, W, C), out = ops.numbers(y).fill(0), from = ops.numbers(rows);
  each3x3([N, H, W], (row, tap, pixel) => { for (let c = 0; c < C; c++) out[pixel * C + c] += from[(9 * row + tap) * C + c]; });
  return y;
}

function each3x3([N, H, W], act) {
  for (let n = 0; n < N; n++) for (let i = 0; i < H; i++) for (let j = 0; j < W; j++) for (let tap = 0; tap < 9; tap++) {
    const h = i + Math.floor(tap / 3) - 1, w = j + tap % 3 - 1;
    if (h >= 0 && w >= 0 && h < H && w < W) act((n * H + i) * W + j, tap, (n * H + h) * W + w);
  }
}
