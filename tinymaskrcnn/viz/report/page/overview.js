// The whole network as one drawing: a node for each stage, with what it made of this image and how
// much of it. Each node leads to its step.

const FLOW = [
  { id: "picture", row: 1, column: 1 }, { id: "backbone", row: 1, column: 2 }, { id: "pyramid", row: 1, column: 3 },
  { id: "objectness", row: 2, column: 1 }, { id: "refine", row: 2, column: 2 }, { id: "proposals", row: 2, column: 3 },
  { id: "levels", row: 3, column: 1 }, { id: "filters", row: 3, column: 2 }, { id: "masks", row: 3, column: 3 },
  { id: "result", row: 4, column: 3 }, { id: "mistakes", row: 4, column: 2 }, { id: "losses", row: 4, column: 1 },
];
const ARROWS = [["picture", "backbone"], ["backbone", "pyramid"], ["pyramid", "objectness"], ["objectness", "refine"], ["refine", "proposals"], ["pyramid", "levels"],
  ["proposals", "levels"], ["levels", "filters"], ["filters", "masks"], ["masks", "result"], ["result", "mistakes"], ["mistakes", "losses"]];

const OVERVIEW = {
  id: "overview", group: "The whole", title: "Overview",
  text: (c) => `A Mask R-CNN looks twice. First a small network asks, everywhere at once, <b>is there something?</b> Then two heads look at each of the ${c.rpn.proposals.length} best places again: <b>what is it, and which pixels are its own?</b> Choose an object to follow it through every step, or a picture to see its step.`,
  build: (view) => ({
    noChips: true,
    wide: [flow(view)],
    panel: () => [heading("From cells to objects"), facts(countsOf(view.content)),
      view.thread ? [heading("What you follow"), el("p", { class: "thread" }, threadLine(view.content, view.thread))] : el("p", { class: "quiet" }, `Nothing is followed yet: choose ${view.objects.length ? `“${view.objects[0].name}”` : "a box in a later step"}.`),
      el("p", { class: "quiet" }, FINGER ? "The bar below goes from step to step." : "The arrow keys go from step to step.")],
  }),
};

// From all cells to the detections: name, number.
function countsOf(content) {
  const cells = content.anchors.reduce((s, l) => s + l.rows * l.columns, 0), anchors = content.anchors.reduce((s, l) => s + l.rows * l.columns * l.cell.length, 0);
  const rows = [["cells", cells], ["anchors", anchors], ["moved: the best of each level", content.rpn.scores.length], ["proposals", content.rpn.proposals.length],
    ["pairs of a proposal and a class", content.regions.scores.length * content.model.classes.length], [`detections above ${content.model.roi.score}`, content.candidates.kept.length]];
  return rows.map(([name, n]) => [name, n.toLocaleString("en"), `count-${name.split(/[ :]/)[0]}`]);
}

function flow(view) {
  const { content } = view, grid = el("div", { class: "flow" }), nodes = new Map();
  for (const { id, row, column } of FLOW) {
    const step = view.steps.find((s) => s.id === id);
    if (!step) continue;
    const [picture, count] = NODES[id](view);
    const node = el("button", { type: "button", "data-step": id, style: { "grid-row": row, "grid-column": column }, "aria-label": `${step.title}: ${count}`, onclick: () => view.go(id) }, el("b", {}, step.title), el("div", { class: "node-picture" }, picture), el("span", {}, count));
    nodes.set(id, node);
    grid.append(node);
  }
  const lines = svgOf(1, 1, "arrows from stage to stage");
  grid.prepend(lines);
  new ResizeObserver(() => drawArrows(grid, lines, nodes)).observe(grid);
  return grid;
}

// Arrows between the nodes, wherever they lie.
function drawArrows(grid, lines, nodes) {
  const whole = grid.getBoundingClientRect();
  lines.setAttribute("viewBox", `0 0 ${whole.width} ${whole.height}`);
  lines.replaceChildren();
  for (const [from, to] of ARROWS) {
    if (!nodes.has(from) || !nodes.has(to)) continue;
    const place = (id) => { const b = nodes.get(id).getBoundingClientRect(); return { l: b.left - whole.left, r: b.right - whole.left, t: b.top - whole.top, b: b.bottom - whole.top, x: (b.left + b.right) / 2 - whole.left, y: (b.top + b.bottom) / 2 - whole.top }; };
    const a = place(from), b = place(to);
    const kind = from === "pyramid" ? "arrow shared" : "arrow";
    let d, tip;
    if (Math.abs(a.y - b.y) < 20) { const [x1, x2] = a.x < b.x ? [a.r, b.l] : [a.l, b.r]; d = `M${x1},${a.y}H${x2}`; tip = [x2, a.y, a.x < b.x ? 0 : 180]; }
    else if (from === "pyramid" && to === "levels") { const out = whole.width - 5, between = (nodes.get("objectness").getBoundingClientRect().bottom - whole.top + b.t) / 2 + 6; d = `M${a.r},${a.y + 14}H${out}V${between}H${b.x + 24}V${b.t}`; tip = [b.x + 24, b.t, 90]; }
    else { const between = (a.b + b.t) / 2 - (from === "proposals" ? 5 : 0); d = `M${a.x},${a.b}V${between}H${b.x}V${b.t}`; tip = [b.x, b.t, 90]; }
    lines.append(shape("path", { d, class: kind }));
    lines.append(shape("path", { d: "M0,0L-8,-4.5V4.5Z", class: `${kind} tip`, transform: `translate(${tip[0]},${tip[1]}) rotate(${tip[2]})` }));
  }
}

