// The network's operations, under the package's names, on maps in WebAssembly's memory. A map is
// { at, shape: [N, H, W, C] }: float32, channels last, from byte `at` on.
//
// The sums are in two kernels (wasm.py): `convolve` and `add_scaled`. Around them, this file decides
// which numbers they see. Not here: boxes (boxes.js, detection.js); the model (model.js).

const BLOCK = 32; // tiles in one table of addresses
const MOST_TAPS = 9;
const CACHED_WEIGHT = 1 << 16; // floats of weight that stay in the cache while tiles pass
const SAMPLES = 2; // of RoIAlign, per bin and axis

class Ops {
  constructor({ wasm, tileRows, panel }) {
    this.memory = new WebAssembly.Memory({ initial: 256 });
    const made = new WebAssembly.Instance(new WebAssembly.Module(wasm.data), { env: { __linear_memory: this.memory } });
    this.kernels = made.exports;
    this.tileRows = tileRows;
    this.panel = panel;
    this.top = 64;
    this.view();
    this.rows = this.take(2 * BLOCK * tileRows * MOST_TAPS); // int64: two int32 each, the upper one 0
    this.targets = this.take(2 * BLOCK * tileRows);
    this.zeros = 0;
  }

  view() {
    this.f32 = new Float32Array(this.memory.buffer);
    this.i32 = new Int32Array(this.memory.buffer);
  }

  // Room for some floats: its address. All of it is given back at once, by setting `top` back.
  take(floats) {
    const at = this.top, missing = at + 4 * floats + 64 - this.memory.buffer.byteLength;
    if (missing > 0) {
      this.memory.grow(Math.ceil(missing / 65536));
      this.view();
    }
    this.top = (at + 4 * floats + 63) & ~63;
    return at;
  }

  map(...shape) { return { at: this.take(shape.reduce((a, b) => a * b, 1)), shape }; }

  // A map's numbers, or those of one image of it. Valid until memory grows.
  numbers({ at, shape: [N, H, W, C] }, image = null) {
    const size = H * W * C;
    return image === null ? this.f32.subarray(at / 4, at / 4 + N * size) : this.f32.subarray(at / 4 + image * size, at / 4 + (image + 1) * size);
  }

  // A layer's panels and bias (pack.py), copied into the memory for good.
  layer({ panels, bias, outs, norm }) {
    const [, taps, depth] = panels.shape, made = { outs, taps, depth, panels: this.take(panels.data.length), bias: this.take(bias.data.length) };
    this.fill(made, { panels, bias, norm });
    if (depth > (this.zeroed || 0)) {
      this.zeros = this.take(depth);
      this.f32.fill(0, this.zeros / 4, this.zeros / 4 + depth);
      this.zeroed = depth;
    }
    return made;
  }

  // Other numbers for a layer.
  fill(layer, { panels, bias, norm }) {
    this.f32.set(panels.data, layer.panels / 4);
    this.f32.set(bias.data, layer.bias / 4);
    layer.norm = norm;
  }

  // norm(conv(x)) + residual, then ReLU; the kernel is 1x1 or 3x3 and padded to keep the size.
  conv2d(x, layer, { stride = 1, relu = false, residual = null } = {}) {
    const [N, H, W] = x.shape, side = Math.sqrt(layer.taps), pad = side >> 1;
    const grid = [Math.floor((H + 2 * pad - side) / stride) + 1, Math.floor((W + 2 * pad - side) / stride) + 1];
    const y = this.map(N, ...grid, layer.outs), taps = [];
    for (let r = 0; r < side; r++) for (let s = 0; s < side; s++) taps.push([r - pad, s - pad]);
    if (!layer.norm) return this.convolve(x, layer, y, { grid, taps, stride, relu, residual });
    return this.group_norm(this.convolve(x, layer, y, { grid, taps, stride }), layer.norm, residual, relu);
  }

  // Every pixel of x becomes 2x2 of y: four 1x1 convolutions, each to its own place.
  conv_transpose2d(x, layers, relu) {
    const [N, H, W] = x.shape, y = this.map(N, 2 * H, 2 * W, layers[0].outs);
    layers.forEach((layer, i) => this.convolve(x, layer, y, { grid: [H, W], taps: [[0, 0]], start: [i >> 1, i & 1], step: 2, relu }));
    return y;
  }

  // Rows (N, 1, 1, depth) times a matrix; a map's images count as rows.
  linear(x, layer, relu = false) {
    return this.conv2d({ at: x.at, shape: [x.shape[0], 1, 1, layer.depth] }, layer, { relu });
  }

