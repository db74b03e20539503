// What a head learns from: boxes matched to what was drawn, a balanced few of them, and how wrong the
// head is about these. The maps stay as they are; only the heads change. Names as in models/rpn.py
// and models/roi_heads.py. `truth` is { boxes, labels, masks, size }: boxes in pixels of the resized
// image, masks (height x width bytes) of the image as drawn.

const BETA = 1 / 9; // of smooth L1
const BELOW = -1, BETWEEN = -2; // background; neither background nor object
const CLIP_NORM = 5; // no step follows a larger gradient
const MASK_SIDE = 28;

class Training {
  constructor(model) {
    this.model = model;
    this.random = randomFrom(0);
    const { ops } = model, layer = (name) => model.layer(name), convs = model.numbered("roi_heads.box_head", ".0");
    const roi = "roi_heads.box_predictor";
    this.heads = {
      rpn: new Head(ops, model.numbered("rpn.head.conv", ".0"), 0, layer("rpn.head.cls_logits"), layer("rpn.head.bbox_pred")),
      box: new Head(ops, [...convs, layer(`roi_heads.box_head.${convs.length + 1}`)], convs.length, layer(`${roi}.cls_score`), layer(`${roi}.bbox_pred`)),
    };
    this.moments = new Moments(this);
    this.known = this.moments.copy();
  }

  // Give a head new weights, drawn by the rules of nn/init.py.
  forget(part, seed) {
    const random = (this.random = randomFrom(seed)), head = this.heads[part], { f32, panel } = this.model.ops;
    for (const dense of head.layers) {
      const [weight, bias] = dense.parameters, draw = initial(part, head, dense);
      for (const p of [weight, bias]) p.velocity.fill(0);
      for (let o = 0; o < dense.outs; o++) {
        f32[bias.at + o] = draw.bias(random);
        for (let k = 0; k < dense.depth; k++) f32[weight.at + (Math.floor(o / panel) * dense.depth + k) * panel + o % panel] = draw.weight(random);
      }
    }
    this.moments.restart();
  }

  // Give every head back what it knew at first.
  restore() {
    this.put(this.known);
    this.restart();
  }

  // Begin anew from the weights as they are.
  restart() {
    for (const head of Object.values(this.heads)) for (const { velocity } of head.parameters) velocity.fill(0);
    this.moments.restart();
  }

  // Give every head weights as `weights` tells them, by its name.
  put(weights) {
    for (const [part, head] of Object.entries(this.heads)) head.parameters.forEach(({ at }, i) => this.model.ops.f32.set(weights[part][i], at));
  }

  // Of each layer of a head the weight, in the kernel's order (pack.py), and the bias.
  weights(part) { return this.heads[part].parameters.map(({ at, length }) => this.model.ops.f32.slice(at, at + length)); }

  // One step of SGD for some heads, from their newest weights. Returns what it looked at, the losses
  // and the gradient's norm.
  step(parts, truth, { lr, momentum }) {
    if (this.moments.visit(Infinity)) this.model.look();
    this.moments.before();
    const before = this.model.ops.top, report = { losses: {}, norm: 0 };
    const wrongs = parts.map((part) => this.wrong(part, truth, this.random));
    parts.forEach((part, i) => {
      const head = this.heads[part], { losses, sample, gradients } = wrongs[i];
      head.backward(...gradients);
      report[part] = sample;
      Object.assign(report.losses, losses);
      report.norm = Math.hypot(report.norm, head.norm);
    });
    if (!Number.isFinite(report.norm)) throw new Error("its gradient is no longer finite; learn more slowly");
    const scale = report.norm > CLIP_NORM ? CLIP_NORM / report.norm : 1;
    for (const part of parts) this.heads[part].step(lr, momentum, scale);
    this.model.ops.top = before;
    this.moments.after();
    return report;
  }

  // The five losses of this drawing, over samples that are always the same.
  losses(truth) {
    const before = this.model.ops.top, rpn = this.wrong("rpn", truth, randomFrom(0)), box = this.wrong("box", truth, randomFrom(0));
    const losses = { ...rpn.losses, ...box.losses, loss_mask: this.maskLoss(box.sample, truth) };
    this.model.ops.top = before;
    return { losses, rpn: rpn.sample, box: box.sample };
  }

  wrong(part, truth, random) { return part === "rpn" ? this.wrongAnchors(truth, random) : this.wrongProposals(truth, random); }

