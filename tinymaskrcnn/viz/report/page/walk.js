// The walk through the steps: the choices, the thing under the pointer, and the page around them.
//
// A step has id, group, title, text(content) and build(view); optional: kind (what its keys are, for
// story.js), arrive(view, thread), few (what to call its things: the best few of each object come first).
// build returns, all optional: controls, legend, count, hits (things with a box to hover over: key, box,
// text, details, of: its object), paint(stage), panel (beside the image while nothing is hovered), margin,
// zoom, move(point), step (how far Shift with an arrow key moves in y and x), drag (see whatif.js).

const MOST_CHIPS = 60;

class View {
  constructor(content, photo, app) {
    this.content = content;
    const roi = content.model.roi;
    this.state = { score: Math.max(0.5, roi.score), nms: roi.nms, mask: 0.5, rpnNms: content.model.rpn.nms,
      level: 0, clipped: false, outcome: "kept", truth: 0, loss: "loss_objectness", few: 3 };
    this.focused = this.pinned = this.thread = null;
    this.objects = objectsOf(content);
    this.pasted = new Map();
    this.steps = [OVERVIEW, ...INFERENCE, ...(content.learning ? LEARNING : []), ...(content.weights.length ? WEIGHTS : [])]
      .filter((s) => !s.needs || s.needs(content));
    this.frame(app, photo);
  }

  frame(app, photo) {
    this.nav = el("nav", { class: "steps", "aria-label": "steps" });
    let group = "";
    for (const step of this.steps) {
      if (step.group !== group) this.nav.append(el("h3", {}, (group = step.group)));
      this.nav.append(el("button", { type: "button", id: `go-${step.id}`, onclick: () => this.go(step.id) }, step.title));
    }
    for (const [what, why] of Object.entries(this.content.missing)) this.nav.append(el("p", { class: "quiet" }, `Missing: ${what} (${why})`));
    const part = (name, tag = "div", more = {}) => (this[name] = el(tag, more));
    const holder = el("div", { class: "stage" });
    this.main = el("main", { class: "main" }, part("title", "h2", { id: "title", tabindex: -1 }), part("say", "p", { class: "say" }),
      part("strip", "div", { class: "strip", role: "group", "aria-label": "follow an object through every step" }),
      holder, part("controls", "div", { class: "controls" }), part("legend"), part("count", "p", { class: "count", id: "count", "aria-live": "polite" }),
      part("chips", "div", { class: "chips" }), part("wide", "div"), part("more", "div", { class: "more-about" }), part("hand", "div", { class: "hand" }));
    part("aside", "aside", { id: "details", "aria-label": "details", tabindex: 0 });
    this.sheet = new Sheet(this.aside, this.main);
    app.replaceChildren(el("div", { class: "walk sheeted" }, this.nav, this.main, this.aside));
    this.stage = new Stage(holder, photo, this.content.input.resized, this.content.input.original);
    this.stage.hug = true;
    this.stage.paint = () => this.built?.paint?.(this.stage);
    this.listen();
  }

  listen() {
    const canvas = this.stage.canvas;
    listenToDrags(this);
    canvas.addEventListener("pointermove", (e) => { if (!this.dragged) this.point(this.stage.locate(e)); });
    canvas.addEventListener("pointerleave", () => this.focus(this.pinned));
    canvas.addEventListener("click", (e) => {
      if (this.built.drag) return;
      if (this.built.move?.(this.stage.locate(e))) { this.sheet.show(); return; } // a tap: no pointer moves before it
      this.pin(this.under(this.stage.locate(e))?.key ?? null);
    });
    document.addEventListener("keydown", (e) => {
      if (e.altKey || e.ctrlKey || e.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
      if (e.shiftKey && (this.built.step || this.built.drag) && this.moveBy(e.key)) { e.preventDefault(); return; }
      if (e.key === "ArrowRight") this.by(1);
      else if (e.key === "ArrowLeft") this.by(-1);
      else if (e.key === "Escape") { this.sheet.hide(); this.pin(null); } else return;
      e.preventDefault();
    });
    window.addEventListener("hashchange", () => { if (location.hash.slice(1) !== this.address) this.open(location.hash.slice(1)); });
  }

  point(place) {
    if (this.built.move?.(place)) return;
    if (this.pinned === null) this.focus(this.under(place)?.key ?? null);
  }

  // One cell further, for those without a pointer.
  moveBy(key) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (!by) return false;
    if (this.built.drag) { tryBox(this, this.tried.map((v, i) => v + by[i % 2])); return true; }
    const [x, y] = this.state.cell || this.content.input.resized.map((side) => side / 2), [dy, dx] = this.built.step;
    const inside = (v, most) => Math.max(0, Math.min(most, v)), [width, height] = this.content.input.resized;
    return this.built.move([inside(x + by[0] * dx, width), inside(y + by[1] * dy, height)]);
  }