  // y[start + step*(a, b)] = the sum over taps t of x[stride*(a, b) + t] * weight, for all (a, b) in the grid.
  convolve(x, layer, y, { grid, taps, stride = 1, start = [0, 0], step = 1, relu = false, residual = null }) {
    const { panels, bias, depth, outs } = layer, away = residual ? (residual.at - y.at) / 4 : 0;
    const tiles = Math.ceil(x.shape[0] * grid[0] * grid[1] / this.tileRows);
    const together = outs * depth * taps.length <= CACHED_WEIGHT ? outs : this.panel;
    for (let tile = 0; tile < tiles; tile += BLOCK) {
      const some = Math.min(BLOCK, tiles - tile);
      this.locate(x, y, tile * this.tileRows, some * this.tileRows, { grid, taps, stride, start, step });
      for (let o = 0; o < outs; o += together) {
        this.kernels.convolve(some, this.rows, taps.length, depth, panels, bias, o, Math.min(o + together, outs), this.targets, away, relu ? 1 : 0);
      }
    }
    return y;
  }

  // The addresses that pixels first, first + 1, ... read at every tap, and those they write. A tap
  // outside the map reads zeros; the last pixel is repeated to fill its tile.
  locate(x, y, first, count, { grid: [rows, columns], taps, stride, start, step }) {
    const [N, H, W, C] = x.shape, [, outH, outW, outs] = y.shape, [startH, startW] = start, { tileRows, i32, zeros } = this;
    const all = taps.length, last = N * rows * columns - 1;
    for (let i = 0; i < count; i++) {
      const pixel = Math.min(first + i, last), line = pixel / columns | 0, n = line / rows | 0;
      const a = line - n * rows, b = pixel - line * columns;
      i32[this.targets / 4 + 2 * i] = y.at + 4 * (((n * outH + startH + a * step) * outW + startW + b * step) * outs);
      let place = this.rows / 4 + 2 * ((i / tileRows | 0) * all * tileRows + i % tileRows);
      for (let t = 0; t < all; t++, place += 2 * tileRows) {
        const h = a * stride + taps[t][0], w = b * stride + taps[t][1];
        i32[place] = h >= 0 && w >= 0 && h < H && w < W ? x.at + 4 * (((n * H + h) * W + w) * C) : zeros;
      }
    }
  }

  // Every second row and column: a max-pool of one pixel with stride 2.
  max_pool2d(x) {
    const [N, H, W, C] = x.shape, y = this.map(N, (H + 1) >> 1, (W + 1) >> 1, C);
    this.gather(x, y, (h) => 2 * h, (w) => 2 * w);
    return y;
  }

  // fine + the coarse map enlarged to its size by repeating pixels.
  upsample_add(coarse, fine) {
    const [, h, w, C] = coarse.shape, [N, H, W] = fine.shape, y = this.map(N, H, W, C);
    this.gather(coarse, y, (i) => Math.floor(i * h / H), (j) => Math.floor(j * w / W));
    this.kernels.add_scaled(fine.at, y.at, 1, N * H * W * C);
    return y;
  }

  gather(x, y, row, column) {
    const [, h, w, C] = x.shape, [N, H, W] = y.shape;
    for (let n = 0; n < N; n++) for (let i = 0; i < H; i++) for (let j = 0; j < W; j++) {
      const from = x.at / 4 + ((n * h + row(i)) * w + column(j)) * C;
      this.f32.copyWithin(y.at / 4 + ((n * H + i) * W + j) * C, from, from + C);
    }
  }

  // In place: each group of channels gets mean 0 and variance 1 in each image.
  group_norm(x, { groups, eps, weight, bias }, residual, relu) {
    const [N, H, W, C] = x.shape, width = C / groups;
    for (let n = 0; n < N; n++) for (let g = 0; g < groups; g++) {
      const v = this.numbers(x, n), more = residual && this.numbers(residual, n);
      let sum = 0, squares = 0;
      const each = (act) => { for (let p = 0; p < H * W; p++) for (let c = g * width; c < (g + 1) * width; c++) act(p * C + c, c); };
      each((i) => { sum += v[i]; });
      const mean = sum / (H * W * width);
      each((i) => { squares += (v[i] - mean) ** 2; });
      const scale = 1 / Math.sqrt(squares / (H * W * width) + eps);
      each((i, c) => {
        const y = (v[i] - mean) * scale * weight.data[c] + bias.data[c] + (more ? more[i] : 0);
        v[i] = relu ? Math.max(y, 0) : y;
      });
    }
    return x;
  }

