// The page: one scene, one picked thing, and the views that follow it.

const FIRST = { day: "paper~c1_42_40_21_0~s0_86_46_25_45~t2_60_94_24_-90", night: "night~c0_40_40_15_0~c2_84_50_12_0~c1_60_90_17_0" };

class App {
  constructor(model, config, app) {
    Object.assign(this, { model, config, tool: "circle", score: 0.5, picked: {}, findings: null, region: null, probed: null });
    const toy = ["circle", "square", "triangle"].some((kind) => config.classes.includes(kind));
    this.first = toy || config.classes.length > 1 ? FIRST.day : FIRST.night;
    this.scene = new Scene();
    this.recall();
    this.panels = [new ImagePanel(this), new AnchorPanel(this), new ProposalPanel(this), new RegionPanel(this), new LearnPanel(this)];
    this.frame(app);
    if (config.classes.includes("circle")) new Puzzles(this, this.panels[0].below);
    addEventListener("hashchange", () => { if (location.hash.slice(1) !== this.told) { this.recall(); this.changed(); } });
    this.changed(false).then(() => this.changed(false)); // again, now that the browser has compiled it well
  }

  frame(app) {
    this.ribbon = el("nav", { class: "ribbon", "aria-label": "from cells to objects" });
    this.live = el("p", { class: "unseen", "aria-live": "polite", id: "live" });
    this.speed = el("p", { class: "keys", id: "speed" });
    app.replaceChildren(
      el("header", { class: "top" }, el("p", { class: "lead" }, "Draw it,"), el("h1", {}, "find it"), this.speed),
      el("p", { class: "say" }, `This page holds a Mask R-CNN with ${(this.config.parameters / 1e6).toFixed(2)} million numbers. Draw, and it looks again after every stroke. Nothing leaves your device.`),
      this.ribbon, el("main", { class: "play" }, this.panels.map((panel) => panel.node)), this.live);
    for (const name of ["dragover", "drop"]) document.addEventListener(name, (e) => {
      e.preventDefault();
      if (name === "drop" && e.dataTransfer.files[0]) this.photo(e.dataTransfer.files[0]);
    });
  }

  // ---- what is picked

  get object() { return this.picked.object && this.scene.objects.includes(this.picked.object) ? this.picked.object : null; }

  // The detection of the picked object, or the one nearest to the picked box.
  get detection() {
    const { findings, picked, score } = this;
    if (!findings) return null;
    if (this.object) {
      const truth = findings.truth.find((x) => x.object === this.object);
      return truth ? findings.of(truth, score) : null;
    }
    if (!picked.box) return null;
    const near = findings.shown(score).map((d) => [d, overlap(d.box, picked.box)]).sort((a, b) => b[1] - a[1])[0];
    return near && near[1] >= 0.3 ? near[0] : null;
  }

  pick(picked) {
    this.picked = picked;
    this.follow();
    this.changed(picked.object !== undefined);
  }

  pickAt(x, y) {
    const inside = (this.findings?.shown(this.score) || []).filter(({ box: b }) => x >= b[0] && x <= b[2] && y >= b[1] && y <= b[3]);
    const least = inside.reduce((a, d) => (!a || area(d.box) < area(a.box) ? d : a), null);
    this.pick(least ? { box: least.box } : {});
  }

  next(by) {
    const { objects } = this.scene, at = objects.indexOf(this.object);
    if (objects.length) this.pick({ object: objects[(at + by + objects.length + (at < 0 && by < 0 ? 1 : 0)) % objects.length] });
  }

  // The region follows what is picked.
  follow() {
    const { detection, findings } = this;
    if (this.picked.box && detection) this.picked.box = detection.box;
    if (detection) this.probe(findings.fromResized(findings.t["rpn.proposals"][detection.row]));
    else if (this.object || !this.probed) this.region = this.probed = null;
    else this.probe(this.probed);
  }

