// Moments of training: a few images, and what the model made of them at each moment.

const THING = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const VIEWS = { detections: "Detections and masks", proposals: "Proposals", anchors: "Best anchors, moved", objectness: "Objectness" };
const SAY = {
  detections: "Boxes, classes and masks above the score threshold; the ground truth is dotted. At first there is nothing, then rough boxes, then shapes.",
  proposals: "What the first stage takes for objects. The boxes start all over the image and gather on the objects.",
  anchors: "The anchors with the highest scores (dotted) and the boxes they become (dashed).",
  objectness: "How much each cell of a level looks like an object: the highest score among its anchors.",
};

class Timeline {
  // images: the moments of each image. photos: one for each of them.
  constructor(images, photos, missing, app) {
    Object.assign(this, { images, photos, missing });
    const [moments] = images, [photo] = photos;
    const learned = moments.some((m) => m.scores.data.some((v) => v >= 0.5));
    this.state = { image: 0, at: 0, view: learned ? "detections" : "proposals", score: 0.5, level: 0, beside: false };
    const part = (name, tag = "div", more = {}) => (this[name] = el(tag, more));
    const holders = [0, 1].map(() => el("div", { class: "stage" }));
    const names = [this.firstName, this.nowName] = [0, 1].map(() => el("figcaption"));
    const pair = (this.pair = el("div", { class: "beside" }, holders.map((holder, i) => el("figure", {}, holder, names[i]))));
    const main = el("main", { class: "main" }, part("title", "h2"), part("say", "p", { class: "say" }), part("time", "div", { class: "controls" }), pair,
      part("controls", "div", { class: "controls" }), part("legend"), part("count", "p", { class: "count", id: "count", "aria-live": "polite" }));
    part("aside", "aside", { id: "details", "aria-label": "details", tabindex: 0 });
    part("nav", "nav", { class: "steps", "aria-label": "views" });
    this.nav.append(el("h3", {}, "Show"), ...Object.entries(VIEWS).map(([key, name]) => el("button", { type: "button", id: `go-${key}`, onclick: () => { this.stop(); this.set("view", key); } }, name)));
    app.replaceChildren(el("div", { class: "walk" }, this.nav, main, this.aside));
    [this.before, this.stage] = holders.map((holder) => new Stage(holder, photo, moments[0].size, moments[0].size));
    this.before.paint = () => this.paint(this.moments[0], this.before);
    this.stage.paint = () => this.paint(this.now, this.stage);
    this.before.canvas.setAttribute("aria-label", "the image at the first moment");
    for (const stage of [this.before, this.stage]) stage.hug = true;
    document.addEventListener("keydown", (e) => {
      if (/^(INPUT|SELECT)$/.test(e.target.tagName) || e.altKey || e.ctrlKey || e.metaKey) return;
      const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (by) { e.preventDefault(); this.stop(); this.move(this.state.at + by); }
    });
    this.build();
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches && moments.length > 1) this.play(); // once, from the start
  }

  get moments() { return this.images[this.state.image]; }
  get now() { return this.moments[this.state.at]; }

  move(at) { this.set("at", Math.max(0, Math.min(this.moments.length - 1, at))); }

  set(name, value) {
    this.state[name] = value;
    if (name === "image") {
      const size = this.moments[0].size;
      for (const stage of [this.before, this.stage]) Object.assign(stage, { photo: this.photos[value], size, original: size });
      this.state.at = Math.min(this.state.at, this.moments.length - 1);
    }
    if (name === "at") { this.slider.value = value; this.refresh(); } else this.build();
  }

  // Through the moments, from the start if they are at their end; whatever the reader does stops it.
  play() {
    if (this.timer) return this.stop();
    if (this.state.at === this.moments.length - 1) this.move(0);
    this.timer = setInterval(() => { if (this.state.at === this.moments.length - 1) this.stop(); else this.move(this.state.at + 1); }, 900);
    this.player.textContent = "❚❚ pause";
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.player.textContent = "▶ play";
  }

  build() {
    const { state } = this;
    this.title.textContent = VIEWS[state.view];
    this.say.textContent = SAY[state.view];
    for (const button of this.nav.querySelectorAll("button")) button.toggleAttribute("aria-current", button.id === `go-${state.view}`);
    const scrub = slider("after step", "moment", state.at, [0, this.moments.length - 1, 1], (v) => { this.stop(); this.set("at", v); }, (v) => this.moments[v].step.toLocaleString("en"));
    this.slider = scrub.querySelector("input");
    this.shownStep = scrub.querySelector("output");
    this.player = el("button", { type: "button", class: "plain", id: "play", onclick: () => this.play() }, this.timer ? "❚❚ pause" : "▶ play");
    scrub.classList.add("long");
    const both = el("button", { type: "button", class: "plain", id: "beside", "aria-pressed": String(state.beside), onclick: () => this.set("beside", !state.beside) }, "beside the first");
    const which = choice("image", this.images.map((_, i) => [i, String(i + 1)]), state.image, (i) => { this.stop(); this.set("image", i); });
    which.id = "images";
    this.time.replaceChildren(...(this.images.length > 1 ? [which] : []), this.player, scrub, ...(this.moments.length > 1 ? [both] : []));
    this.pair.dataset.count = state.beside ? "2" : "1";
    this.pair.firstChild.hidden = this.nowName.hidden = !state.beside;
    this.firstName.textContent = `after ${some(this.moments[0].step, "step")}`;
    this.controls.replaceChildren(...(state.view === "detections" ? [slider("score threshold", "score-threshold", state.score, [0.05, 1, 0.01], (v) => { state.score = v; this.refresh(); })]
      : state.view === "objectness" ? [choice("level", this.now.levels.map((l, i) => [i, `P${Math.round(Math.log2(l.stride[0]))}`]), state.level, (v) => this.set("level", v))] : []));
    this.legend.replaceChildren(legend({ detections: [["detection", THING("detection")], ["mask", THING("mask")], ["ground truth", THING("ground-truth"), "dotted"]],
      proposals: [["proposal", THING("proposal"), "dashed"], ["ground truth", THING("ground-truth"), "dotted"]], anchors: [["anchor", THING("anchor"), "dotted"], ["its box", THING("proposal"), "dashed"]], objectness: [["ground truth", THING("ground-truth"), "dotted"]] }[state.view]));
    this.refresh();
  }

  // The page of every stage, of this image or of the first one.
  stages() {
    const own = this.now.page, page = own ?? this.images[0].find((m) => m.step === this.now.step)?.page;
    return page && el("p", {}, el("a", { href: page }, `Every stage ${own ? "" : "of the first image "}at this moment →`));
  }

  get sure() { return this.sureOf(this.now); }

  sureOf(m) { return [...m.labels.keys()].filter((i) => m.scores.at(i) >= f(this.state.score)); }

  refresh() {
    const m = this.now, { state } = this;
    this.shownStep.textContent = m.step.toLocaleString("en");
    this.nowName.textContent = `after ${some(m.step, "step")}`;
    const right = this.sure.filter((i) => m.reasons[i] === "right").length;
    this.count.replaceChildren(...(state.view === "detections" ? [el("output", { id: "shown-count" }, String(this.sure.length)), ` detections after ${some(m.step, "step")}, ${right} of ${some(m.objects, "object")} right`]
      : state.view === "proposals" ? [`${some(m.proposals.length, "proposal")} after ${some(m.step, "step")}`] : [`after ${some(m.step, "step")}`]));
    this.aside.replaceChildren(...[heading(`After ${some(m.step, "step")}`), facts([["image", m.title], ["AP at IoU 0.5", fixed(m.ap50, 3)], ["sum of losses", fixed(Object.values(m.losses).reduce((a, b) => a + (b || 0), 0), 3), "loss"]]),
      lossBars(m.losses, m.lossColours, Math.max(...this.moments.flatMap((x) => Object.values(x.losses)).map((v) => v || 0), 1e-9), 3),
      this.stages() ?? [],
      ...missingLines(this.missing), heading("The losses at all moments"), courses(this.moments, state.at), legend(Object.keys(m.losses).map((k) => [LOSS_NAMES[k], m.lossColours[k]])), grid(["step", "losses", "AP50"], this.moments.map((x) => [x.step.toLocaleString("en"), fixed(Object.values(x.losses).reduce((a, b) => a + (b || 0), 0), 2), fixed(x.ap50, 2)]))].flat());
    for (const stage of [this.before, this.stage]) {
      stage.margin = state.view === "anchors" ? 0.1 : 0;
      stage.fit();
    }
  }

  paint(m, s) {
    const { state } = this;
    const truth = () => { for (let g = 0; g < m.truth.length; g++) s.box(m.truth.row(g), THING("ground-truth"), "dotted", 2); };
    if (state.view === "objectness") {
      const level = m.levels[state.level], [y, x] = level.stride, values = m.objectness[state.level];
      s.fade(0.3);
      s.overlay(mapCanvas(unit(values.data), level.columns, level.rows), [-x / 2, -y / 2, (level.columns - 0.5) * x, (level.rows - 0.5) * y], 0.75);
      truth();
    } else if (state.view === "proposals") {
      s.fade(0.3);
      for (let i = 0; i < m.proposals.length; i++) s.box(m.proposals.row(i), THING("proposal"), "dashed", 1.1, 0.9);
      truth();
    } else if (state.view === "anchors") {
      s.fade(0.3);
      for (let i = 0; i < m.topAnchors.length; i++) { s.box(m.topAnchors.row(i), THING("anchor"), "dotted", 1.2); s.box(m.topMoved.row(i), THING("proposal"), "dashed", 1.3); }
    } else {
      truth();
      const sure = this.sureOf(m).reverse();
      for (const i of sure) s.mask(pasteMask(unit(m.masks.row(i)), m.masks.shape[1], m.pasteBoxes.row(i), m.size, m.exactPaste), 0.5, THING("mask"));
      for (const i of sure) { s.box(m.boxes.row(i), THING("detection"), "solid", 2); s.tag(m.boxes.row(i), `${m.classes[m.labels[i] - 1]} ${fixed(m.scores.at(i))}`, THING("detection")); }
    }
  }
}

