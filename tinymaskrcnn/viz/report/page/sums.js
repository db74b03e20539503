// How a number of the pyramid or of the proposal head comes about. The page computes these layers
// itself, at single cells, from the backbone's maps. A cell's vector holds all channels.

const SHOWN_TERMS = 3; // input channels shown one by one; the others are added up

class Sums {
  constructor(layers) {
    Object.assign(this, layers);
    this.known = new Map();
    this.sizes = this.body.map(({ shape }) => shape);
    const [rows, columns, channels] = this.sizes.at(-1);
    this.sizes.push([(rows + 1) >> 1, (columns + 1) >> 1, channels]); // the last level: every second cell
  }

  once(name, level, row, column, make) {
    const key = `${name} ${level} ${row} ${column}`;
    if (!this.known.has(key)) this.known.set(key, make());
    return this.known.get(key);
  }

  cell(level, row, column) {
    const { data, shape: [, columns, channels] } = this.body[level], from = (row * columns + column) * channels;
    return data.subarray(from, from + channels);
  }

  lateral(level, row, column) { return this.once("lateral", level, row, column, () => convolved(this.inner[level], [this.cell(level, row, column)])); }

  merged(level, row, column) {
    return this.once("merged", level, row, column, () => {
      const own = this.lateral(level, row, column), [rows, columns] = this.sizes[level], [above, beside] = this.sizes[level + 1];
      if (level + 1 === this.body.length) return own;
      const upper = this.merged(level + 1, Math.floor((row * above) / rows), Math.floor((column * beside) / columns));
      return own.map((v, i) => v + upper[i]);
    });
  }

  pyramid(level, row, column) {
    if (level === this.body.length) return this.pyramid(level - 1, 2 * row, 2 * column);
    return this.once("pyramid", level, row, column, () => convolved(this.layer[level], this.around("merged", level, row, column)));
  }

  rpn(level, row, column) { return this.once("rpn", level, row, column, () => convolved(this.hidden, this.around("pyramid", level, row, column)).map((v) => Math.max(v, 0))); }

  // The 3 x 3 vectors around a cell, zeros outside the map.
  around(kind, level, row, column) {
    const [rows, columns] = this.sizes[level], zeros = this.inner[0].bias.data.map(() => 0);
    return Array.from({ length: 9 }, (_, tap) => {
      const r = row + Math.floor(tap / 3) - 1, c = column + (tap % 3) - 1;
      return r < 0 || c < 0 || r >= rows || c >= columns ? zeros : this[kind](level, r, c);
    });
  }

  // What a layer adds up at a cell: the layer, the vectors that it reads, and what they are called.
  reads(kind, level, row, column) {
    if (kind === "laterals") return [this.inner[level], [this.cell(level, row, column)], `C${level + 2}`];
    if (kind === "pyramid" && level < this.body.length) return [this.layer[level], this.around("merged", level, row, column), "merged"];
    if (kind === "hidden") return [this.hidden, this.around("pyramid", level, row, column), "pyramid"];
    if (kind === "objectness") return [this.objectness, [this.rpn(level, row, column)], "hidden"];
    return null;
  }
}

// All output channels of a convolution at one place.
function convolved({ weight, bias }, vectors) {
  return bias.data.map((b, o) => b + terms(weight.row(o), vectors).reduce((sum, term) => sum + term, 0));
}

// For each input channel the sum of its products.
function terms(weights, vectors) {
  const taps = vectors.length;
  return Array.from(vectors[0], (_, k) => { let sum = 0; for (let t = 0; t < taps; t++) sum += weights[k * taps + t] * vectors[t][k]; return sum; });
}

// The sum behind one channel of a map at one cell; nothing where the page does not hold the layers.
function sumPanel(view, kind, level, channel, at) {
  const { content } = view;
  if (!content.sums) return null;
  const sums = (view.sums ??= new Sums(content.sums)), [rows, columns] = sums.sizes[level], [sy, sx] = content.anchors[level].stride;
  const limit = (v, n) => Math.max(0, Math.min(n - 1, Math.round(v))), row = limit(at[1] / sy, rows), column = limit(at[0] / sx, columns);
  const read = sums.reads(kind, level, row, column);
  if (!read) return kind === "pyramid" ? el("p", { class: "quiet" }, `Every number here is one of ${levelName(content, level - 1)}'s: every second cell in each direction.`) : null;
  const [{ weight, bias }, vectors, name] = read, weights = weight.row(channel), taps = vectors.length, all = terms(weights, vectors);
  const order = [...all.keys()].sort((a, b) => Math.abs(all[b]) - Math.abs(all[a])), first = order.slice(0, SHOWN_TERMS), rest = order.slice(SHOWN_TERMS).reduce((s, k) => s + all[k], 0);
  const own = bias.data[channel], sum = all.reduce((a, b) => a + b, 0) + own;
  const shown = first.map((k) => (taps === 1 ? null : [el("p", { class: "fine" }, `${name}, channel ${k}`), products(vectors.map((v) => v[k]), weights.subarray(k * taps, (k + 1) * taps), 3)]));
  return [heading(`How the number at row ${row}, column ${column} comes about`), el("p", { class: "quiet" }, `${(all.length * taps).toLocaleString("en")} products${taps > 1 ? `: 3 × 3 cells of ${all.length} channels` : ""}. The largest parts of the sum:`), shown,
    facts([...(taps === 1 ? first.map((k) => [`${name} ${k}`, `${fixed(vectors[0][k])} × ${fixed(weights[k])} = ${fixed(all[k])}`]) : []),
      [`${all.length - first.length} other channels`, fixed(rest)], ["all products, then the bias", `${fixed(sum - own)} ${plus(own)} = ${fixed(sum)}`, "layer-sum"],
      ...(kind === "hidden" ? [["ReLU", `max(0, ${fixed(sum)}) = ${fixed(Math.max(0, sum))}`]] : []), ...(kind === "objectness" ? [["as a probability", `1 / (1 + exp(${fixed(-sum)})) = ${fixed(sigmoid(sum), 3)}`]] : [])])];
}
