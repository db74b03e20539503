// A view: a canvas with words below it. The views are image.js, anchors.js, proposals.js, region.js;
// each draws what `app` holds (play.js). Boxes are in image pixels.

const P = (level) => `P${level + 2}`;
const THINGS = COLOURS.things;

class Panel {
  constructor(app, id, title, hint) {
    this.app = app;
    this.holder = el("div", { class: "stage" });
    this.below = el("div", { class: "below" });
    this.node = el("section", { class: "card", id, "aria-labelledby": `${id}-title`, tabindex: -1 }, el("h2", { id: `${id}-title` }, title), el("p", { class: "hint" }, hint), this.holder, this.below, codeOf(id));
    this.stage = new Stage(this.holder, app.scene.canvas, app.scene.size, app.scene.size);
    this.stage.paint = () => { if (app.findings) this.paint(this.stage); };
    this.say = el("p", { class: "read", id: `${id}-read` });
  }

  name(text) { this.stage.canvas.setAttribute("aria-label", text); }

  draw() {
    if (!this.app.findings) return;
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

// The package's functions that do what a view shows.
function codeOf(id) {
  return el("details", { class: "code", "aria-label": "code of this view" }, el("summary", {}, "Show the code"), CODE[id].map(({ place, text }) => [el("p", {}, place), el("pre", { tabindex: 0, role: "region", "aria-label": place }, text)]));
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