  // RegionProposalNetwork.losses: is it an object, and if so, are its offsets right?
  wrongAnchors(truth, random) {
    const { rpn } = this.model.config, { anchors, matches } = this.matchedAnchors(truth);
    const indices = sampled(matches, rpn, random), objects = indices.filter((i) => matches[i] >= 0), { levels } = this.model.t;
    const A = levels[0].cell.length, shapes = indices.map((i) => (i - levels.findLast(({ first }) => first <= i).first) % A);
    const { scores, deltas } = this.heads.rpn.forward(this.around(indices)), n = Math.max(indices.length, 1);
    const loss = { objectness: 0, boxes: 0 }, [logits, dscores] = this.withGradient(scores), [offsets, ddeltas] = this.withGradient(deltas), each = [];
    indices.forEach((i, row) => {
      const at = row * A + shapes[row], isObject = matches[i] >= 0 ? 1 : 0, x = logits[at];
      each.push(Math.max(x, 0) - x * isObject + Math.log1p(Math.exp(-Math.abs(x))));
      loss.objectness += each[row] / n;
      dscores[at] = (sigmoid(x) - isObject) / n;
      if (isObject) loss.boxes += smoothL1(offsets, ddeltas, 4 * at, encode(truth.boxes[matches[i]], anchors[i], [1, 1, 1, 1]), n);
    });
    return { losses: { loss_objectness: loss.objectness, loss_rpn_box_reg: loss.boxes }, gradients: [this.gradient(scores, dscores), this.gradient(deltas, ddeltas)],
      sample: { indices, matches: indices.map((i) => matches[i]), each, objects: objects.length } };
  }

  // RoIHeads._box_losses: which class is it, and how does its box move?
  wrongProposals(truth, random) {
    const { model } = this, { roi } = model.config, candidates = [...model.t["rpn.proposals"], ...truth.boxes];
    const matches = matchBoxes(candidates, truth.boxes, roi.fg_iou_thresh, roi.bg_iou_thresh, false), indices = sampled(matches, roi, random);
    const K = this.heads.box.scores.outs, boxes = indices.map((i) => candidates[i]), n = Math.max(indices.length, 1), loss = { classes: 0, boxes: 0 }, each = [];
    const { scores, deltas } = this.heads.box.forward(model.pool(boxes, 7).crops);
    const [logits, dscores] = this.withGradient(scores), [offsets, ddeltas] = this.withGradient(deltas);
    const labels = indices.map((i) => (matches[i] >= 0 ? truth.labels[matches[i]] : 0));
    indices.forEach((i, row) => {
      const own = logits.subarray(row * K, row * K + K), most = Math.max(...own), sum = own.reduce((s, x) => s + Math.exp(x - most), 0), label = labels[row];
      each.push(Math.log(sum) + most - own[label]);
      loss.classes += each[row] / n;
      own.forEach((x, k) => { dscores[row * K + k] = (Math.exp(x - most) / sum - (k === label ? 1 : 0)) / n; });
      if (label) loss.boxes += smoothL1(offsets, ddeltas, 4 * (row * K + label), encode(truth.boxes[matches[i]], boxes[row], roi.reg_weights), n);
    });
    return { losses: { loss_classifier: loss.classes, loss_box_reg: loss.boxes }, gradients: [this.gradient(scores, dscores), this.gradient(deltas, ddeltas)],
      sample: { indices, boxes, labels, matches: indices.map((i) => matches[i]), each, objects: labels.filter(Boolean).length } };
  }

  // RoIHeads._mask_loss, over the objects of a sample of proposals.
  maskLoss({ boxes, labels, matches }, truth) {
    const rows = labels.flatMap((label, row) => (label ? [row] : [])), size = MASK_SIDE ** 2;
    if (!rows.length) return 0;
    const { model } = this, { ops } = model, logits = model.maskLogits(rows.map((row) => boxes[row])), K = logits.shape[3];
    const goals = ops.map(rows.length, MASK_SIDE, MASK_SIDE, 1), masks = truth.masks.map((mask) => this.resized(mask, truth.size));
    rows.forEach((row, i) => ops.roi_align(masks[matches[row]], boxes[row], 1, goals, i, 0));
    let sum = 0;
    rows.forEach((row, i) => {
      const x = ops.numbers(logits, i), y = ops.numbers(goals, i);
      for (let p = 0; p < size; p++) { const v = x[p * K + labels[row]]; sum += Math.max(v, 0) - v * y[p] + Math.log1p(Math.exp(-Math.abs(v))); }
    });
    return sum / (rows.length * size);
  }

  // A mask on the resized image, by nearest neighbour.
  resized(mask, [width, height]) {
    const [H, W] = this.model.size, y = this.model.ops.map(1, H, W, 1), out = this.model.ops.numbers(y);
    const place = (i, length, newLength) => Math.min(Math.trunc(f(f(f(length) / f(newLength)) * i)), length - 1);
    for (let i = 0; i < H; i++) for (let j = 0; j < W; j++) out[i * W + j] = mask[place(i, height, H) * width + place(j, width, W)];
    return y;
  }

