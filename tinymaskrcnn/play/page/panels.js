// The linked views: the image, anchors, proposals, one region. Each draws what `app` holds (play.js):
// scene, findings, picked object or detection, thresholds. Boxes are in image pixels.

const P = (level) => `P${level + 2}`;
const THINGS = COLOURS.things;

class Panel {
  constructor(app, id, title, hint) {
    this.app = app;
    this.holder = el("div", { class: "stage" });
    this.below = el("div", { class: "below" });
    this.node = el("section", { class: "card", id, "aria-labelledby": `${id}-title`, tabindex: -1 }, el("h2", { id: `${id}-title` }, title), el("p", { class: "hint" }, hint), this.holder, this.below);
    this.stage = new Stage(this.holder, app.scene.canvas, app.scene.size, app.scene.size);
    this.stage.paint = () => { if (app.findings) this.paint(this.stage); };
    this.say = el("p", { class: "read", id: `${id}-read` });
  }

  name(text) { this.stage.canvas.setAttribute("aria-label", text); }

  draw() {
    const size = this.app.scene.size, whole = [0, 0, ...size];
    if (String(this.stage.zoomTo) !== String(whole)) {
      Object.assign(this.stage, { size, original: size, zoomTo: whole });
      this.stage.fit();
    }
    this.update();
    this.stage.redraw();
  }

  update() {}
}

function outline(stage, scene, object) {
  const c = stage.context;
  c.save();
  c.setTransform(stage.scale, 0, 0, stage.scale, ...stage.shift);
  scene.trace(c, object);
  c.lineWidth = (2 * stage.dots) / stage.scale;
  c.setLineDash([5, 4].map((v) => (v * stage.dots) / stage.scale));
  c.strokeStyle = luminance(GROUNDS[scene.ground]) > 0.5 && !scene.photo ? "#1f2328" : "#ffffff";
  c.stroke();
  c.restore();
}

// ---- the image, drawn by hand, with what the model finds

class ImagePanel extends Panel {
  constructor(app) {
    super(app, "image", "Your image", "Drag on empty ground to draw. Drag a shape to move it, its dot to size and turn it.");
    this.stage.canvas.setAttribute("role", "application");
    this.stage.canvas.classList.add("touch");
    this.listen();
    this.controls();
  }

  controls() {
    const { app } = this, tool = (key, text, name) => el("button", { type: "button", "data-tool": key, title: name, "aria-label": name, onclick: () => app.set({ tool: key }) }, text);
    this.tools = el("div", { class: "choice", role: "group", "aria-label": "tool" }, tool("circle", "●", "draw circles"), tool("square", "■", "draw squares"),
      tool("triangle", "▲", "draw triangles"), tool("brush", "✎", "draw with a brush"), tool("pick", "pick", "only pick and move"));
    const act = (text, name, onclick, id) => el("button", { type: "button", class: "plain", id, title: name, onclick }, text);
    const file = el("input", { type: "file", accept: "image/*", hidden: true, onchange: () => app.photo(file.files[0]) });
    this.acts = el("div", { class: "choice" }, act("⚄ Dice", "draw something new", () => app.dice(), "dice"), act("Photo…", "take an image of yours; it stays on this device", () => file.click(), "photo"),
      act("Clear", "delete every shape", () => app.clear(), "clear"), act("Delete", "delete the picked shape", () => app.remove(), "delete"), file);
    this.grounds = choice("ground", Object.keys(GROUNDS).map((key) => [key, key]), app.scene.ground, (key) => app.ground(key));
    this.radius = slider("size", "radius", 20, [3, LARGEST_RADIUS, 1], (v) => app.change({ r: v }), (v) => fixed(v, 0));
    this.turn = slider("turn", "turn", 0, [-180, 180, 5], (v) => app.change({ turn: v + TURNS[app.object?.kind ?? "circle"] }), (v) => `${fixed(v, 0)}°`);
    this.score = slider("score above", "score", app.score, [0.05, 0.95, 0.01], (v) => app.set({ score: v }));
    this.rows = el("div", { class: "found", id: "found", role: "group", "aria-label": "objects, drawn and found" });
    this.below.append(el("div", { class: "bar-of-tools" }, this.tools, this.acts), el("div", { class: "controls" }, this.radius, this.turn, this.score), this.rows, this.grounds);
  }

