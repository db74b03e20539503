// How a number came about: the first convolution at a cell, a sum in the pyramid, one bin of RoIAlign,
// an IoU, and a box's decoding.

// The pixels of the image as the network gets them: a plane of normalised values for each channel.
function networkPixels(content, picture) {
  const [w, h] = content.input.resized, canvas = el("canvas", { width: w, height: h }), context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, w, h), { mean, std } = content.input;
  return mean.map((m, k) => Float32Array.from({ length: w * h }, (_, i) => (data[4 * i + k] / 255 - m) / std[k]));
}

// One output channel of the first layer, before and after its norm, at one cell.
function firstLayerAt({ stem, pixels, input }, channel, row, column) {
  const [, planes, size] = stem.weight.shape, [w, h] = input.resized, weights = stem.weight.row(channel), pad = size >> 1;
  const values = Array.from({ length: planes }, (_, k) => Array.from({ length: size * size }, (_, i) => {
    const y = stem.stride * row - pad + Math.floor(i / size), x = stem.stride * column - pad + (i % size);
    return x < 0 || y < 0 || x >= w || y >= h ? 0 : pixels[k][y * w + x];
  }));
  const sum = values.flat().reduce((s, v, i) => s + v * weights[i], 0), normed = sum * stem.scale.at(channel) + stem.shift.at(channel);
  return { values, weights, size, sum, normed, value: Math.max(0, normed) };
}

// A channel's map, of a large image only every few cells: at most about `most` on a side.
function firstLayer(content, channel, most) {
  const { stem } = content, key = `${channel} ${most}`;
  stem.maps ??= new Map();
  if (!stem.maps.has(key)) {
    const [columns, rows] = firstLayerSize(content), each = Math.ceil(Math.max(columns, rows) / most), w = Math.ceil(columns / each), h = Math.ceil(rows / each);
    const values = Float32Array.from({ length: w * h }, (_, i) => firstLayerAt(content, channel, each * Math.floor(i / w), each * (i % w)).value);
    const largest = values.reduce((a, b) => Math.max(a, b), 1e-9);
    stem.maps.set(key, { canvas: mapCanvas(values.map((v) => v / largest), w, h), area: [-0.5, -0.5, w * each * stem.stride - 0.5, h * each * stem.stride - 0.5] });
  }
  return stem.maps.get(key);
}

const firstLayerSize = ({ input, stem }) => input.resized.map((side) => Math.ceil(side / stem.stride));

// The step of the first layer: a map of one channel, and at the cell that is pointed at the whole sum.
function firstLayerStep(view, controls) {
  const { content, state } = view, { stem } = content, shown = stem.weight.length, channel = Math.min(Math.max((state.channel || 1) - 1, 0), shown - 1), map = firstLayer(content, channel, 160), [columns, rows] = firstLayerSize(content);
  const at = state.cell || content.input.resized.map((side) => side / 2), limit = (v, n) => Math.max(0, Math.min(n - 1, Math.round(v / stem.stride)));
  const column = limit(at[0], columns), row = limit(at[1], rows), reach = stem.weight.shape[2] >> 1, [x, y] = [column * stem.stride, row * stem.stride];
  return {
    noChips: true, controls, step: [stem.stride, stem.stride],
    move: (place) => { state.cell = place; view.refresh(); return true; },
    paint: (stage) => {
      stage.overlay(map.canvas, map.area, 0.8);
      stage.box([x - reach, y - reach, x + reach + 1, y + reach + 1], COLOUR.point, "solid", 2);
      outlineThread(view, stage);
    },
    panel: () => {
      const { values, weights, size, sum, normed, value } = firstLayerAt(content, channel, row, column), names = values.length === 1 ? ["grey"] : ["red", "green", "blue"];
      return [heading(`Channel ${channel} of ${stem.channels}, row ${row}, column ${column}`), el("p", { class: "quiet" }, `${size} × ${size} pixels of each colour, times the weights of this channel:`),
        values.map((plane, k) => [el("p", { class: "fine" }, names[k]), products(plane, weights.subarray(k * size * size, (k + 1) * size * size), size)]),
        facts([[`sum of ${values.flat().length} products`, fixed(sum, 3), "first-sum"], ["after the norm", `${fixed(sum, 3)} × ${fixed(stem.scale.at(channel), 3)} ${plus(stem.shift.at(channel), 3)} = ${fixed(normed, 3)}`], ["ReLU", `max(0, ${fixed(normed, 3)}) = ${fixed(value, 3)}`], ["this cell", fixed(value, 3), "first-value"]]),
        el("div", { class: "thumbs" }, [...Array(shown).keys()].map((k) => el("button", { type: "button", "aria-pressed": String(k === channel), "aria-label": `channel ${k}`, onclick: () => view.set("channel", k + 1) }, thumb(firstLayer(content, k, 48).canvas, `channel ${k}`))))];
    },
  };
}

