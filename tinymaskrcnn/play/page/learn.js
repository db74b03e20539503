// It learns in front of you: a head forgets what it knows, and learns again from what is drawn.

const HEADS = { rpn: "proposal head", box: "box head" };
const TERMS = { loss_objectness: "objectness", loss_rpn_box_reg: "RPN boxes", loss_classifier: "classes", loss_box_reg: "boxes", loss_mask: "masks" };
const MOMENTUM = 0.9;
const SLOW = 900; // milliseconds for each part of a step in slow motion
const LEAST_LOSS = 1e-3; // the foot of the chart

class LearnPanel extends Panel {
  constructor(app) {
    super(app, "learn", "It learns in front of you", "Make a head forget all it knows, and press play: from your drawing alone it learns again. Without forgetting, both heads learn what they got wrong.");
    Object.assign(this, { forgotten: new Set(), rate: 0.02, pace: "fast", seed: 0, phase: null });
    this.clear();
    const button = (id, text, onclick) => el("button", { type: "button", class: "plain", id, onclick }, text);
    this.forgets = Object.keys(HEADS).map((part) => button(`forget-${part}`, `Forget the ${HEADS[part]}`, () => this.forget(part)));
    this.back = button("restore", "Give all back", () => this.restore());
    this.play = button("play", "▶ Play", () => this.run());
    this.once = button("step", "Step", () => this.step());
    this.paces = choice("pace", [["fast", "fast"], ["slow", "slow motion"]], this.pace, (key) => { this.pace = key; this.draw(); });
    this.rates = slider("learning rate", "rate", this.rate, [0.005, 0.1, 0.005], (v) => { this.rate = v; }, (v) => fixed(v, 3));
    this.scrub = slider("go back to step", "moment", 0, [0, 0, 1], (i) => this.slide("visit", this.moments.steps[i]), (i) => String(this.moments.steps[i]));
    this.scrub.classList.add("long");
    const ages = app.config.history;
    this.age = ages.length - 1; // where in its whole training the model is
    this.ages = ages.length ? slider("its whole training, step", "history", this.age, [0, this.age, 1], (i) => this.slide("become", i), (i) => ages[i].toLocaleString("en")) : null;
    this.ages?.classList.add("long");
    this.score = el("p", { class: "score", id: "recall" });
    this.parts = el("ol", { class: "phases" });
    this.charts = el("div", { class: "charts" });
    this.wrong = el("div", { class: "names", id: "losses", role: "group", "aria-label": "the five losses of this drawing" });
    this.below.append(...(this.ages ? [this.ages] : []), el("div", { class: "choice" }, this.forgets, this.back), el("div", { class: "choice" }, this.play, this.once, this.paces), el("div", { class: "controls" }, this.rates), this.scrub, this.score, this.parts, legend([["sampled as object", THINGS["ground truth"], "dotted"], ["as background", THINGS.dropped, "dotted"]]));
    this.below.after(el("div", { class: "curves" }, this.charts, el("div", {}, el("h3", {}, "How wrong it is about this drawing"), this.wrong)));
  }

  // Whether the model is another than at first.
  get altered() { return this.learned || this.forgotten.size > 0 || this.age < this.app.config.history.length - 1; }

  clear() { Object.assign(this, { history: [], report: null, moments: { steps: [0], shown: 0 } }); }

  // Ask for something that changes the heads, and know what one can go back to.
  async alter(what, about, before) {
    return this.app.alter(what, about, (answer) => { this.moments = answer.moments; return before?.(answer); });
  }

  async forget(part) {
    this.clear();
    this.forgotten.add(part);
    await this.alter("forget", () => ({ part, seed: ++this.seed }));
    this.app.tell();
  }

  // From here on nothing is learned or forgotten.
  renew(age) {
    this.clear();
    this.forgotten.clear();
    this.learned = false;
    this.age = age;
  }

  async restore() {
    this.playing = false;
    await this.alter("restore", undefined, () => this.renew(this.app.config.history.length - 1));
    this.app.tell();
  }

  // Ask for where a slider stands; the newest wish wins.
  async slide(what, value) {
    this.playing = false;
    const asked = Boolean(this.wish);
    this.wish = { what, value };
    if (asked) return;
    while (this.wish) {
      const wish = this.wish;
      await this.alter(wish.what, () => wish.value, () => wish.what === "become" && this.renew(wish.value));
      if (this.wish === wish) this.wish = null;
    }
    this.app.tell();
  }