  listen() {
    const { canvas } = this.stage, { app } = this;
    canvas.addEventListener("pointerdown", (e) => {
      if (e.button > 0) return;
      canvas.setPointerCapture(e.pointerId);
      canvas.focus({ preventScroll: true });
      this.drag = this.begin(this.stage.locate(e));
      e.preventDefault();
    });
    canvas.addEventListener("pointermove", (e) => {
      const place = this.stage.locate(e);
      if (this.drag) this.drag.move(...place); else canvas.style.cursor = this.cursor(place);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => {
      this.drag?.end?.();
      this.drag = null;
      app.remember();
    });
    canvas.addEventListener("keydown", (e) => this.key(e));
    canvas.addEventListener("wheel", (e) => {
      if (!app.object || document.activeElement !== canvas) return;
      e.preventDefault();
      app.change({ r: app.object.r * (e.deltaY < 0 ? 1.06 : 1 / 1.06) });
    }, { passive: false });
  }

  get reach() { return (11 * this.stage.dots) / this.stage.scale; } // of a finger, in image pixels

  // Where the dot is with which a shape is sized and turned.
  handle(o) {
    const angle = (o.kind === "circle" ? -45 : o.turn) * Math.PI / 180;
    return [o.x + o.r * Math.cos(angle), o.y + o.r * Math.sin(angle)];
  }

  onHandle(x, y) {
    const o = this.app.object;
    return o && o.kind !== "brush" && Math.hypot(this.handle(o)[0] - x, this.handle(o)[1] - y) < this.reach;
  }

  cursor([x, y]) { return this.onHandle(x, y) ? "grab" : this.app.scene.at(x, y) ? "move" : this.app.tool === "pick" ? "default" : "crosshair"; }

  // What a drag from this place does.
  begin([x, y]) {
    const { app } = this, { scene, tool } = app;
    if (this.onHandle(x, y)) {
      const o = app.object;
      return { move: (u, v) => app.change({ r: Math.hypot(u - o.x, v - o.y), ...(o.kind === "circle" ? {} : { turn: (Math.atan2(v - o.y, u - o.x) * 180) / Math.PI }) }) };
    }
    const under = scene.at(x, y);
    if (under && tool !== "brush") {
      const [dx, dy] = [x - under.x, y - under.y];
      app.pick({ object: under });
      return { move: (u, v) => app.change({ x: u - dx, y: v - dy }) };
    }
    if (tool === "pick") {
      app.pickAt(x, y);
      return { move() {} };
    }
    if (tool === "brush") {
      const stroke = scene.add("brush", x, y, 4, { points: [[0, 0]] });
      app.pick({ object: stroke });
      return { move: (u, v) => { stroke.points.push([u - x, v - y]); app.changed(); } };
    }
    const made = scene.add(tool, x, y, 3);
    app.pick({ object: made });
    return { move: (u, v) => app.change({ r: Math.hypot(u - x, v - y) }), end: () => { if (made.r < 5) app.change({ r: 16 }); } };
  }

  key(e) {
    const { app } = this, o = app.object, far = e.shiftKey ? 8 : 1;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
    const kind = { c: "circle", s: "square", t: "triangle" }[e.key];
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (kind) app.pick({ object: app.scene.add(kind, app.scene.size[0] / 2, app.scene.size[1] / 2, 20) });
    else if (e.key === "n" || e.key === "p") app.next(e.key === "n" ? 1 : -1);
    else if (e.key === "Escape") app.pick({});
    else if (!o) return;
    else if (moves) app.change({ x: o.x + far * moves[0], y: o.y + far * moves[1] });
    else if (e.key === "+" || e.key === "=") app.change({ r: o.r + 1 });
    else if (e.key === "-") app.change({ r: o.r - 1 });
    else if (e.key === "[" || e.key === "]") app.change({ turn: o.turn + (e.key === "]" ? 5 : -5) });
    else if (e.key === "Delete" || e.key === "Backspace") app.remove();
    else return;
    e.preventDefault();
    app.remember();
  }

  update() {
    const { app } = this, { findings } = app, shown = findings.shown(app.score), o = app.object;
    for (const b of this.tools.querySelectorAll("button")) b.setAttribute("aria-pressed", String(b.dataset.tool === app.tool));
    [...this.grounds.querySelectorAll("button")].forEach((b) => b.setAttribute("aria-pressed", String(b.textContent === app.scene.ground && !app.scene.photo)));
    for (const [holder, value, show] of [[this.radius, o?.r, (v) => fixed(v, 0)], [this.turn, o && (((o.turn - TURNS[o.kind] + 540) % 360) - 180), (v) => `${fixed(v, 0)}°`], [this.score, app.score, fixed]]) {
      const input = holder.querySelector("input");
      input.disabled = value == null;
      if (value != null) { input.value = value; holder.querySelector("output").textContent = show(value); }
    }
    this.node.querySelector("#delete").disabled = !o;
    const names = shown.map((d) => `${d.name} ${fixed(d.score)}`);
    this.name(`your image, ${some(app.scene.objects.length, "shape")} drawn; found: ${names.join(", ") || "nothing"}. Keys: c, s, t add a shape, n next, arrows move, plus and minus size, brackets turn, Delete removes`);
    this.list(shown);
  }

  // One row for each object drawn, then for each detection of nothing drawn.
  list(shown) {
    const { app } = this, { findings } = app, rows = [];
    findings.truth.forEach((truth) => {
      const d = findings.of(truth, app.score), own = findings.label(truth), hidden = findings.hidden(truth);
      const right = d && (own === null || d.label === own);
      const text = d ? `${d.name} ${fixed(d.score)}` : hidden ? "hidden" : "missed";
      const more = d ? `IoU ${fixed(d.overlaps[d.truth])}` : "";
      rows.push([truth.object.kind, text, more, d ? (right ? "right" : "wrong") : hidden ? "quiet" : "missed", { object: truth.object }, app.object === truth.object]);
    });
    for (const d of shown) if (d.truth < 0 || findings.of(findings.truth[d.truth], app.score) !== d) {
      const again = d.truth >= 0;
      rows.push([app.scene.photo ? "" : again ? "again" : "nothing there", `${d.name} ${fixed(d.score)}`, "", app.scene.photo ? "quiet" : "wrong", { box: d.box }, app.detection === d]);
    }
    this.rows.replaceChildren(...rows.map(([from, to, more, state, pick, pressed]) => el("button", { type: "button", class: state, "aria-pressed": String(pressed), onclick: () => app.pick(pick) },
      el("span", {}, from), el("b", {}, from ? `→ ${to}` : to), el("i", {}, more))),
      rows.length ? "" : el("p", { class: "quiet" }, "Nothing drawn, nothing found. Draw something!"));
  }

  paint(stage) {
    const { app } = this, { findings, scene } = app;
    for (const d of findings.shown(app.score)) {
      const picked = app.detection === d;
      stage.mask(d.pasted, 0.5, THINGS.mask, picked ? 0.5 : 0.28);
      stage.box(d.box, THINGS.detection, "solid", picked ? 3 : 1.8);
      stage.tag(d.box, `${d.name} ${fixed(d.score)}`, THINGS.detection);
    }
    for (const truth of findings.truth) if (truth.box && !findings.hidden(truth) && !findings.of(truth, app.score)) {
      stage.box(truth.box, THINGS.missed, "dashed", 1.8);
      stage.tag(truth.box, "missed", THINGS.missed);
    }
    if (app.object) {
      outline(stage, scene, app.object);
      if (app.object.kind !== "brush") stage.dot(...this.handle(app.object), "#ffffff", 6);
    }
  }
}

// ---- anchors that light up

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

// ---- proposals

class ProposalPanel extends Panel {
  constructor(app) {
    super(app, "proposals", "Proposals", "The best anchors, moved to fit. Overlapping ones are dropped: tap one to see why.");
    this.best = 3;
    this.which = "kept";
    this.picked = null;
    this.nms = app.config.rpn.nms_thresh;
    this.choice = choice("show", [["kept", "kept"], ["dropped", "dropped"]], this.which, (key) => { this.which = key; this.picked = null; this.draw(); });
    const least = Math.min(0.3, this.nms);
    this.sliders = el("div", { class: "controls" }, slider("best of each", "best", this.best, [1, 20, 1], (v) => { this.best = v; this.draw(); }, (v) => fixed(v, 0)),
      slider("NMS above IoU", "nms", this.nms, [least, 1, 0.01], (v) => { this.nms = v; this.picked = null; this.draw(); }));
    this.below.append(this.choice, this.sliders, this.say);
    this.stage.canvas.addEventListener("click", (e) => this.point(this.stage.locate(e)));
  }

