// What if a box lay elsewhere? A box that the reader drags, and what follows from its place alone: its
// overlap with each object, its level, the offsets that would take it to the object, and what training
// would make of it.

function listenToDrags(view) {
  const { stage } = view, { canvas } = stage;
  canvas.addEventListener("pointerdown", (e) => {
    if (!view.built.drag) return;
    canvas.setPointerCapture(e.pointerId);
    view.dragged = boxDrag(stage, view.tried, stage.locate(e));
    e.preventDefault();
  });
  canvas.addEventListener("pointermove", (e) => { if (view.dragged) tryBox(view, view.dragged(...stage.locate(e))); });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { view.dragged = null; });
  document.addEventListener("keydown", (e) => {
    const by = { "+": 1, "-": -1 }[e.key], b = view.tried;
    if (!b || !by || !view.built.drag || e.target.tagName === "INPUT") return;
    e.preventDefault();
    tryBox(view, [b[0] - by, b[1] - by, b[2] + by, b[3] + by]);
  });
}

function tryBox(view, box) {
  const [width, height] = view.content.input.resized, inside = (v, most) => Math.max(0, Math.min(most, v));
  const b = [inside(Math.min(box[0], box[2]), width), inside(Math.min(box[1], box[3]), height), inside(Math.max(box[0], box[2]), width), inside(Math.max(box[1], box[3]), height)];
  if (b[2] - b[0] < 1 || b[3] - b[1] < 1) return;
  view.tried = b;
  view.showDetails();
  view.stage.redraw();
}

// The objects that a box is compared with: the ground truth, or without one what was found.
function goalsOf(view) {
  const { content, objects } = view;
  return content.learning ? truthBoxes(content).map((box, g) => ({ box, name: `${g} ${truthName(content, g)}` })) : objects.map((o) => ({ box: o.box, name: o.name }));
}

// As `BoxCoder.encode`: the offsets that take a box to another one.
function encode(goal, box, weights) {
  const sides = (b) => [b[2] - b[0], b[3] - b[1]], [w, h] = sides(box), [gw, gh] = sides(goal);
  const x = (b) => (b[0] + b[2]) / 2, y = (b) => (b[1] + b[3]) / 2;
  return [(x(goal) - x(box)) / w, (y(goal) - y(box)) / h, Math.log(gw / w), Math.log(gh / h)].map((v, i) => v * weights[i]);
}

// RoIAlign does not crop from the last level, which is the one before it, subsampled.
const pooledStrides = (content) => content.regions.strides.slice(0, -1);

// As `MultiScaleRoIAlign.level_of`: the index of a box's level.
function levelOf(content, box) {
  const { canonicalLevel, canonicalScale } = content.model, exponents = pooledStrides(content).map(Math.log2);
  const level = Math.floor(canonicalLevel + Math.log2(Math.sqrt((box[2] - box[0]) * (box[3] - box[1])) / canonicalScale) + 1e-6);
  return Math.max(exponents[0], Math.min(exponents.at(-1), level)) - exponents[0];
}

function levelText(content, box) {
  const side = Math.sqrt((box[2] - box[0]) * (box[3] - box[1])), { canonicalLevel: k, canonicalScale: s } = content.model, raw = k + Math.log2(side / s);
  return `${levelName(content, levelOf(content, box))}: ${k} + log₂(${fixed(side, 1)} / ${s}) = ${fixed(raw)}, rounded down to ${Math.floor(raw + 1e-6)}${levelName(content, levelOf(content, box)) === `P${Math.floor(raw + 1e-6)}` ? "" : `, and there is no such level, so ${levelName(content, levelOf(content, box))}`}`;
}

// Where RoIAlign would sample in a box. It takes a side of less than one cell for one cell.
function samplesOf(content, box) {
  const g = content.regions, stride = g.strides[levelOf(content, box)], across = g.pointsX.shape[1], down = g.pointsY.shape[1];
  const w = Math.max(box[2] - box[0], stride), h = Math.max(box[3] - box[1], stride);
  return Array.from({ length: down * across }, (_, k) => [box[0] + ((k % across) + 0.5) * w / across, box[1] + (Math.floor(k / across) + 0.5) * h / down]);
}