// Each node's picture and its words.
const NODES = {
  picture: (view) => [small(view, () => {}), `${view.content.input.resized.join(" × ")} pixels`],
  backbone: ({ content: c }) => [levelsRow(c.maps.body.map((m) => plane(m, 0))), `${c.maps.body.length} maps, each half the size`],
  pyramid: ({ content: c }) => [levelsRow(c.maps.pyramid.map((m) => plane(m, 0))), `${c.maps.pyramid.length} maps of ${c.maps.pyramid[0].size[2]} channels, for both stages`],
  objectness: ({ content: c }) => [levelsRow(c.anchors.map((l) => mapCanvas(bestOfCells(l), l.columns, l.rows))), `${c.anchors.reduce((s, l) => s + l.rows * l.columns * l.cell.length, 0).toLocaleString("en")} anchors, each with a score`],
  refine: (view) => [small(view, (box) => { const { rpn } = view.content; for (const p of byScore(rpn.scores).slice(0, 40)) box(rpn.moved.row(p), COLOUR.proposal, 0.5, p === view.thread?.anchor); }), `the ${view.content.rpn.scores.length.toLocaleString("en")} best move to their boxes`],
  proposals: (view) => [small(view, (box) => [...view.content.rpn.proposals.data].forEach((p) => box(view.content.rpn.clipped.row(p), COLOUR.proposal, 0.35, p === view.thread?.anchor))), `${some(view.content.rpn.proposals.length, "proposal")} after suppression`],
  levels: (view) => { const { content: c } = view, rows = shownRows(view); return [row(rows.map((r) => cropCanvas(c.regions, r, c.regions.samples[0]))), `${c.rpn.proposals.length} crops of ${c.regions.samples[0]} × ${c.regions.samples[0]}`]; },
  filters: (view) => [small(view, (box) => view.content.candidates.kept.forEach((i) => box(view.content.candidates.boxes.row(i), COLOUR.detection, view.content.candidates.scores.at(i) < 0.5 ? 0.3 : 0.9, i === view.thread?.candidate))), `${(view.content.regions.scores.length * view.content.model.classes.length).toLocaleString("en")} pairs with a class, ${some(view.content.candidates.kept.length, "detection")} at ${view.content.model.roi.score}`],
  masks: (view) => { const shown = firstOf(view.thread?.candidate, view.content.candidates.kept).filter((i) => view.content.candidates.maskRow.has(i)).slice(0, 4), m = view.content.candidates.masks.shape[1] || 28; return [row(shown.map((i) => maskOf(view.content, i))), `a mask of ${m} × ${m} for each`]; },
  result: (view) => { const shown = view.objects.filter((o) => o.candidate !== undefined); return [small(view, (box, stage) => { for (const o of shown) if (view.paste(o.candidate)) stage.mask(view.paste(o.candidate), 0.5, COLOUR.mask); for (const o of shown) box(o.box, COLOUR.detection, 1, o.candidate === view.thread?.candidate); }), `${some(shown.length, "object")} above ${Math.max(0.5, view.content.model.roi.score)}`]; },
  mistakes: (view) => { const { content: c } = view, e = errorsFrom(c, c.learning.mistakes.score); return [small(view, (box) => truthBoxes(c).forEach((b, g) => box(b, e.missed.some((m) => m.truth === g) ? COLOUR.missed : COLOUR.truth, 1, g === view.thread?.truth))), `${e.found.length} right, ${e.wrong.length} wrong, ${e.missed.length} missed`]; },
  losses: ({ content: c }) => { const { losses } = c.learning; return [el("div", { class: "node-bars" }, lossBars(losses, c.lossColours, Math.max(...Object.values(losses), 1e-12), 2)), `five losses, in sum ${fixed(Object.values(losses).reduce((x, y) => x + y, 0), 2)}`]; },
};

const row = (canvases) => el("div", { class: "node-row" }, canvases);

// Levels in their relative sizes, as far as they can be seen.
function levelsRow(canvases) {
  const shares = canvases.map((_, i) => Math.max(2 ** -i, 0.17)), all = shares.reduce((a, b) => a + b, 0.1 * canvases.length);
  canvases.forEach((canvas, i) => canvas.style.setProperty("flex", `0 0 ${(100 * shares[i] / all).toFixed(1)}%`));
  return el("div", { class: "node-row levels" }, canvases);
}

const firstOf = (first, all) => (all.includes(first) ? [first, ...all.filter((i) => i !== first)] : [...all]);

// The rows of four proposals: the followed one, then those of the best detections.
function shownRows({ content: c, thread }) {
  const rows = [...new Set([thread?.region, ...c.candidates.kept.map((i) => c.candidates.rows.at(i)), ...c.rpn.proposals.data.keys()])];
  return rows.filter((r) => r !== undefined).slice(0, 4);
}

// The image in small, with boxes: box(b, colour, alpha, whether it is the followed one).
function small(view, draw) {
  const [width, height] = view.content.input.resized, stage = new Stage(el("div"), view.stage.photo, [width, height], view.content.input.original);
  const scale = 260 / Math.max(width, height);
  Object.assign(stage, { scale, shift: [0, 0], dots: 1 });
  Object.assign(stage.canvas, { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  for (const name of ["tabindex", "role", "aria-label"]) stage.canvas.removeAttribute(name);
  stage.clear();
  const last = [];
  draw((b, colour, alpha, followed) => (followed ? last.push([b, colour]) : stage.box(b, colour, "solid", 1.3, view.thread ? alpha * 0.4 : alpha)), stage);
  for (const [b, colour] of last) stage.box(b, colour, "solid", 3.4);
  return stage.canvas;
}
