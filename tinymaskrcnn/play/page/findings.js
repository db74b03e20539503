// What the model found, beside what was drawn. Boxes are in pixels of the image as drawn, unless a
// name says `resized`.

const SAME = 0.5; // overlap from which a detection is of an object
const FIRST_PROPOSALS = 10; // among which an object counts as proposed

class Findings {
  constructor(t, scene, config) {
    this.t = t;
    this.size = scene.size;
    this.config = config;
    this.truth = scene.truth();
    this.hidden = (truth) => scene.hidden(truth);
    this.detections = t["detect.kept"].map((candidate, i) => {
      const box = t["detections.boxes"][i], label = t["detections.labels"][i], row = t["detect.candidates.rows"][candidate];
      const exact = config.transform.paste === "exact";
      const pasted = pasteMask(t["detect.mask_probabilities"][i], 28, exact ? box : pasteBox(box, 28), this.size, exact);
      return { box, label, score: t["detections.scores"][i], name: config.classes[label - 1], row, pasted, mask: t["detect.mask_probabilities"][i] };
    });
    for (const d of this.detections) {
      d.overlaps = this.truth.map((truth) => maskOverlap(d.pasted, truth, this.size[0]));
      const best = d.overlaps.reduce((a, v, i) => (v > (d.overlaps[a] ?? 0) ? i : a), -1);
      d.truth = best >= 0 && d.overlaps[best] >= SAME ? best : -1;
    }
    this.light = t.levels.map((level, l) => lightOf(t["rpn.objectness"][l], level));
  }

  // The class that an object should get; null where the model has no name for it.
  label({ object }) {
    const named = this.config.classes.indexOf(object.kind) + 1;
    return named || (this.config.classes.length === 1 ? 1 : null);
  }

  shown(score) { return this.detections.filter((d) => d.score > score); }

  // The detection of an object: the surest that covers it.
  of(truth, score) {
    const i = this.truth.indexOf(truth);
    return this.shown(score).find((d) => d.truth === i) || null;
  }

  // What a head can learn from: the visible objects that have a class.
  get lesson() {
    const some = this.truth.filter((x) => x.box && !this.hidden(x) && this.label(x) !== null);
    return { boxes: some.map((x) => this.toResized(x.box)), labels: some.map((x) => this.label(x)), masks: some.map((x) => x.mask), size: this.size };
  }

  // Whether an object is among the first proposals, and whether it is found as what it is.
  proposed({ box }) {
    const goal = this.toResized(box);
    return this.t["rpn.proposals"].slice(0, FIRST_PROPOSALS).some((p) => overlap(p, goal) >= SAME);
  }
  right(truth, score) {
    const d = this.of(truth, score), own = this.label(truth);
    return d !== null && (own === null || d.label === own);
  }

  // An anchor by its number among all.
  anchor(i) {
    const level = this.t.levels.findLast(({ first }) => first <= i);
    return this.fromResized(anchorBox(level, i - level.first));
  }

  get cells() { return this.t.levels.reduce((sum, { rows, columns }) => sum + rows * columns, 0); }
  get anchors() { return this.t.levels.reduce((sum, { rows, columns, cell }) => sum + rows * columns * cell.length, 0); }
  // The level with the surest anchor of all.
  get brightest() { return this.light.reduce((a, { surest }, l) => (surest > this.light[a].surest ? l : a), 0); }

  toResized(box) { return scaleBox(box, [this.size[1], this.size[0]], this.t["transform.sizes"]); }
  fromResized(box) { return scaleBox(box, this.t["transform.sizes"], [this.size[1], this.size[0]]); }
}

// Of each cell the best objectness as a probability, and the level's surest logit.
function lightOf(logits, { cell }) {
  const A = cell.length, values = new Float32Array(logits.length / A).fill(-Infinity);
  logits.forEach((v, i) => { const c = Math.floor(i / A); if (v > values[c]) values[c] = v; });
  const surest = values.reduce((a, b) => Math.max(a, b), -Infinity);
  return { values: values.map(sigmoid), surest, lit: values.filter((v) => v > 0).length };
}

// IoU of a pasted mask, at one half, with the visible pixels of an object.
function maskOverlap({ values, left, top, width, height }, truth, pitch) {
  let both = 0, own = 0;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (values[y * width + x] > 0.5) {
    own++;
    both += truth.mask[(top + y) * pitch + left + x];
  }
  return both / Math.max(own + truth.area - both, 1);
}
