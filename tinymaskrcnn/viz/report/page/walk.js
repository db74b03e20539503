// The walk through the steps: the choices, the thing under the pointer, and the page around them.
//
// A step has id, group, title, text(content) and build(view). build returns, all optional: controls,
// legend, count, hits (things with a box to hover over: key, box, text, details), paint(stage), panel
// (beside the image while nothing is hovered), margin, zoom, move(point), step (how far Shift with an
// arrow key moves in y and x).

class View {
  constructor(content, photo, app) {
    this.content = content;
    const roi = content.model.roi;
    this.state = { score: Math.max(0.5, roi.score), nms: roi.nms, mask: 0.5, rpnNms: content.model.rpn.nms,
      level: 0, top: 50, clipped: false, outcome: "kept", detection: 0, truth: 0, loss: "loss_objectness" };
    this.focused = this.pinned = null;
    this.pasted = new Map();
    this.steps = [...INFERENCE, ...(content.learning ? LEARNING : []), ...(content.weights.length ? WEIGHTS : [])]
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
      holder, part("controls", "div", { class: "controls" }), part("legend"), part("count", "p", { class: "count", id: "count", "aria-live": "polite" }),
      part("chips", "div", { class: "chips" }), part("wide", "div"), part("hand", "div", { class: "hand" }));
    part("aside", "aside", { id: "details", "aria-label": "details", tabindex: 0 });
    app.replaceChildren(el("div", { class: "walk" }, this.nav, this.main, this.aside));
    this.stage = new Stage(holder, photo, this.content.input.resized, this.content.input.original);
    this.stage.paint = () => this.built?.paint?.(this.stage);
    this.listen();
  }

  listen() {
    const canvas = this.stage.canvas;
    canvas.addEventListener("pointermove", (e) => this.point(this.stage.locate(e)));
    canvas.addEventListener("pointerleave", () => this.focus(this.pinned));
    canvas.addEventListener("click", (e) => {
      if (this.built.move?.(this.stage.locate(e))) return; // a tap: no pointer moves before it
      const hit = this.under(this.stage.locate(e));
      this.pinned = hit && hit.key !== this.pinned ? hit.key : null;
      this.focus(this.pinned);
    });
    document.addEventListener("keydown", (e) => {
      if (e.altKey || e.ctrlKey || e.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
      if (e.shiftKey && this.built.step && this.moveBy(e.key)) { e.preventDefault(); return; }
      if (e.key === "ArrowRight") this.by(1);
      else if (e.key === "ArrowLeft") this.by(-1);
      else if (e.key === "Escape") { this.pinned = null; this.focus(null); } else return;
      e.preventDefault();
    });
    window.addEventListener("hashchange", () => this.go(location.hash.slice(1), false));
  }

  point(place) {
    if (this.built.move?.(place)) return;
    if (this.pinned === null) this.focus(this.under(place)?.key ?? null);
  }

  // One cell further, for those without a pointer.
  moveBy(key) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (!by) return false;
    const [x, y] = this.state.cell || this.content.input.resized.map((side) => side / 2), [dy, dx] = this.built.step;
    const inside = (v, most) => Math.max(0, Math.min(most, v)), [width, height] = this.content.input.resized;
    return this.built.move([inside(x + by[0] * dx, width), inside(y + by[1] * dy, height)]);
  }

  // The smallest thing under a point.
  under([x, y]) {
    const size = (b) => (b[2] - b[0]) * (b[3] - b[1]);
    return (this.built.hits || []).filter(({ box: b }) => x >= b[0] && x <= b[2] && y >= b[1] && y <= b[3])
      .reduce((a, b) => (!a || size(b.box) < size(a.box) ? b : a), null);
  }

  focus(key) {
    if (key === this.focused) return;
    this.focused = key;
    this.showDetails();
    for (const chip of this.chips.children) if (chip.dataset.key) chip.setAttribute("aria-pressed", String(chip.dataset.key === String(key)));
    this.stage.redraw();
  }

  get hit() { return (this.built.hits || []).find((h) => h.key === this.focused) || null; }

  showDetails() {
    const parts = this.hit ? this.hit.details() : this.built.panel?.() || [];
    this.aside.replaceChildren(...[parts].flat(Infinity).filter(Boolean));
  }

  by(step) {
    const i = this.steps.indexOf(this.step) + step;
    if (i >= 0 && i < this.steps.length) this.go(this.steps[i].id);
  }

  go(id, write = true) {
    const step = this.steps.find((s) => s.id === id) || this.steps[0];
    if (step === this.step) return;
    this.step = step;
    if (write) history.replaceState(null, "", `#${step.id}`);
    this.focused = this.pinned = null;
    for (const button of this.nav.querySelectorAll("button")) button.toggleAttribute("aria-current", button.id === `go-${step.id}`);
    const mine = this.nav.querySelector(`#go-${step.id}`);
    if (this.nav.scrollWidth > this.nav.clientWidth) this.nav.scrollLeft = mine.offsetLeft - this.nav.clientWidth / 2 + mine.offsetWidth / 2;
    this.title.textContent = step.title;
    this.say.innerHTML = step.text(this.content);
    const i = this.steps.indexOf(step), hand = (by, text) => this.steps[i + by]
      ? el("button", { type: "button", class: "plain", onclick: () => this.by(by) }, text(this.steps[i + by].title)) : el("span");
    this.hand.replaceChildren(hand(-1, (t) => `← ${t}`), hand(1, (t) => `${t} →`));
    this.rebuild();
  }

  // Builds all of the step anew; while a slider moves, all but the controls (refresh).
  rebuild() {
    this.refresh();
    this.controls.replaceChildren(...[this.built.controls || []].flat().filter(Boolean));
  }

  refresh() {
    this.built = this.step.build(this);
    this.stage.margin = this.built.margin || 0;
    this.stage.zoomTo = this.built.zoom || null;
    this.legend.replaceChildren(...(this.built.legend ? [legend(this.built.legend)] : []));
    this.count.replaceChildren(...[this.built.count || []].flat());
    this.count.hidden = !this.built.count;
    this.wide.replaceChildren(...(this.built.wide || []));
    this.stage.holder.hidden = !this.built.paint;
    this.chipsOf(this.built.hits || []);
    if (this.focused !== null && !this.hit) this.focused = this.pinned = null;
    this.showDetails();
    this.stage.fit();
  }

  chipsOf(hits) {
    const shown = hits.slice(0, 60);
    this.chips.hidden = !shown.length || this.built.noChips;
    this.chips.replaceChildren(...shown.map((h) => el("button", { type: "button", "data-key": String(h.key), "aria-pressed": "false",
      onfocus: () => this.pinned === null && this.focus(h.key), onpointerenter: () => this.pinned === null && this.focus(h.key),
      onclick: () => { this.pinned = this.pinned === h.key ? null : h.key; this.focus(h.key); } }, h.text)),
      ...(hits.length > shown.length ? [el("span", { class: "more" }, `and ${hits.length - shown.length} more in the image`)] : []));
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
      this.pasted.set(candidate, pasteMask(c.masks.row(row), c.masks.shape[1], c.pasteBoxes.row(row), this.content.input.original));
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
    const view = (window.page = new View(content, photo, app));
    view.go(location.hash.slice(1), false);
  } catch (problem) {
    app.replaceChildren(el("p", { class: "waiting" }, `This browser cannot unpack the page (${problem}). A current Firefox, Chrome, Edge or Safari can.`));
    throw problem;
  }
})();