  // What NMS at the slider's threshold keeps and drops.
  decide() {
    const { findings, config } = this.app, t = findings.t;
    if (this.of !== t) this.picked = null;
    if (this.of !== t || this.at !== this.nms) {
      this.decided = selectProposals(t, { ...config.rpn, nms_thresh: this.nms });
      this.boxes = t["rpn.clipped"].map((box) => findings.fromResized(box));
      [this.of, this.at] = [t, this.nms];
    }
    return this.decided;
  }

  // The things that the boxes are about: each object drawn, or each detection if nothing is.
  goals() {
    const { findings, score } = this.app, drawn = findings.truth.filter((x) => x.box && !findings.hidden(x)).map((x) => x.box);
    const others = findings.shown(score).filter((d) => d.truth < 0).map((d) => d.box);
    return [...drawn, ...others];
  }

  // Rows to be seen well, best of each goal first, and the others.
  split() {
    const { rows, by } = this.decide(), all = this.which === "kept" ? rows : [...by.keys()], clear = new Set();
    const own = this.app.detection?.box, goals = own && this.which === "dropped" ? [own] : this.goals();
    for (const goal of goals) {
      const near = all.map((i) => [i, overlap(this.boxes[i], goal)]).filter(([, iou]) => iou >= 0.3).sort((a, b) => b[1] - a[1]);
      near.slice(0, this.best).forEach(([i]) => clear.add(i));
    }
    return { all, clear };
  }

