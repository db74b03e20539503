// One region: what the second stage makes of a box, which may lie anywhere.

class RegionPanel extends Panel {
  constructor(app) {
    super(app, "region", "One region", "The box of the picked object. Drag it, pull a corner, or draw another: the second stage answers for any box.");
    this.stage.canvas.classList.add("touch");
    this.stage.canvas.setAttribute("role", "application");
    this.mask = el("canvas", { width: 28, height: 28, role: "img" });
    this.classes = el("div", { class: "names", role: "group", "aria-label": "class probabilities" });
    this.facts = el("div");
    this.below.replaceWith(el("div", { class: "answer" }, this.say, el("div", { class: "mask-and-classes" }, el("figure", {}, this.mask, el("figcaption", {}, "mask, 28×28")), this.classes), this.facts));
    this.listen();
  }

  listen() {
    const { canvas } = this.stage;
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      canvas.focus({ preventScroll: true });
      this.drag = boxDrag(this.stage, this.app.probed, this.stage.locate(e));
      e.preventDefault();
    });
    canvas.addEventListener("pointermove", (e) => { if (this.drag) this.app.probe(this.drag(...this.stage.locate(e))); });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { this.drag = null; });
    canvas.addEventListener("keydown", (e) => {
      const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key], b = this.app.probed;
      if (!by || !b) return;
      e.preventDefault();
      this.app.probe(e.shiftKey ? [b[0], b[1], b[2] + by[0], b[3] + by[1]] : [b[0] + by[0], b[1] + by[1], b[2] + by[0], b[3] + by[1]]);
    });
  }

  update() {
    const { app } = this, r = app.region;
    this.node.classList.toggle("empty", !r);
    if (!r) {
      this.say.textContent = app.findings.detections.length ? "Pick an object, or draw a box here." : "Nothing is found. Draw a box here to ask about any place.";
      this.name("no region yet: pick an object or draw a box");
      return;
    }
    const level = app.findings.t.levels[r.level], names = ["background", ...app.config.classes], most = r.scores.indexOf(Math.max(...r.scores));
    const truth = app.findings.truth.filter((x) => x.box).map((x) => [overlap(app.probed, x.box), overlap(app.findings.fromResized(r.moved), x.box)]).sort((a, b) => b[0] - a[0])[0];
    this.say.textContent = `It says ${names[most]} (${fixed(r.scores[most])})${r.label === most ? " and moves the box" : ""}.`;
    this.name(`region: ${names[most]} ${fixed(r.scores[most])}, cropped from ${P(r.level)}; drag, or arrow keys move the box, with Shift they size it`);
    this.classes.replaceChildren(...bars(names.map((name, k) => [name, r.scores[k], fixed(r.scores[k], 3), k ? THINGS.detection : THINGS.dropped]), 1));
    this.facts.replaceChildren(facts([
      ["cropped from", `${P(r.level)}, a map of ${level.columns}×${level.rows} cells`, "level"],
      ["moves by", `${fixed(r.deltas[0])}, ${fixed(r.deltas[1])}; grows by ${fixed(r.deltas[2])}, ${fixed(r.deltas[3])}`, "offsets"],
      truth && truth[0] > 0 && ["IoU with the truth", `${fixed(truth[0])} → ${fixed(truth[1])}`, "iou"],
    ]));
    this.mask.getContext("2d").drawImage(mapCanvas(r.mask, 28, 28), 0, 0);
    this.mask.setAttribute("aria-label", `mask of the ${names[r.label]}: ${percent(r.mask.filter((v) => v > 0.5).length / 784)} of the box`);
  }

  paint(stage) {
    const { app } = this, r = app.region;
    if (!r) return;
    const [x1, y1, x2, y2] = app.probed, moved = app.findings.fromResized(r.moved), c = stage.context;
    stage.fade(0.3);
    for (const truth of app.findings.truth) if (truth.box && overlap(truth.box, app.probed) > 0.1) stage.box(truth.box, THINGS["ground truth"], "solid", 1.6);
    for (let i = 0; i < 14; i++) for (let j = 0; j < 14; j++) {
      const [px, py] = stage.place(x1 + ((j + 0.5) * (x2 - x1)) / 14, y1 + ((i + 0.5) * (y2 - y1)) / 14);
      c.fillStyle = THINGS["sampling point"];
      c.strokeStyle = "rgba(0,0,0,.55)";
      c.lineWidth = 0.5 * stage.dots;
      c.beginPath();
      c.arc(px, py, 1.5 * stage.dots, 0, 7);
      c.fill();
      c.stroke();
    }
    stage.box(app.probed, THINGS.proposal, "dashed", 2.2);
    stage.box(moved, THINGS.detection, "solid", 2.2);
    stage.arrow([(x1 + x2) / 2, (y1 + y2) / 2], [(moved[0] + moved[2]) / 2, (moved[1] + moved[3]) / 2], THINGS.detection);
    for (const [x, y] of [[x1, y1], [x2, y1], [x1, y2], [x2, y2]]) stage.dot(x, y, "#ffffff", 4);
  }
}
