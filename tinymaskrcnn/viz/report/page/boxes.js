// Boxes, non-maximum suppression and pasting, in float32 as in the model, so that the page's sliders
// give what the model would give.

const f = Math.fround;

function area(b) { return f(f(b[2] - b[0]) * f(b[3] - b[1])); }

function overlap(a, b) {
  const w = Math.max(f(Math.min(a[2], b[2]) - Math.max(a[0], b[0])), 0);
  const h = Math.max(f(Math.min(a[3], b[3]) - Math.max(a[1], b[1])), 0);
  const both = f(w * h);
  return f(both / f(f(area(a) + area(b)) - both));
}

// The indices of `boxes` that are kept, by falling score; for each dropped one, the index that suppressed it.
function suppress(boxes, scores, threshold) {
  const order = [...boxes.keys()].sort((a, b) => scores[b] - scores[a] || a - b);
  const kept = [], by = new Map();
  for (const i of order) {
    const winner = kept.find((k) => overlap(boxes[k], boxes[i]) > threshold);
    if (winner === undefined) kept.push(i); else by.set(i, winner);
  }
  return { kept, by };
}

// The same within each group of boxes. Up to 1000 boxes are moved apart, as in torchvision.
function suppressGroups(boxes, scores, groups, threshold) {
  if (boxes.length <= 1000) {
    let most = -Infinity;
    for (const b of boxes) for (const v of b) most = Math.max(most, v);
    const moved = boxes.map((b, i) => {
      const shift = f(groups[i] * f(most + 1));
      return [f(b[0] + shift), f(b[1] + shift), f(b[2] + shift), f(b[3] + shift)];
    });
    return suppress(moved, scores, threshold);
  }
  const kept = [], by = new Map();
  for (const group of new Set(groups)) {
    const members = [...boxes.keys()].filter((i) => groups[i] === group);
    const part = suppress(members.map((i) => boxes[i]), members.map((i) => scores[i]), threshold);
    kept.push(...part.kept.map((i) => members[i]));
    part.by.forEach((winner, i) => by.set(members[i], members[winner]));
  }
  kept.sort((a, b) => scores[b] - scores[a] || a - b);
  return { kept, by };
}

function largeEnough(b, least) { return f(b[2] - b[0]) >= f(least) && f(b[3] - b[1]) >= f(least); }

// The candidates that become detections at these thresholds, and what became of the others.
function selectDetections(content, score, nms) {
  const c = content.candidates, { limit, minSize, agnostic } = content.model.roi;
  const outcomes = new Map(), chosen = [];
  for (let i = 0; i < c.rows.length; i++) {
    if (!(c.scores.at(i) > f(score))) outcomes.set(i, { outcome: "lowScore" });
    else if (!largeEnough(c.boxes.row(i), minSize)) outcomes.set(i, { outcome: "small" });
    else chosen.push(i);
  }
  const { kept, by } = suppressGroups(chosen.map((i) => c.boxes.row(i)), chosen.map((i) => c.scores.at(i)),
    chosen.map((i) => agnostic ? 0 : c.labels.at(i)), nms);
  by.forEach((winner, i) => outcomes.set(chosen[i], { outcome: "overlap", by: chosen[winner] }));
  kept.forEach((i, rank) => outcomes.set(chosen[i], { outcome: rank < limit ? "kept" : "beyondLimit" }));
  return { shown: kept.slice(0, limit).map((i) => chosen[i]), outcomes };
}

// A mask (m x m) resized to its whole pixels, or exactly to its box: values and place, clipped to the image.
function pasteMask(mask, m, [x1, y1, x2, y2], [width, height], exact = false) {
  const reach = (first, last, side) => exact ? [Math.max(Math.floor(first) - 1, 0), Math.min(Math.ceil(last) + 1, side)] : [Math.max(first, 0), Math.min(last + 1, side)];
  const [left, right] = reach(x1, x2, width), [top, bottom] = reach(y1, y2, height);
  const w = Math.max(right - left, 0), h = Math.max(bottom - top, 0), values = new Float32Array(w * h);
  if (exact && !(x2 > x1 && y2 > y1)) return { values, left, top, width: w, height: h };
  const along = (first, last, start, count) => exact ? exactTaps(m, first, last, start, count) : taps(m + 2, Math.max(last - first + 1, 1), start - first, count);
  const across = along(x1, x2, left, w), down = along(y1, y2, top, h);
  const padded = (r, c) => (r < 1 || c < 1 || r > m || c > m ? 0 : mask[(r - 1) * m + c - 1]);
  const line = new Float32Array(m + 2);
  for (let y = 0; y < h; y++) {
    const t = down[y];
    for (let c = 0; c < m + 2; c++) line[c] = f(f(f(1 - t.part) * padded(t.low, c)) + f(t.part * padded(t.high, c)));
    for (let x = 0; x < w; x++) {
      const s = across[x];
      values[y * w + x] = f(f(f(1 - s.part) * line[s.low]) + f(s.part * line[s.high]));
    }
  }
  return { values, left, top, width: w, height: h };
}

function taps(size, length, start, count) {
  const ratio = f(size / length);
  return Array.from({ length: count }, (_, i) => {
    const place = Math.max(f(f(f(start + i + 0.5) * ratio) - 0.5), 0);
    const low = Math.min(Math.floor(place), size - 1);
    return { low, high: Math.min(low + 1, size - 1), part: f(place - low) };
  });
}

// For pixels of a box from `first` to `last`: the two cells of its padded mask that each lies between.
function exactTaps(m, first, last, start, count) {
  return Array.from({ length: count }, (_, i) => {
    const place = f(Math.min(Math.max((start + i + 0.5 - first) / (last - first) * m + 0.5, 0), m + 1));
    const low = Math.min(Math.floor(place), m + 1);
    return { low, high: Math.min(low + 1, m + 1), part: f(place - low) };
  });
}

// Anchor `a` of a level: rows, then columns, then shapes.
function anchorBox(level, a) {
  const shape = level.cell[a % level.cell.length], cell = Math.floor(a / level.cell.length);
  const x = (cell % level.columns) * level.stride[1], y = Math.floor(cell / level.columns) * level.stride[0];
  return [x + shape[0], y + shape[1], x + shape[2], y + shape[3]];
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