  async run() {
    this.playing = !this.playing;
    this.draw();
    if (!this.playing) return;
    while (this.playing) if (!(await this.step())) this.playing = false;
    this.draw();
    if (this.app.findings) this.app.tell();
  }

  // One step on what is drawn now; false where there is nothing to learn from.
  async step() {
    const { app } = this, parts = this.forgotten.size ? [...this.forgotten] : Object.keys(HEADS);
    if (!app.findings?.lesson.boxes.length) {
      this.phase = "Draw a shape first: there is nothing to learn from.";
      this.draw();
      return false;
    }
    const answer = await this.alter("learn", () => ({ parts, truth: app.findings.lesson, lr: this.rate, momentum: MOMENTUM }), (given) => this.show(given.report));
    return Boolean(answer);
  }

  // Show a step before its effect is seen; in slow motion part by part.
  async show(report) {
    this.report = report;
    this.losses = { ...this.losses, ...report.losses };
    this.learned = true;
    this.history.push({ ...report.losses, norm: report.norm });
    for (const phase of this.pace === "slow" ? ["sample", "loss", "gradient"] : []) {
      this.phase = phase;
      this.draw();
      const until = performance.now() + SLOW;
      while (performance.now() < until && !this.app.dirty && this.pace === "slow") await new Promise((done) => setTimeout(done, 30));
    }
    this.phase = this.pace === "slow" ? "step" : null;
  }

  // How wrong the model is now; asked when the drawing rests.
  async measure() {
    const { lesson } = this.app.findings;
    this.losses = lesson.boxes.length ? (await this.app.model.ask("losses", lesson)).losses : null;
    this.draw();
  }

  update() {
    const { findings } = this.app, { truth } = findings, { report } = this, visible = truth.filter((x) => x.box && !findings.hidden(x));
    const proposed = visible.filter((x) => findings.proposed(x)).length, found = visible.filter((x) => findings.right(x, this.app.score)).length;
    this.play.textContent = this.playing ? "❚❚ Pause" : "▶ Play";
    this.once.disabled = Boolean(this.playing);
    this.back.disabled = !this.altered;
    this.forgets.forEach((b, i) => b.setAttribute("aria-pressed", String(this.forgotten.has(Object.keys(HEADS)[i]))));
    this.paces.querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", String((b.textContent === "fast") === (this.pace === "fast"))));
    this.score.replaceChildren(el("b", {}, `step ${this.moments.shown}`), el("span", {}, `proposed ${proposed} of ${visible.length}`), el("span", {}, `found ${found} of ${visible.length}`));
    this.scrubber();
    Object.assign(this.score.dataset, { proposed, found, drawn: visible.length, steps: this.history.length });
    this.name(`what the last step looked at: ${report ? this.sampleText(report) : "no step yet"}`);
    this.phases();
    this.chart();
  }

  // A step of learning brings new moments; a drag of the slider goes on undisturbed.
  scrubber() {
    const { steps, shown } = this.moments, [input, output] = this.scrub.querySelectorAll("input, output");
    this.scrub.hidden = steps.length < 2;
    input.max = steps.length - 1;
    if (this.wish) return;
    if (this.ages) [this.ages.querySelector("input").value, this.ages.querySelector("output").textContent] = [this.age, this.app.config.history[this.age].toLocaleString("en")];
    input.value = steps.indexOf(shown);
    input.setAttribute("aria-valuetext", `step ${shown} of ${this.history.length}`);
    output.textContent = `${shown} of ${this.history.length}`;
  }

  sampleText(report) {
    const part = (sample, what) => sample && `${sample.indices.length} ${what}, ${sample.objects} of them objects`;
    return [part(report.rpn, "anchors"), part(report.box, "proposals")].filter(Boolean).join("; ");
  }

  phases() {
    const { report } = this, total = report && Object.values(report.losses).reduce((a, b) => a + b, 0);
    const rows = [["sample", report ? this.sampleText(report) : "a balanced few, matched to your drawing"], ["loss", report ? `${tiny(total)}, larger dots are more wrong` : "how wrong the head is about them"],
      ["gradient", report ? `of size ${fixed(report.norm)}${report.norm > 5 ? ", shortened to 5" : ""}` : "in which direction each weight is wrong"], ["step", "every weight moves a little against it"]];
    this.parts.replaceChildren(...rows.map(([name, text]) => el("li", name === this.phase ? { "aria-current": "step" } : {}, el("b", {}, name), ` ${text}`)));
    if (this.phase && !rows.some(([name]) => name === this.phase)) this.parts.prepend(el("p", { class: "quiet", role: "status" }, this.phase));
  }

