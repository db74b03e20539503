// Proposals: the best of each object first, and why the others were dropped.

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
    this.stage.canvas.addEventListener("keydown", (e) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key], clear = by && app.findings ? [...this.split().clear] : [];
      if (!clear.length) return;
      e.preventDefault();
      this.picked = clear[(clear.indexOf(this.picked) + by + clear.length + (this.picked === null && by < 0 ? 1 : 0)) % clear.length];
      this.draw();
    });
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
    if (!this.app.findings) return;
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