// A neighbourhood beside a kernel; small ones as numbers.
function products(values, weights, size) {
  const signed = (v, most) => { const a = Math.min(1, Math.abs(v) / most); return v < 0 ? [255 - 215 * a, 255 - 141 * a, 255 - 77 * a] : [255 - 42 * a, 255 - 161 * a, 255 - 255 * a]; };
  const table = (numbers, name) => {
    const most = Math.max(...numbers.map(Math.abs), 1e-9);
    return el("table", { class: "kernel", "aria-label": name }, Array.from({ length: size }, (_, r) => el("tr", {}, Array.from({ length: size }, (_, c) => { const v = numbers[r * size + c]; return el("td", { style: { background: `rgb(${signed(v, most).map(Math.round)})` } }, size <= 3 ? fixed(v, 1) : ""); }))));
  };
  return el("div", { class: "products" }, table([...values], "pixels"), el("span", {}, "×"), table([...weights], "weights"), el("span", {}, "="), el("b", {}, fixed([...values].reduce((s, v, i) => s + v * weights[i], 0), 2)));
}

// A cell of the merged map: its lateral and the cell of the coarser map above it.
function mergedText(content, level, channel, [x, y]) {
  const { laterals, merged } = content.maps, at = (maps, i) => {
    const [, h, w] = maps[i].planes.shape, [rows, columns] = maps[i].size, [sy, sx] = content.anchors[i].stride;
    if (h !== rows || w !== columns) return null; // the page holds every second cell or fewer
    const column = Math.max(0, Math.min(w - 1, Math.round(x / sx))), row = Math.max(0, Math.min(h - 1, Math.round(y / sy)));
    return { row, column, w, read: (r, c) => maps[i].low[channel] + (maps[i].planes.row(channel)[r * w + c] / 255) * (maps[i].high[channel] - maps[i].low[channel]) };
  };
  const here = at(laterals, level), sum = at(merged, level);
  if (!here || !sum) return null;
  const own = here.read(here.row, here.column), all = sum.read(sum.row, sum.column), name = levelName(content, level);
  if (level + 1 >= merged.length) return [["lateral", fixed(own)], [`merged ${name}`, `${fixed(all)}: the coarsest level has nothing above it`]];
  const above = at(merged, level + 1), [h, w] = [merged[level + 1].size[0], merged[level + 1].size[1]];
  if (!above) return null;
  const upper = above.read(Math.min(h - 1, Math.floor((here.row * h) / merged[level].size[0])), Math.min(w - 1, Math.floor((here.column * w) / merged[level].size[1])));
  return [["cell", `row ${here.row}, column ${here.column}`], [`lateral ${name}`, fixed(own), "lateral"], [`merged ${levelName(content, level + 1)}, above it`, fixed(upper), "above"], [`merged ${name}`, `${fixed(own)} ${plus(upper)} = ${fixed(own + upper)}`, "sum"], ["on the map", fixed(all), "merged"]];
}