// A step's additions while a box is dragged; null while none is.
function whatIf(view, isAnchor) {
  const { content } = view, b = view.tried, weights = isAnchor ? [1, 1, 1, 1] : content.model.roi.weights;
  if (!b) return null;
  const state = () => {
    const goals = goalsOf(view), iou = goals.map((g) => overlap(view.tried, g.box)), best = iou.indexOf(Math.max(...iou));
    return { goals, iou, best: iou[best] > 0 ? best : -1 };
  };
  return {
    drag: true,
    noChips: true,
    hits: [],
    legend: [["your box", isAnchor ? COLOUR.anchor : COLOUR.proposal, "dashed"], [content.learning ? "ground truth" : "detection", content.learning ? COLOUR.truth : COLOUR.detection], ...(isAnchor ? [] : [["sampling points", COLOUR.point, "dotted"]])],
    count: "Drag the box, or pull a corner; Shift with an arrow key moves it, + and - size it.",
    paint: (stage) => {
      const { goals, best } = state(), box = view.tried;
      stage.fade(0.25);
      goals.forEach((g, i) => stage.box(g.box, content.learning ? COLOUR.truth : COLOUR.detection, "solid", i === best ? 2.6 : 1.2, i === best ? 1 : 0.5));
      if (!isAnchor) for (const [x, y] of samplesOf(content, box)) stage.dot(x, y, COLOUR.point, 1.3);
      stage.box(box, isAnchor ? COLOUR.anchor : COLOUR.proposal, "dashed", 2.6);
      if (best >= 0) stage.arrow(middleOf(box), middleOf(goals[best].box), COLOUR.truth);
      for (const [x, y] of [[0, 1], [2, 1], [0, 3], [2, 3]]) stage.dot(box[x], box[y], "#ffffff", 4.5);
    },
    panel: () => {
      const { goals, iou, best } = state(), box = view.tried;
      const offsets = best >= 0 ? encode(goals[best].box, box, weights) : null;
      return [heading("Your box", isAnchor ? COLOUR.anchor : COLOUR.proposal), facts([["box", boxText(box), "tried"], ["would be cropped from", levelText(content, box), "tried-level"]]),
        heading("Its IoU with each object", COLOUR.truth), best < 0 ? el("p", { class: "quiet" }, "It touches no object.") : bars(goals.map((g, i) => [g.name, iou[i], fixed(iou[i], 3), i === best ? COLOUR.truth : COLOUR.dropped]), 1),
        el("p", { class: "why", style: { "--c": COLOUR.truth }, "data-field": "tried-state" }, isAnchor ? anchorState(content, Math.max(0, ...iou)) : regionState(content, Math.max(0, ...iou))),
        offsets && [heading(`Offsets that take it to ${goals[best].name}`), facts(["dx", "dy", "dw", "dh"].map((name, i) => [name, offsetText(box, goals[best].box, weights, offsets, i), `tried-${name}`]))]];
    },
  };
}

const middleOf = (b) => [(b[0] + b[2]) / 2, (b[1] + b[3]) / 2];

// An offset with how it comes about.
function offsetText(box, goal, weights, offsets, i) {
  const axis = i % 2, side = box[axis + 2] - box[axis], goalSide = goal[axis + 2] - goal[axis], times = weights[i] === 1 ? "" : `${weights[i]} × `;
  const how = i < 2 ? `${times}(${fixed(middleOf(goal)[axis], 1)} − ${fixed(middleOf(box)[axis], 1)}) / ${fixed(side, 1)}` : `${times}ln(${fixed(goalSide, 1)} / ${fixed(side, 1)})`;
  return `${fixed(offsets[i], 3)} = ${how}`;
}

function anchorState(content, iou) {
  const m = content.model.rpn;
  return iou >= m.foreground ? `As an anchor it would be positive: IoU ${fixed(iou, 3)} is at least ${m.foreground}.`
    : iou < m.background ? `As an anchor it would be background: IoU ${fixed(iou, 3)} is below ${m.background}.`
    : `As an anchor it would be ignored: IoU ${fixed(iou, 3)} lies between ${m.background} and ${m.foreground}. (It would be positive if no anchor overlapped the object more.)`;
}

function regionState(content, iou) {
  const least = content.model.roi.foreground;
  return iou >= least ? `In training it would teach class, box and mask: IoU ${fixed(iou, 3)} is at least ${least}.` : `In training it would be an example of background: IoU ${fixed(iou, 3)} is below ${least}.`;
}

function whatIfButton(view, start) {
  return el("button", { type: "button", class: "plain", id: "what-if", "aria-pressed": String(!!view.tried), onclick: () => { view.tried = view.tried ? null : [...start]; view.arrive(); view.rebuild(); view.sheet.show(); } }, view.tried ? "back to the model's boxes" : "drag a box: what if?");
}