  chart() {
    const { history, moments } = this, names = Object.keys(TERMS).filter((name) => history.some((row) => name in row));
    this.charts.replaceChildren(rising("loss", history, names.map((name) => [name, COLOURS.losses[name]]), moments), legend(names.map((name) => [TERMS[name], COLOURS.losses[name]])),
      rising("gradient", history, [["norm", "var(--ink)"]], moments, 62));
    const most = Math.max(0.5, ...Object.values(this.losses || {}));
    this.wrong.replaceChildren(...(this.losses ? bars(Object.entries(TERMS).map(([name, text]) => [text, this.losses[name], fixed(this.losses[name], 3), COLOURS.losses[name]]), most) : [el("p", { class: "quiet" }, "Draw a shape: losses compare with what is drawn.")]));
  }

  // Anchors and proposals of the last sample: green for objects, grey for background.
  paint(stage) {
    const { findings } = this.app, { report, phase } = this;
    stage.fade(0.5);
    if (!report) return;
    const sized = (loss) => (phase === "sample" ? 2.6 : 1.6 + 5 * Math.min(1, Math.sqrt(loss)));
    const samples = [[report.rpn, report.rpn?.indices.map((i) => findings.anchor(i)), "dotted"], [report.box, report.box?.boxes.map((b) => findings.fromResized(b)), "dashed"]];
    for (const [sample, boxes, style] of samples) for (const isObject of sample ? [false, true] : []) sample.matches.forEach((match, k) => {
      if ((match >= 0) !== isObject) return;
      const [x1, y1, x2, y2] = boxes[k], colour = isObject ? THINGS["ground truth"] : THINGS.dropped;
      stage.box(boxes[k], colour, style, isObject ? 1.6 : 1, isObject ? 0.9 : 0.1);
      stage.dot((x1 + x2) / 2, (y1 + y2) / 2, colour, sized(sample.each[k]));
    });
  }
}

// Curves over the steps, on a logarithmic scale; below them a mark at each moment that one can go to.
function rising(name, history, series, { steps, shown }, height = 130) {
  const width = 300, left = 34, values = history.flatMap((row) => series.map(([key]) => row[key] ?? 0)), top = Math.max(1, ...values) * 1.3;
  const svg = svgOf(width, height + 16, `${name} over ${some(history.length, "step")}${history.length ? `, now ${series.map(([key]) => tiny(history.at(-1)[key])).join(", ")}` : ""}`);
  const y = (v) => height - (Math.log(Math.max(v, LEAST_LOSS) / LEAST_LOSS) / Math.log(top / LEAST_LOSS)) * (height - 12), x = (step) => left + (step / Math.max(history.length, 20)) * (width - left - 4);
  for (const v of [0.001, 0.01, 0.1, 1, 10]) if (v <= top && (height > 100 || v !== 0.001 && v !== 0.1)) {
    svg.append(shape("line", { x1: left, x2: width - 4, y1: y(v), y2: y(v), stroke: "var(--line)" }));
    label(svg, left - 5, y(v) + 4, String(v), "end");
  }
  for (const [key, colour] of series) {
    const points = history.flatMap((row, i) => (row[key] === undefined ? [] : [`${x(i).toFixed(1)},${y(row[key]).toFixed(1)}`]));
    svg.append(shape("polyline", { points: points.join(" "), fill: "none", stroke: colour, "stroke-width": 1.8, "stroke-linejoin": "round" }));
  }
  if (steps.length > 1) for (const step of steps) svg.append(shape("circle", { cx: x(step), cy: height, r: step === shown ? 3.4 : 1.8, fill: "var(--ink)" }));
  if (shown < history.length) svg.append(shape("line", { x1: x(shown), x2: x(shown), y1: 4, y2: height, stroke: "var(--ink)", "stroke-dasharray": "2 3" }));
  label(svg, left, height + 13, `${name} by step`);
  label(svg, width - 4, height + 13, String(history.length), "end");
  return svg;
}