  // The smallest thing under a point; those shown strongly come first.
  under([x, y]) {
    const size = (b) => (b[2] - b[0]) * (b[3] - b[1]);
    const inside = (this.built.hits || []).filter(({ box: b }) => x >= b[0] && x <= b[2] && y >= b[1] && y <= b[3]);
    const strong = inside.filter((h) => h.strong);
    return (strong.length ? strong : inside).reduce((a, b) => (!a || size(b.box) < size(a.box) ? b : a), null);
  }

  // ---- what is followed

  // Keep one thing's details open and follow it from here on; the same thing again lets it go.
  pin(key) {
    const again = key !== null && key === this.pinned, picked = again || key === null ? null : KINDS[this.step.kind]?.thread(this, key) ?? null;
    this.pinned = again ? null : key;
    this.setThread(picked);
    this.write();
    const { focused, pinned } = this;
    this.focused = pinned;
    if (this.step.few || focused !== pinned) this.refresh(); else this.showDetails();
    if (pinned !== null) this.sheet.show();
  }

  // Follow an object from the buttons above the image.
  follow(picked) {
    this.setThread(picked);
    this.write();
    this.arrive();
    this.rebuild();
    if (this.pinned !== null) this.sheet.show();
  }

  setThread(picked) {
    this.thread = picked && { ...threadOf(this.content, picked), asked: Object.keys(picked)[0] };
    this.followed = this.thread ? objectOf(this.content, this.objects, this.thread) : -1;
    this.fillStrip();
  }

  // What is followed is this step's thing, if it has it.
  arrive() {
    if (this.thread) this.step.arrive?.(this, this.thread);
    this.pinned = this.focused = (this.thread && KINDS[this.step.kind]?.key(this, this.thread)) ?? null;
  }

  fillStrip() {
    const { content, thread } = this, shown = this.objects.slice(0, NAMED);
    this.strip.hidden = !this.objects.length && !thread;
    this.strip.replaceChildren(el("span", { class: "fine" }, "follow"), ...shown.map((o, i) => el("button", { type: "button", "data-object": String(i), "aria-pressed": String(this.followed === i),
      onclick: () => this.follow(this.followed === i ? null : o.candidate !== undefined ? { candidate: o.candidate } : { truth: o.truth }) }, o.name)),
    ...(this.objects.length > NAMED ? [el("span", { class: "fine" }, `and ${this.objects.length - NAMED} more: ${TAP} one in the image`)] : []),
    ...(thread ? [el("p", { class: "thread", id: "thread" }, threadLine(content, thread), el("button", { type: "button", class: "plain", id: "let-go", onclick: () => this.follow(null) }, "let go"),
      el("button", { type: "button", class: "plain", id: "zoom", "aria-pressed": String(!!this.state.zoom), onclick: () => { this.set("zoom", !this.state.zoom); this.fillStrip(); } }, "zoom to it"))] : []));
  }

  // How strongly a thing is drawn.
  strength(h) { return this.focused !== null ? (h.key === this.focused ? 1 : h.strong ? 0.35 : 0.04) : h.strong ? 0.95 : 0.06; }

  focus(key) {
    if (key === this.focused) return;
    this.focused = key;
    this.showDetails();
    for (const chip of this.chips.querySelectorAll("[data-key]")) chip.setAttribute("aria-pressed", String(chip.dataset.key === String(key)));
    this.stage.redraw();
  }

  get hit() { return (this.built.hits || []).find((h) => h.key === this.focused) || null; }

  showDetails() {
    const parts = this.hit ? this.hit.details() : this.built.panel?.() || [];
    this.aside.replaceChildren(...[parts].flat(Infinity).filter(Boolean));
    this.sheet.name(this.hit ? this.hit.text : "details");
    markOverflow(this.aside);
  }

  by(step) {
    const i = this.steps.indexOf(this.step) + step;
    if (i >= 0 && i < this.steps.length) this.go(this.steps[i].id);
  }

  get address() { return `${this.step.id}${threadText(this.thread)}`; }

  write() { history.replaceState(null, "", `#${this.address}`); }

  // An address: a step, and what to follow.
  open(address) {
    const [id, what] = address.split("/"), asked = threadAsked(this.content, what);
    this.setThread(asked);
    this.step = null;
    this.go(id, false);
  }

  go(id, write = true) {
    const step = this.steps.find((s) => s.id === id) || this.steps[0];
    if (step === this.step) return;
    this.step = step;
    this.tried = null;
    if (write) this.write();
    this.arrive();
    for (const button of this.nav.querySelectorAll("button")) button.toggleAttribute("aria-current", button.id === `go-${step.id}`);
    const mine = this.nav.querySelector(`#go-${step.id}`);
    if (this.nav.scrollWidth > this.nav.clientWidth) this.nav.scrollLeft = mine.offsetLeft - this.nav.clientWidth / 2 + mine.offsetWidth / 2;
    this.title.textContent = step.title;
    this.say.innerHTML = step.text(this.content);
    this.more.replaceChildren(...moreAbout(this));
    const i = this.steps.indexOf(step), hand = (by, text) => this.steps[i + by]
      ? el("button", { type: "button", class: "plain", onclick: () => this.by(by) }, text(this.steps[i + by].title)) : el("span");
    this.hand.replaceChildren(hand(-1, (t) => `← ${t}`), this.sheet.button, hand(1, (t) => `${t} →`));
    this.rebuild();
  }