  // Crop `box` out of image 0 of x, to bins x bins, into crop r of y. As weights_y @ x @ weights_x:
  // first all rows of a bin are added up, then all columns.
  // ratio: samples per bin and axis; 0: as many as a bin has pixels.
  roi_align(x, [x1, y1, x2, y2], scale, y, r, ratio = SAMPLES) {
    const [, H, W, C] = x.shape, bins = y.shape[1], s = f(scale);
    const down = samples(f(y1 * s), f(y2 * s), bins, H, ratio), across = samples(f(x1 * s), f(x2 * s), bins, W, ratio);
    const low = Math.min(...across.flat().map((t) => t.pixel)), length = (Math.max(...across.flat().map((t) => t.pixel)) + 1 - low) * C;
    const before = this.top, line = this.take(length), out = y.at + 4 * r * bins * bins * C;
    this.f32.fill(0, out / 4, out / 4 + bins * bins * C);
    for (let i = 0; i < bins; i++) {
      this.f32.fill(0, line / 4, line / 4 + length);
      for (const { pixel, weight } of down[i]) this.kernels.add_scaled(x.at + 4 * (pixel * W + low) * C, line, weight, length);
      for (let j = 0; j < bins; j++) for (const { pixel, weight } of across[j]) {
        this.kernels.add_scaled(line + 4 * (pixel - low) * C, out + 4 * (i * bins + j) * C, weight, C);
      }
    }
    this.top = before;
  }

  // An image (C, H, W) of floats in 0..1, resized and normalised, in the top left corner of zeros.
  resize_normalize({ data, channels, height, width }, [newHeight, newWidth], mean, std, y) {
    const pitch = y.shape[2] * channels, out = this.numbers(y).fill(0), scale = std.map((v) => f(1 / f(v)));
    const down = resizeTaps(height, newHeight), across = resizeTaps(width, newWidth), held = [-1, -1];
    const lines = [new Float32Array(newWidth * channels), new Float32Array(newWidth * channels)];
    const line = (h) => { // rows are stretched once and serve all new rows between them
      const one = lines[h & 1];
      if (held[h & 1] === h) return one;
      held[h & 1] = h;
      for (let c = 0; c < channels; c++) for (let j = 0; j < newWidth; j++) {
        const row = (c * height + h) * width, a = data[row + across.low[j]], b = data[row + across.high[j]];
        one[j * channels + c] = (a + (b - a) * across.part[j] - mean[c]) * scale[c];
      }
      return one;
    };
    for (let i = 0; i < newHeight; i++) {
      const a = line(down.low[i]), b = line(down.high[i]), part = down.part[i];
      for (let k = 0; k < a.length; k++) out[i * pitch + k] = a[k] * (1 - part) + b[k] * part;
    }
  }
}

// Which pixels each bin of RoIAlign reads along one axis, and how much of each.
function samples(start, end, bins, extent, ratio) {
  const bin = f(Math.max(f(end - start), 1) / bins), count = ratio || Math.ceil(bin);
  return Array.from({ length: bins }, (_, i) => {
    const parts = [];
    for (let k = 0; k < count; k++) {
      const at = f(f(start + f(i * bin)) + f(f((k + 0.5) * bin) / count));
      const place = Math.min(Math.max(at, 0), extent - 1), low = Math.floor(place), part = f(place - low);
      const share = at >= -1 && at <= extent ? 1 / count : 0;
      parts.push({ pixel: low, weight: share * (1 - part) }, { pixel: Math.min(low + 1, extent - 1), weight: share * part });
    }
    return parts;
  });
}

// For each new pixel the old ones that it lies between, and the second one's weight.
function resizeTaps(length, newLength) {
  const ratio = f(f(length) / f(newLength)), low = new Int32Array(newLength), high = new Int32Array(newLength), part = new Float32Array(newLength);
  for (let i = 0; i < newLength; i++) {
    const place = f(Math.max(ratio * (i + 0.5) - 0.5, 0));
    low[i] = Math.min(Math.floor(place), length - 1);
    high[i] = Math.min(low[i] + 1, length - 1);
    part[i] = place - low[i];
  }
  return { low, high, part };
}

// The whole pixels to which a mask of m x m is pasted, padded by one pixel on each side.
function pasteBox([x1, y1, x2, y2], m) {
  const scale = f((m + 2) / m), halfX = f(f(f(x2 - x1) * 0.5) * scale), halfY = f(f(f(y2 - y1) * 0.5) * scale);
  const x = f(f(x2 + x1) * 0.5), y = f(f(y2 + y1) * 0.5);
  return [f(x - halfX), f(y - halfY), f(x + halfX), f(y + halfY)].map(Math.trunc);
}