  // All anchors and what each is matched to, which stay the same while the drawing does.
  matchedAnchors({ boxes }) {
    const { seen, t, config: { rpn } } = this.model, drawn = String(boxes);
    if (this.matched?.seen !== seen || this.matched.drawn !== drawn) {
      const anchors = t.levels.flatMap((level) => Array.from({ length: level.rows * level.columns * level.cell.length }, (_, a) => anchorBox(level, a)));
      this.matched = { seen, drawn, anchors, matches: matchBoxes(anchors, boxes, rpn.fg_iou_thresh, rpn.bg_iou_thresh, true) };
    }
    return this.matched;
  }

  // The 3x3 pixels of the map around each anchor's cell: all that the proposal head sees of it.
  around(indices) {
    const { t, ops, features } = this.model, C = features[0].shape[3], x = ops.map(Math.max(indices.length, 1), 1, 1, 9 * C), out = ops.numbers(x).fill(0);
    indices.forEach((index, row) => {
      const l = t.levels.findLastIndex(({ first }) => first <= index), { rows, columns, first, cell } = t.levels[l], map = ops.numbers(features[l]);
      const c = Math.floor((index - first) / cell.length), i = Math.floor(c / columns), j = c % columns;
      for (let tap = 0; tap < 9; tap++) {
        const h = i + Math.floor(tap / 3) - 1, w = j + tap % 3 - 1;
        if (h >= 0 && w >= 0 && h < rows && w < columns) out.set(map.subarray((h * columns + w) * C, (h * columns + w + 1) * C), (9 * row + tap) * C);
      }
    });
    return x;
  }

  // A map's numbers, and zeros for the gradient by them.
  withGradient(map) { const numbers = this.model.ops.numbers(map).slice(); return [numbers, new Float32Array(numbers.length)]; }

  gradient({ shape }, numbers) {
    const y = this.model.ops.map(...shape);
    this.model.ops.numbers(y).set(numbers);
    return y;
  }
}

// The rules by which a layer of a head gets its first weights, as in rpn.py and box_head.py.
function initial(part, head, dense) {
  const zero = () => 0, bound = 1 / Math.sqrt(dense.depth), uniform = (random) => f(bound * (2 * random() - 1));
  if (part === "rpn") return { weight: normal(0.01), bias: zero };
  const isConv = head.trunk.indexOf(dense) >= 0 && head.trunk.indexOf(dense) < head.spread;
  return isConv ? { weight: normal(Math.sqrt(2 / (9 * dense.outs))), bias: zero } : { weight: uniform, bias: uniform };
}

function normal(std) {
  return (random) => f(std * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())); // Box and Muller 1958
}

// Numbers in 0..1 that depend on the seed alone.
function randomFrom(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Matcher.match_boxes: for each box the object that it overlaps most, BELOW or BETWEEN.
function matchBoxes(boxes, objects, high, low, allowLowQuality) {
  const most = new Float32Array(boxes.length), best = new Int32Array(boxes.length).fill(BELOW), closest = new Uint8Array(boxes.length);
  objects.forEach((object, g) => {
    const row = Float32Array.from(boxes, (box) => overlap(object, box)), top = row.reduce((a, b) => Math.max(a, b), 0);
    row.forEach((iou, i) => {
      if (g === 0 || iou > most[i]) [most[i], best[i]] = [iou, g];
      if (iou === top) closest[i] = 1;
    });
  });
  return best.map((g, i) => (allowLowQuality && closest[i] ? g : most[i] < f(low) ? BELOW : most[i] < f(high) ? BETWEEN : g));
}

// BalancedSampler.sample: indices of objects and of background, ascending.
function sampled(matches, { batch_size_per_image: size, positive_fraction: share }, random) {
  const all = [...matches.keys()], objects = all.filter((i) => matches[i] >= 0), others = all.filter((i) => matches[i] === BELOW);
  const positives = draw(objects, Math.trunc(size * share), random);
  return [...positives, ...draw(others, size - positives.length, random)].sort((a, b) => a - b);
}

// As many of the indices, every set of them equally likely.
function draw(indices, count, random) {
  for (let i = 0; i < Math.min(count, indices.length); i++) {
    const j = i + Math.floor(random() * (indices.length - i));
    [indices[i], indices[j]] = [indices[j], indices[i]];
  }
  return indices.slice(0, count);
}

// Adds the gradient of four offsets; returns their loss.
function smoothL1(offsets, gradient, at, goal, n) {
  let loss = 0;
  goal.forEach((g, i) => {
    const d = offsets[at + i] - g, distance = Math.abs(d);
    loss += (distance < BETA ? (0.5 * d * d) / BETA : distance - 0.5 * BETA) / n;
    gradient[at + i] = (distance < BETA ? d / BETA : Math.sign(d)) / n;
  });
  return loss;
}