// The moments that have nothing to show, and why.
const missingLines = (missing) => missing.map((m) => el("p", { class: "quiet" }, `Missing: step ${m.step.toLocaleString("en")} (${m.missing})`));

// The losses over the moments, and the moment that is shown. Steps are on a logarithmic scale, as the
// moments are.
function courses(moments, at) {
  const width = 300, height = 120, left = 34, svg = svgOf(width, height + 28, "the five losses at every moment"), names = Object.keys(moments[0].losses);
  const most = Math.max(...moments.flatMap((m) => Object.values(m.losses)).map((v) => v || 0), 1e-9), last = Math.log1p(moments.at(-1).step) || 1;
  const x = (i) => left + (Math.log1p(moments[i].step) / last) * (width - left - 6), y = (v) => height - ((v || 0) / most) * (height - 8);
  for (const v of [0, 0.5, 1]) {
    svg.append(shape("line", { x1: left, x2: width, y1: y(v * most), y2: y(v * most), stroke: "var(--line)" }));
    label(svg, left - 5, y(v * most) + 4, tiny(v * most), "end");
  }
  svg.append(shape("line", { x1: x(at), x2: x(at), y1: 0, y2: height, stroke: "var(--ink)", "stroke-dasharray": "2 3" }));
  for (const name of names) {
    const line = { stroke: moments[0].lossColours[name], fill: "none", "stroke-width": 2 };
    svg.append(shape("polyline", { points: moments.map((m, i) => `${x(i).toFixed(1)},${y(m.losses[name]).toFixed(1)}`).join(" "), ...line }));
  }
  let free = -Infinity;
  moments.forEach((m, i) => {
    if (x(i) - free < 26 && i) return;
    label(svg, x(i), height + 13, m.step.toLocaleString("en"), i === moments.length - 1 ? "end" : "middle");
    free = x(i);
  });
  label(svg, width, height + 26, "steps, logarithmic →", "end");
  return svg;
}

(async () => {
  const app = document.getElementById("app");
  try {
    const texts = document.getElementById("data").textContent.trim().split("\n");
    const all = await Promise.all(texts.map(unpack)), moments = all.filter((m) => !m.missing), missing = all.filter((m) => m.missing);
    const images = [...new Set(moments.map((m) => m.title))].map((title) => moments.filter((m) => m.title === title));
    if (moments.length) window.page = new Timeline(images, await Promise.all(images.map(([m]) => loadPicture(m.photo))), missing, app);
    else app.replaceChildren(...missingLines(missing));
  } catch (problem) {
    app.replaceChildren(el("p", { class: "waiting" }, `This browser cannot unpack the page (${problem}). A current Firefox, Chrome, Edge or Safari can.`));
    throw problem;
  }
})();