  // Builds all of the step anew; while a slider moves, all but the controls (refresh).
  rebuild() {
    this.refresh();
    this.controls.replaceChildren(...[this.fewSlider, this.built.controls || []].flat().filter(Boolean));
  }

  refresh() {
    this.built = this.step.build(this);
    const hits = this.built.hits || [], ranks = markFew(hits, this.objects, this.step.few ? this.state.few : Infinity, this.followed);
    this.stage.canvas.classList.toggle("touch", !!this.built.drag);
    this.stage.margin = this.built.margin || 0;
    this.stage.zoomTo = this.built.zoom || (this.state.zoom && this.thread ? around(threadBox(this.content, this.thread), this.content.input.resized) : null);
    this.legend.replaceChildren(...(this.built.legend ? [legend(this.built.legend)] : []));
    this.count.replaceChildren(...[this.built.count || []].flat());
    this.count.hidden = !this.built.count;
    this.wide.replaceChildren(...(this.built.wide || []));
    this.stage.holder.hidden = !this.built.paint;
    this.chipsOf(hits, ranks);
    if (this.focused !== null && !this.hit) this.focused = this.pinned = null;
    this.showDetails();
    this.stage.fit();
    markOverflow(this.wide);
  }

  get fewSlider() {
    if (!this.step.few) return null;
    const most = 12, all = most + 1, value = Math.min(this.state.few, all);
    return slider(`best of each object`, "few", value, [1, all, 1], (v) => this.set("few", v === all ? Infinity : v, false), (v) => (v >= all ? "all" : String(v)));
  }

  // Buttons for the things on the image; where a step shows few of many, in one line for each object.
  chipsOf(hits, ranks) {
    const chip = (h, text = h.text) => el("button", { type: "button", "data-key": String(h.key), "aria-pressed": String(h.key === this.pinned), "aria-label": h.text,
      onfocus: () => this.pinned === null && this.focus(h.key), onpointerenter: () => this.pinned === null && this.focus(h.key), onclick: () => this.pin(h.key) }, text);
    this.chips.hidden = !hits.length || this.built.noChips;
    if (this.chips.hidden) return this.chips.replaceChildren();
    if (!this.step.few) {
      return this.chips.replaceChildren(...hits.slice(0, MOST_CHIPS).map((h) => chip(h)), ...(hits.length > MOST_CHIPS ? [el("span", { class: "more" }, `and ${hits.length - MOST_CHIPS} more in the image`)] : []));
    }
    const groups = [...ranks].sort((a, b) => (a[0] < 0) - (b[0] < 0) || a[0] - b[0]).slice(0, NAMED);
    this.chips.replaceChildren(...groups.map(([of, n]) => el("div", { class: "group", "data-of": String(of) }, el("b", {}, of < 0 ? "elsewhere" : this.objects[of].name), el("span", { class: "fine" }, some(n, this.step.few)),
      hits.filter((h) => h.of === of && h.strong).slice(0, MOST_CHIPS).map((h) => chip(h, h.short ?? h.text)))));
  }

  set(name, value, rebuild = true) {
    this.state[name] = value;
    if (rebuild) this.rebuild(); else this.refresh();
  }

  // A candidate's mask at image size, remembered; null if the page holds none.
  paste(candidate) {
    const c = this.content.candidates, row = c.maskRow.get(candidate);
    if (row === undefined) return null;
    if (!this.pasted.has(candidate)) {
      this.pasted.set(candidate, pasteMask(c.masks.row(row), c.masks.shape[1], c.pasteBoxes.row(row), this.content.input.original, this.content.model.exactPaste));
    }
    return this.pasted.get(candidate);
  }
}

(async () => {
  const app = document.getElementById("app");
  try {
    const content = await unpack(document.getElementById("data").textContent);
    content.candidates.maskRow = new Map(content.candidates.maskOf.map((c, row) => [c, row]));
    const photo = await loadPicture(content.input.photo);
    if (content.stem) content.pixels = networkPixels(content, await loadPicture(content.input.network)).slice(0, content.stem.weight.shape[1]);
    const view = (window.page = new View(content, photo, app));
    view.open(location.hash.slice(1));
  } catch (problem) {
    app.replaceChildren(el("p", { class: "waiting" }, `This browser cannot unpack the page (${problem}). A current Firefox, Chrome, Edge or Safari can.`));
    throw problem;
  }
})();
