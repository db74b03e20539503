// A Mask R-CNN of the family maskrcnn_tiny in the page: transform, body, pyramid, proposals, heads.
// `see` gives what tm.trace() records, under the same names.

class MaskRCNN {
  constructor({ kernels, layers, config, history }) {
    this.ops = new Ops(kernels);
    this.config = config;
    this.layers = new Map(Object.entries(layers).map(([name, layer]) => [name, this.ops.layer(layer)]));
    Object.assign(this, { own: layers, history });
    this.training = new Training(this);
    this.mark = this.ops.top; // what comes after it belongs to one image
  }

  layer(name) { return this.layers.get(name); }
  numbered(name, end = "") { // name.0, name.1, ...: as many as there are
    const found = [];
    for (let i = 0; this.layers.has(`${name}.${i}${end}`); i++) found.push(this.layer(`${name}.${i}${end}`));
    return found;
  }

  // Take the weights of a moment of the training: all layers, and the heads forget what they learned
  // here. The last moment is the model itself.
  become(i) {
    const moment = this.history[i].layers;
    for (const [name, layer] of this.layers) this.ops.fill(layer, moment ? exact(moment[name], this.ops.panel) : this.own[name]);
    this.training.restart();
    return this.see(this.image);
  }

  // image: { data: Float32Array (C, H, W) in 0..1, channels, height, width }.
  see(image) {
    this.image = image;
    const t = (this.seen = {}), seconds = (t.seconds = {}), timed = stopwatch(seconds);
    this.ops.top = this.mark;
    const batch = timed("transform", this.transform(t, image));
    this.features = timed("backbone", this.pyramid(this.body(batch)));
    this.scales = this.mapScales();
    this.afterMaps = this.ops.top;
    return this.look();
  }

  // What the heads, as they are now, make of the last image seen.
  look() {
    const t = (this.t = { ...this.seen, seconds: { ...this.seen.seconds } }), timed = stopwatch(t.seconds);
    this.ops.top = this.afterMaps;
    const proposals = timed("rpn", this.rpn(t));
    timed("boxes", this.detect(t, proposals));
    timed("masks", this.masks(t));
    t.seconds.total = Object.values(t.seconds).reduce((a, b) => a + b, 0);
    return t;
  }

  transform(t, image) {
    const { scale, min_size, max_size, size_divisor, image_mean, image_std } = this.config.transform;
    const original = [image.height, image.width], whole = scale ? roundHalfToEven : Math.trunc;
    const factor = scale || Math.min(min_size / Math.min(...original), max_size / Math.max(...original));
    const size = original.map((side) => Math.max(whole(side * factor), 1));
    t.room = Math.max(1, (size[0] * size[1]) / (min_size * max_size)); // how many times more may be found
    const padded = size.map((side) => Math.ceil(side / size_divisor) * size_divisor);
    const batch = this.ops.map(1, ...padded, image.channels);
    this.ops.resize_normalize(image, size, image_mean, image_std, batch);
    this.size = size;
    Object.assign(t, { "transform.sizes": size, "transform.original_sizes": original, padded });
    return batch;
  }

  // ResNet: maps at 1/4, 1/8, 1/16 and 1/32.
  body(x) {
    const name = "backbone.body", maps = [];
    x = this.ops.conv2d(x, this.layer(`${name}.conv1`), { stride: 2, relu: true });
    for (const stage of [1, 2, 3, 4]) {
      for (let i = 0; this.layers.has(`${name}.layer${stage}.${i}.conv1`); i++) x = this.block(x, `${name}.layer${stage}.${i}`, i ? 1 : 2);
      maps.push(x);
    }
    return maps;
  }

  block(x, name, stride) {
    const shortcut = this.layer(`${name}.downsample.0`);
    const residual = shortcut ? this.ops.conv2d(x, shortcut, { stride }) : x;
    const y = this.ops.conv2d(x, this.layer(`${name}.conv1`), { stride, relu: true });
    return this.ops.conv2d(y, this.layer(`${name}.conv2`), { relu: true, residual });
  }

  pyramid(maps) {
    const inner = this.numbered("backbone.fpn.inner_blocks", ".0"), layer = this.numbered("backbone.fpn.layer_blocks", ".0"), levels = [];
    let merged = null;
    for (let i = maps.length - 1; i >= 0; i--) {
      const lateral = this.ops.conv2d(maps[i], inner[i]);
      merged = merged ? this.ops.upsample_add(merged, lateral) : lateral;
      levels.unshift(this.ops.conv2d(merged, layer[i]));
    }
    return [...levels, this.ops.max_pool2d(levels.at(-1))];
  }

