// Anchors that light up by their objectness, coloured by level.

class AnchorPanel extends Panel {
  constructor(app) {
    super(app, "anchors", "Anchors light up", "Every cell of five maps asks: is there an object of my size? Colour is the level.");
    this.bars = el("div", { class: "names", role: "group", "aria-label": "levels of the pyramid" });
    this.below.append(this.bars, this.say);
    this.level = null; // the only one shown
    this.cell = null;
    this.stage.canvas.addEventListener("pointermove", (e) => this.point(this.stage.locate(e)));
    this.stage.canvas.addEventListener("click", (e) => this.point(this.stage.locate(e)));
    this.stage.canvas.addEventListener("pointerleave", () => { this.cell = null; this.draw(); });
    this.stage.canvas.addEventListener("keydown", (e) => this.key(e));
  }

  // Arrow keys walk from cell to cell, from the surest on.
  key(e) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key], { findings } = this.app;
    if (!by || !findings) return;
    e.preventDefault();
    const level = this.cell?.level ?? this.level ?? findings.brightest, { rows, columns } = findings.t.levels[level], { values } = findings.light[level];
    const at = this.cell?.index ?? values.indexOf(Math.max(...values)), inside = (v, most) => Math.min(Math.max(v, 0), most - 1);
    this.cell = { level, index: inside(Math.floor(at / columns) + by[1], rows) * columns + inside((at % columns) + by[0], columns) };
    this.draw();
  }

  // The middle of a cell's anchors, in image pixels, and a cell's sides there.
  place(level, c) {
    const { rows, columns, stride } = this.app.findings.t.levels[level], x = (c % columns) * stride[1], y = Math.floor(c / columns) * stride[0];
    const [x1, y1, x2, y2] = this.app.findings.fromResized([x, y, x + stride[1], y + stride[0]]);
    return { x: x1, y: y1, width: x2 - x1, height: y2 - y1, rows };
  }

  point([x, y]) {
    const { findings } = this.app;
    if (!findings) return;
    const level = this.level ?? findings.brightest, { rows, columns, stride } = findings.t.levels[level], [u, v] = findings.toResized([x, y, x, y]);
    const inside = (value, most) => Math.min(Math.max(Math.round(value), 0), most - 1);
    this.cell = { level, index: inside(v / stride[0], rows) * columns + inside(u / stride[1], columns) };
    this.draw();
  }

  update() {
    const { findings } = this.app, { light, brightest } = findings;
    const rows = light.map(({ surest, lit }, l) => [`${P(l)}${l === brightest ? " ☀" : ""}`, Math.max(surest, 0), `${fixed(sigmoid(surest), 3)}`, COLOURS.levels[l], l]);
    this.bars.replaceChildren(...bars(rows, Math.max(8, ...light.map((l) => l.surest)), (l) => { this.level = this.level === l ? null : l; this.draw(); }, this.level));
    this.bars.dataset.brightest = P(brightest);
    this.name(`anchors: the surest is on level ${P(brightest)}, ${light.map(({ lit }, l) => `${lit} cells lit on ${P(l)}`).join(", ")}`);
    this.say.textContent = this.cell ? this.tell() : `The surest anchor is on ${P(brightest)}, whose square anchors have a side of ${fixed(this.side(brightest), 0)} pixels of your image. Grow a shape, and the light moves up a level.`;
  }

  side(level) {
    const [x1, , x2] = this.app.findings.fromResized(this.square(level));
    return x2 - x1;
  }

  square(level) {
    const { cell } = this.app.findings.t.levels[level];
    return cell.reduce((a, b) => (Math.abs(b[2] - b[3]) < Math.abs(a[2] - a[3]) ? b : a));
  }

  // The picked cell's anchors beside what is truly there.
  tell() {
    const { findings } = this.app, { level, index } = this.cell, from = findings.t.levels[level], { fg_iou_thresh: high, bg_iou_thresh: low } = this.app.config.rpn;
    const parts = this.anchorsOf(level, index).map((box, a) => {
      const probability = fixed(sigmoid(findings.t["rpn.objectness"][level][index * from.cell.length + a]));
      const iou = Math.max(0, ...findings.truth.filter((x) => x.box).map((x) => overlap(box, x.box)));
      const size = `${fixed(box[2] - box[0], 0)}×${fixed(box[3] - box[1], 0)}`;
      return `${size}: ${probability}, IoU ${fixed(iou)}${findings.truth.length ? ` (${iou >= high ? "object" : iou < low ? "background" : "neither"})` : ""}`;
    });
    return `${P(level)}, its anchors here: ${parts.join("; ")}.`;
  }

  anchorsOf(level, index) {
    const { findings } = this.app, from = findings.t.levels[level];
    return from.cell.map((_, a) => findings.fromResized(anchorBox(from, index * from.cell.length + a)));
  }

  paint(stage) {
    const { app } = this, { findings } = app, c = stage.context, [w, h] = app.scene.size;
    stage.fade(0.72);
    c.save();
    c.beginPath();
    c.rect(...stage.place(0, 0), w * stage.scale, h * stage.scale);
    c.clip();
    for (let l = findings.light.length - 1; l >= 0; l--) {
      if (this.level !== null && l !== this.level) continue;
      c.fillStyle = COLOURS.levels[l];
      findings.light[l].values.forEach((v, i) => {
        if (v < 0.05) return;
        const { x, y, width, height } = this.place(l, i), side = Math.min(width, height) * stage.scale * 0.8, [px, py] = stage.place(x, y);
        c.globalAlpha = 0.85 * v;
        c.beginPath();
        c.roundRect(px - side / 2, py - side / 2, side, side, side * 0.3);
        c.fill();
      });
    }
    c.restore();
    if (app.detection) stage.box(findings.fromResized(app.anchorOf(app.detection)), THINGS.anchor, "dotted", 2.4);
    if (this.cell) for (const box of this.anchorsOf(this.cell.level, this.cell.index)) stage.box(box, THINGS.anchor, "dotted", 2);
    for (const truth of findings.truth) if (truth.box && this.cell) stage.box(truth.box, THINGS["ground truth"], "solid", 1.4);
  }
}