  point([x, y]) {
    const { all, clear } = this.split(), distance = (b) => Math.min(...[[x, b[0]], [x, b[2]], [y, b[1]], [y, b[3]]].map(([u, v]) => Math.abs(u - v)));
    const inside = (i) => { const b = this.boxes[i]; return x >= b[0] - 2 && x <= b[2] + 2 && y >= b[1] - 2 && y <= b[3] + 2; };
    const among = [...clear].some(inside) ? [...clear] : all;
    this.picked = among.filter(inside).reduce((a, i) => (a === null || distance(this.boxes[i]) < distance(this.boxes[a]) ? i : a), null);
    this.draw();
  }

  update() {
    const { rows, keep, by } = this.decide(), t = this.app.findings.t;
    [...this.choice.querySelectorAll("button")].forEach((b) => b.setAttribute("aria-pressed", String(b.textContent === this.which)));
    this.name(`${rows.length} proposals; ${by.size} moved anchors were dropped because they overlap a surer one`);
    this.say.textContent = this.picked === null
      ? `${rows.length} stay${keep.length > rows.length ? ` (the best of ${keep.length})` : ""}, ${by.size} of ${t["rpn.scores"].length} overlap a surer one of their level.`
      : this.why(this.picked);
  }

  why(i) {
    const { rows, by } = this.decide(), t = this.app.findings.t, from = `From ${P(t["rpn.top_k_levels"][i])}, objectness ${fixed(t["rpn.scores"][i], 3)}. `;
    if (by.has(i)) {
      const winner = by.get(i);
      return `${from}Dropped: it overlaps a surer box (${fixed(t["rpn.scores"][winner], 3)}, drawn solid) by IoU ${fixed(overlap(this.boxes[i], this.boxes[winner]))}, above ${fixed(this.nms)}.`;
    }
    return from + (rows.includes(i) ? `Proposal ${rows.indexOf(i) + 1} of ${rows.length}.` : "It is beyond the limit.");
  }