  // Ask the second stage about a box; the newest question wins.
  async probe(box) {
    if (!this.findings) return;
    const [w, h] = this.scene.size, tidy = [Math.min(box[0], box[2]), Math.min(box[1], box[3]), Math.max(box[0], box[2]), Math.max(box[1], box[3])];
    this.probed = tidy.map((v, i) => Math.min(Math.max(v, 0), i % 2 ? h : w));
    const question = (this.question = {});
    const region = await this.model.ask("region", this.findings.toResized(this.probed));
    if (question !== this.question) return;
    this.region = region;
    this.panels[3].draw();
  }

  anchorOf({ row }) {
    const t = this.findings.t, top = t["rpn.proposal_rows"][row], level = t.levels[t["rpn.top_k_levels"][top]];
    return anchorBox(level, t["rpn.top_k"][top] - level.first);
  }

  // ---- changes

  set(changes) {
    Object.assign(this, changes);
    if ("score" in changes) this.follow();
    this.draw();
    this.remember();
  }

  change({ x, y, r, turn }) {
    const o = this.object, [w, h] = this.scene.size;
    if (!o) return;
    if (x !== undefined) o.x = Math.min(Math.max(x, 0), w);
    if (y !== undefined) o.y = Math.min(Math.max(y, 0), h);
    if (r !== undefined) o.r = Math.min(Math.max(r, 1), LARGEST_RADIUS);
    if (turn !== undefined) o.turn = turn;
    this.changed();
  }

  remove() {
    this.scene.objects = this.scene.objects.filter((o) => o !== this.object);
    this.pick({});
  }

  clear() { this.scene.objects = []; this.pick({}); }
  dice() { this.scene.dice(); this.pick({ object: this.scene.objects[0] }); }
  ground(name) { this.scene.setGround(name); this.pick({}); }

  async photo(file) {
    try {
      this.scene.setPhoto(await createImageBitmap(file), Math.min(LARGEST_PHOTO, this.config.transform.max_size));
      this.tool = "pick";
      this.pick({});
    } catch {
      this.live.textContent = `${file?.name ?? "this"} is not an image that the browser can read`;
    }
  }

  // Something was drawn: look again, once the answer to the last look is there.
  async changed(remember = true) {
    this.scene.paint();
    this.dirty = true;
    if (remember) this.remember();
    if (this.busy) { this.panels[0].stage.redraw(); return; }
    this.busy = true;
    try {
      while (this.dirty) await this.look();
      this.tell();
    } catch (problem) {
      this.fail(problem);
    }
    this.busy = false;
  }

  async look() {
    this.dirty = false;
    const size = String(this.scene.size);
    await this.take(await this.model.ask("see", this.scene.pixels()), size);
  }

  async take(t, size) {
    if (String(this.scene.size) !== size) return; // another photo in the meantime
    this.findings = new Findings(t, this.scene, this.config);
    this.follow();
    this.draw();
    await new Promise(requestAnimationFrame);
  }

  // Ask for something that changes the model, between two looks. `before` may show the answer first.
  async alter(what, about = () => null, before = null) {
    while (this.busy) await new Promise((done) => setTimeout(done, 5));
    this.busy = true;
    let answer = null;
    try {
      const size = String(this.scene.size);
      answer = await this.model.ask(what, about());
      await before?.(answer);
      await this.take(answer.t, size);
    } catch (problem) {
      this.fail(problem);
    }
    this.busy = false;
    if (this.dirty) this.changed(false);
    return answer;
  }

  fail(problem) { this.speed.textContent = this.live.textContent = `The model failed on this image: ${problem.message}`; }