// One bin of RoIAlign in one channel: four samples, each the mean of its four nearest cells by distance.
function binFormula(content, region, bin, channel) {
  const g = content.regions, level = g.levels.at(region), map = content.maps.pyramid[level], [, h, w] = map.planes.shape, stride = g.strides[level], [bins] = g.samples;
  if (h !== map.size[0] || w !== map.size[1]) return el("p", { class: "quiet" }, "This level is too large for the page to hold every cell.");
  const read = (r, c) => map.low[channel + 1] + (map.planes.row(channel + 1)[r * w + c] / 255) * (map.high[channel + 1] - map.low[channel + 1]);
  const xs = g.pointsX.row(region), ys = g.pointsY.row(region), n = xs.length / bins, row = Math.floor(bin / bins), column = bin % bins, samples = [];
  for (let j = 0; j < n; j++) for (let i = 0; i < n; i++) {
    const limit = (v, most) => Math.max(0, Math.min(most - 1, v)), u = limit(xs[column * n + i] / stride, w), v = limit(ys[row * n + j] / stride, h);
    const left = Math.floor(u), top = Math.floor(v), a = u - left, b = v - top, right = Math.min(left + 1, w - 1), below = Math.min(top + 1, h - 1);
    const parts = [[(1 - a) * (1 - b), read(top, left)], [a * (1 - b), read(top, right)], [(1 - a) * b, read(below, left)], [a * b, read(below, right)]];
    samples.push({ parts, value: parts.reduce((s, [weight, value]) => s + weight * value, 0) });
  }
  return [facts([...samples.slice(0, 4).map((s, k) => [`sample ${k}`, `${s.parts.map(([weight, value]) => `${fixed(weight)}·${fixed(value)}`).join(" + ")} = ${fixed(s.value)}`]),
    [`mean of ${samples.length}`, fixed(samples.reduce((s, x) => s + x.value, 0) / samples.length), "bin"]])];
}

// The same with a slider for the bin.
function binPanel(view, region) {
  const { content, state } = view, [bins] = content.regions.samples, answer = el("div"), channel = 0;
  const show = (bin) => { state.bin = bin; answer.replaceChildren(...[binFormula(content, region, bin, channel)].flat()); };
  const control = slider("row, column", "bin", state.bin ?? Math.floor(bins * bins / 2), [0, bins * bins - 1, 1], show, (v) => `${Math.floor(v / bins)}, ${v % bins}`);
  show(state.bin ?? Math.floor(bins * bins / 2));
  return [heading(`How one of its ${bins * bins} numbers comes about, in channel ${channel}`), control, answer, el("p", { class: "fine" }, "Weights by distance times the four nearest cells; maps on this page have 256 shades, so the last digit may be off.")];
}

// IoU with its areas.
function iouText(a, b) {
  const w = Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0), h = Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0), n = (v) => fixed(v, 0);
  return `${n(w * h)} / (${n(area(a))} + ${n(area(b))} − ${n(w * h)}) = ${fixed(overlap(a, b), 3)}`;
}

// How offsets move a box: its new centre and sides.
function decodingText(box, d, weights = [1, 1, 1, 1]) {
  return [0, 1].flatMap((k) => {
    const side = box[k + 2] - box[k], centre = (box[k] + box[k + 2]) / 2, move = d[k] / weights[k], grow = Math.min(d[k + 2] / weights[k + 2], Math.log(1000 / 16));
    return [[`new ${"xy"[k]}`, `${fixed(centre, 1)} ${plus(move)} × ${fixed(side, 1)} = ${fixed(centre + move * side, 1)}`, `new-${"xy"[k]}`], [`new ${["width", "height"][k]}`, `${fixed(side, 1)} × exp(${fixed(grow)}) = ${fixed(side * Math.exp(grow), 1)}`]];
  });
}