  paint(stage) {
    const { all, clear } = this.split(), { by } = this.decide(), colour = this.which === "kept" ? THINGS.proposal : THINGS.dropped;
    stage.fade(0.55);
    for (const i of all) if (!clear.has(i)) stage.box(this.boxes[i], colour, "dashed", 1, this.which === "kept" ? 0.13 : 0.06);
    for (const i of clear) stage.box(this.boxes[i], colour, "dashed", 1.7, this.picked === null || this.picked === i ? 1 : 0.3);
    const own = this.app.detection;
    if (own && this.which === "kept") stage.box(this.boxes[this.app.findings.t["rpn.proposal_rows"][own.row]], THINGS.proposal, "dashed", 3);
    if (this.picked !== null) {
      stage.box(this.boxes[this.picked], colour, "dashed", 3);
      if (by.has(this.picked)) stage.box(this.boxes[by.get(this.picked)], THINGS.proposal, "solid", 2.4);
    }
  }
}

// ---- one region

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
      this.drag = this.begin(this.stage.locate(e));
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

  // A drag at a corner pulls it, inside moves the box, elsewhere draws a new one.
  begin([x, y]) {
    const b = this.app.probed, reach = (11 * this.stage.dots) / this.stage.scale;
    if (b) for (const [i, j] of [[0, 1], [2, 1], [0, 3], [2, 3]]) if (Math.hypot(b[i] - x, b[j] - y) < reach) {
      const [fixedX, fixedY] = [b[2 - i], b[4 - j]];
      return (u, v) => [fixedX, fixedY, u, v];
    }
    if (b && x > b[0] && x < b[2] && y > b[1] && y < b[3]) {
      const start = [...b];
      return (u, v) => start.map((s, k) => s + (k % 2 ? v - y : u - x));
    }
    return (u, v) => [x, y, u, v];
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
    arrow(stage, [(x1 + x2) / 2, (y1 + y2) / 2], [(moved[0] + moved[2]) / 2, (moved[1] + moved[3]) / 2], THINGS.detection);
    for (const [x, y] of [[x1, y1], [x2, y1], [x1, y2], [x2, y2]]) stage.dot(x, y, "#ffffff", 4);
  }
}

function arrow(stage, from, to, colour) {
  const c = stage.context, [x1, y1] = stage.place(...from), [x2, y2] = stage.place(...to), length = Math.hypot(x2 - x1, y2 - y1);
  if (length < 3 * stage.dots) return;
  const angle = Math.atan2(y2 - y1, x2 - x1), head = 7 * stage.dots;
  c.save();
  Object.assign(c, { strokeStyle: colour, lineWidth: 2.4 * stage.dots, lineCap: "round" });
  c.beginPath();
  c.moveTo(x1, y1);
  c.lineTo(x2, y2);
  for (const side of [-0.5, 0.5]) {
    c.moveTo(x2, y2);
    c.lineTo(x2 - head * Math.cos(angle + side), y2 - head * Math.sin(angle + side));
  }
  c.stroke();
  c.restore();
}
