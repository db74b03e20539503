// The image, drawn by hand, with what the model finds.

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
    for (const d of findings.shown(app.score).sort((a, b) => (a === app.detection) - (b === app.detection) || a.score - b.score)) {
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