  // Proposals: the best anchors of each level, moved, clipped and thinned out.
  rpn(t) {
    const { rpn, cells } = this.config, [padHeight, padWidth] = t.padded;
    const logits = [], levels = [], top = [], level = [], scores = [], moved = [];
    let first = 0;
    this.features.forEach((feature, l) => {
      const [, rows, columns] = feature.shape;
      levels.push({ rows, columns, first, cell: cells[l], stride: [Math.floor(padHeight / rows), Math.floor(padWidth / columns)] });
      const hidden = this.numbered("rpn.head.conv", ".0").reduce((x, conv) => this.ops.conv2d(x, conv, { relu: true }), feature);
      const objectness = this.ops.conv2d(hidden, this.layer("rpn.head.cls_logits")), deltas = this.ops.conv2d(hidden, this.layer("rpn.head.bbox_pred"));
      logits.push(this.ops.numbers(objectness).slice());
      for (const a of topK(logits[l], Math.ceil(t.room * rpn.pre_nms_top_n_test))) {
        top.push(first + a);
        level.push(l);
        scores.push(stableSigmoid(logits[l][a]));
        moved.push(decode(this.ops.numbers(deltas), 4 * a, anchorBox(levels[l], a), [1, 1, 1, 1]));
      }
      first += logits[l].length;
    });
    const clipped = moved.map((box) => clipBox(box, this.size));
    Object.assign(t, { levels, "rpn.objectness": logits, "rpn.top_k": top, "rpn.top_k_levels": level, "rpn.scores": scores, "rpn.clipped": clipped });
    const { keep, rows } = selectProposals(t, rpn);
    const proposals = rows.map((i) => clipped[i]);
    Object.assign(t, { "rpn.keep": keep, "rpn.proposal_rows": rows, "rpn.proposals": proposals });
    return proposals;
  }

  // Map pixels per image pixel of each level that is cropped, as a power of two.
  mapScales() {
    return this.features.slice(0, -1).map(({ shape }) => 2 ** Math.round(Math.log2(f(shape[1] / this.size[0]))));
  }

  // The level that suits a box's size.
  levelOf(box) {
    const finest = -Math.log2(this.scales[0]), coarsest = -Math.log2(this.scales.at(-1));
    const doublings = f(Math.log2(f(f(Math.sqrt(area(box))) / f(this.config.canonical_scale))));
    const level = Math.floor(f(f(this.config.canonical_level + doublings) + f(1e-6)));
    return Math.min(Math.max(level, finest), coarsest) - finest;
  }

  pool(boxes, size) {
    const crops = this.ops.map(boxes.length, size, size, this.features[0].shape[3]), levels = boxes.map((box) => this.levelOf(box));
    boxes.forEach((box, r) => this.ops.roi_align(this.features[levels[r]], box, this.scales[levels[r]], crops, r));
    return { crops, levels };
  }

  // Class probabilities (R, K), offsets (R, 4K) and pyramid levels of boxes.
  boxHead(boxes) {
    const { crops, levels } = this.pool(boxes, 7), convs = this.numbered("roi_heads.box_head", ".0");
    const hidden = convs.reduce((x, conv) => this.ops.conv2d(x, conv, { relu: true }), crops);
    const features = this.ops.linear(hidden, this.layer(`roi_heads.box_head.${convs.length + 1}`), true);
    const logits = this.ops.linear(features, this.layer("roi_heads.box_predictor.cls_score"));
    const deltas = this.ops.linear(features, this.layer("roi_heads.box_predictor.bbox_pred"));
    return { scores: boxes.map((_, r) => softmax(this.ops.numbers(logits, r))), deltas: boxes.map((_, r) => this.ops.numbers(deltas, r).slice()), levels };
  }

  // Classify and refine the proposals, and keep the best.
  detect(t, proposals) {
    const { roi } = this.config, { scores, deltas, levels } = this.boxHead(proposals);
    const rows = [], labels = [], own = [], clipped = [];
    scores.forEach((classes, r) => classes.forEach((score, k) => {
      if (k === 0 || !(score > f(roi.score_thresh))) return;
      rows.push(r);
      labels.push(k);
      own.push(score);
      clipped.push(clipBox(decode(deltas[r], 4 * k, proposals[r], roi.reg_weights), this.size));
    }));
    const large = [...rows.keys()].filter((i) => largeEnough(clipped[i], roi.min_size));
    const pick = (values) => large.map((i) => values[i]);
    const { kept } = suppressGroups(pick(clipped), pick(own), large.map((i) => (roi.class_agnostic_nms ? 0 : labels[i])), roi.nms_thresh);
    const keep = kept.map((i) => large[i]);
    Object.assign(t, {
      "detect.box_pool.levels": levels, "detect.scores": scores, "detect.box_deltas": deltas, "detect.candidates.rows": rows, "detect.candidates.labels": labels,
      "detect.candidates.scores": own, "detect.candidates.clipped": clipped, "detect.candidates.keep": keep, "detect.kept": keep.slice(0, Math.ceil(t.room * roi.detections_per_img)),
    });
  }