  draw() {
    if (!this.findings) return;
    for (const panel of this.panels) panel.draw();
    const { findings, score } = this, { t } = findings, shown = findings.shown(score);
    const step = (count, what, how, to) => el("a", { href: `#${to}`, onclick: (e) => { e.preventDefault(); goTo(to); } },
      el("b", {}, count.toLocaleString("en")), el("span", {}, what), el("i", {}, how));
    this.ribbon.replaceChildren(step(findings.cells, "cells", "of five maps", "anchors"), step(findings.anchors, "anchors", "boxes around each cell", "anchors"),
      step(t["rpn.top_k"].length, "moved", "the surest of each map", "proposals"), step(t["rpn.proposals"].length, "proposals", "after NMS", "proposals"),
      step(shown.length, shown.length === 1 ? "object" : "objects", `with a score above ${fixed(score)}`, "image"));
    this.speed.textContent = `${COLOURS.title} · looked in ${fixed(1000 * t.seconds.total, 0)} ms`;
    if (!this.panels[4].altered) this.watch?.(findings); // puzzles are about the model as it came
  }

  // For those who listen: what is found, when the drawing rests.
  tell() {
    const names = this.findings.shown(this.score).map((d) => d.name), counts = [...new Set(names)].map((n) => some(names.filter((m) => m === n).length, n));
    this.live.textContent = names.length ? `found: ${counts.join(", ")}` : "nothing found";
    this.panels[4].measure().catch((problem) => this.fail(problem));
  }

  // ---- the address

  get address() { return `${this.scene.text}!${this.score}!${this.scene.objects.indexOf(this.object)}`; }

  remember() {
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      this.told = this.address;
      history.replaceState(null, "", `#${this.told}`);
    }, 250);
  }

  // Read the address; what is damaged in it is left out.
  recall() {
    const [text, score, index] = (location.hash.slice(1) || this.first).replace(/%7E/gi, "~").split("!");
    this.scene.text = text;
    if (Number(score) > 0 && Number(score) < 1) this.score = Number(score);
    this.picked = index === undefined ? { object: this.scene.objects[0] } : { object: this.scene.objects[Number(index)] };
  }
}

function goTo(id) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches, card = document.getElementById(id);
  card.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
  card.focus({ preventScroll: true });
}

// ---- puzzles: what a model can be made to do

const PUZZLES = [
  ["Make it miss a circle", (f, score) => f.truth.some((x) => x.object.kind === "circle" && x.area > 100 && !f.of(x, score))],
  ["Make two objects one", (f, score) => f.shown(score).some((d) => f.truth.filter((x) => x.area > 100 && covered(d, x, f.size[0]) > 0.6 && f.of(x, score) === null || f.of(x, score) === d && x.area > 100).length > 1)],
  ["Fool it into “square”", (f, score) => f.shown(score).some((d) => d.name === "square" && d.truth >= 0 && f.truth[d.truth].object.kind !== "square")],
  ["Hide most of one, and still be found", (f, score) => f.truth.some((x) => x.area < 0.5 * x.whole && x.area > 0 && f.of(x, score))],
];

// The share of an object's visible pixels that a detection's mask covers.
function covered({ pasted: { values, left, top, width, height } }, truth, pitch) {
  let both = 0;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (values[y * width + x] > 0.5) both += truth.mask[(top + y) * pitch + left + x];
  return both / Math.max(truth.area, 1);
}

class Puzzles {
  constructor(app, holder) {
    this.items = PUZZLES.map(([text]) => el("li", {}, text));
    holder.append(el("h3", {}, "Puzzles"), el("ul", { class: "puzzles" }, this.items));
    app.watch = (findings) => PUZZLES.forEach(([, solved], i) => {
      if (this.items[i].className || !solved(findings, app.score)) return;
      this.items[i].className = "solved";
      this.items[i].append(el("span", { class: "unseen" }, " (solved)"));
    });
  }
}

(async () => {
  const app = document.getElementById("app");
  try {
    const model = new Asking();
    const { config } = await model.ask("load", document.getElementById("data").textContent);
    window.page = new App(model, config, app);
  } catch (problem) {
    app.replaceChildren(el("p", { class: "waiting" }, `This browser cannot unpack or run the model (${problem.message}). It needs WebAssembly with SIMD: any browser since 2023.`));
  }
})();