  masks(t) {
    const kept = t["detect.kept"], boxes = kept.map((i) => t["detect.candidates.clipped"][i]), labels = kept.map((i) => t["detect.candidates.labels"][i]);
    t["detect.mask_probabilities"] = this.maskHead(boxes, labels);
    t["detections.boxes"] = boxes.map((box) => scaleBox(box, this.size, t["transform.original_sizes"]));
    t["detections.labels"] = labels;
    t["detections.scores"] = kept.map((i) => t["detect.candidates.scores"][i]);
  }

  // For each box the probabilities (28 x 28) that pixels belong to an object of its class.
  maskHead(boxes, labels) {
    if (!boxes.length) return [];
    const logits = this.maskLogits(boxes), K = logits.shape[3];
    return boxes.map((_, n) => {
      const all = this.ops.numbers(logits, n);
      return Float32Array.from({ length: all.length / K }, (_, i) => stableSigmoid(all[i * K + labels[n]]));
    });
  }

  // (R, 28, 28, K)
  maskLogits(boxes) {
    const { crops } = this.pool(boxes, 14);
    const hidden = this.numbered("roi_heads.mask_head", ".0").reduce((x, conv) => this.ops.conv2d(x, conv, { relu: true }), crops);
    const large = this.ops.conv_transpose2d(hidden, this.numbered("roi_heads.mask_predictor.conv5_mask"), true);
    return this.ops.conv2d(large, this.layer("roi_heads.mask_predictor.mask_fcn_logits"));
  }

  // What the heads make of any box of the resized image, in the maps of the last image seen.
  region(box) {
    const before = this.ops.top, { scores: [scores], deltas: [deltas], levels: [level] } = this.boxHead([box]);
    const label = scores.indexOf(Math.max(...scores.slice(1)), 1);
    const moved = clipBox(decode(deltas, 4 * label, box, this.config.roi.reg_weights), this.size);
    const [mask] = this.maskHead([moved], [label]);
    this.ops.top = before;
    return { box, scores, level, label, moved, mask, deltas: [...deltas.slice(4 * label, 4 * label + 4)] };
  }
}

// A layer of numbers from one of bytes (pack.py).
function exact({ panels, scale, bias, norm }, panel) {
  const [count, taps, depth] = panels.shape, size = taps * depth * panel, data = new Float32Array(count * size);
  for (let i = 0; i < data.length; i++) data[i] = (panels.data[i] - 128) * (scale.data[Math.floor(i / size) * panel + (i % panel)] ?? 0);
  return { panels: { data }, bias, norm };
}

// Notes in `seconds` how long each part took since the one before it.
function stopwatch(seconds) {
  let began = performance.now();
  return (name, value) => {
    const now = performance.now();
    seconds[name] = (now - began) / 1000;
    began = now;
    return value;
  };
}

// As Python rounds: a half goes to the even neighbour.
function roundHalfToEven(x) {
  const whole = Math.round(x);
  return whole - x === 0.5 && whole % 2 ? whole - 1 : whole;
}

// Which of the moved anchors become proposals: rows by falling score, and what dropped each other one.
function selectProposals(t, { nms_thresh, score_thresh, post_nms_top_n_test, min_size }) {
  const boxes = t["rpn.clipped"], scores = t["rpn.scores"], levels = t["rpn.top_k_levels"];
  const fit = [...boxes.keys()].filter((i) => largeEnough(boxes[i], min_size) && scores[i] >= f(score_thresh));
  const pick = (values) => fit.map((i) => values[i]), { kept, by } = suppressGroups(pick(boxes), pick(scores), pick(levels), nms_thresh);
  const keep = kept.map((i) => fit[i]);
  return { keep, rows: keep.slice(0, Math.ceil(t.room * post_nms_top_n_test)), by: new Map([...by].map(([i, winner]) => [fit[i], fit[winner]])) };
}
