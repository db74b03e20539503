// The image with what lies over it. Boxes are in pixels of the resized image.

const DASHES = { solid: [], dotted: [2.5, 3], dashed: [7, 4] };

class Stage {
  constructor(holder, photo, [width, height], original) {
    this.size = [width, height];
    this.original = original;
    this.photo = photo;
    this.margin = 0;
    this.zoomTo = null;
    this.hug = false; // no wider than what it shows
    this.canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": "the image with the boxes of this step" });
    this.context = this.canvas.getContext("2d");
    holder.append(this.canvas);
    new ResizeObserver(() => this.fit()).observe(holder);
    this.paint = () => {};
    this.holder = holder;
  }

  // The part of the plane that is shown: the image with a margin, or the part zoomed to.
  get window() {
    if (this.zoomTo) return this.zoomTo;
    const m = this.margin * Math.max(...this.size);
    return [-m, -m, this.size[0] + m, this.size[1] + m];
  }

  fit() {
    const [x1, y1, x2, y2] = this.window, wide = this.holder.clientWidth;
    if (!wide) return;
    const tall = Math.min(wide * (y2 - y1) / (x2 - x1), Math.max(300, (this.hug ? 0.6 : 0.64) * window.innerHeight));
    const dots = Math.min(window.devicePixelRatio || 1, 2), broad = this.hug ? Math.min(wide, tall * (x2 - x1) / (y2 - y1)) : wide;
    const w = Math.round(broad * dots), h = Math.round(tall * dots);
    if (this.hug) this.canvas.style.width = `${broad}px`;
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
    }
    this.scale = Math.min(w / (x2 - x1), h / (y2 - y1));
    this.shift = [(w - this.scale * (x2 - x1)) / 2 - this.scale * x1, (h - this.scale * (y2 - y1)) / 2 - this.scale * y1];
    this.dots = dots;
    this.redraw();
  }

  redraw() { if (this.scale) { this.clear(); this.paint(); } }

  clear() {
    const c = this.context, [w, h] = this.size;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.fillStyle = "#edeae2";
    c.fillRect(0, 0, this.canvas.width, this.canvas.height);
    c.imageSmoothingEnabled = !this.zoomTo;
    c.drawImage(this.photo, ...this.place(0, 0), w * this.scale, h * this.scale);
  }

  place(x, y) { return [x * this.scale + this.shift[0], y * this.scale + this.shift[1]]; }

  // From a mouse event to pixels of the resized image.
  locate(event) {
    const r = this.canvas.getBoundingClientRect();
    const x = (event.clientX - r.left) * this.canvas.width / r.width, y = (event.clientY - r.top) * this.canvas.height / r.height;
    return [(x - this.shift[0]) / this.scale, (y - this.shift[1]) / this.scale];
  }

  fade(amount) {
    this.context.fillStyle = `rgba(251, 250, 247, ${amount})`;
    this.context.fillRect(...this.place(0, 0), this.size[0] * this.scale, this.size[1] * this.scale);
  }

  // A dark line under the coloured one, so that it can be seen on any image.
  box(b, colour, style = "solid", width = 1.6, alpha = 1) {
    const c = this.context, [x, y] = this.place(b[0], b[1]);
    const w = (b[2] - b[0]) * this.scale, h = (b[3] - b[1]) * this.scale;
    c.save();
    c.globalAlpha = alpha;
    c.setLineDash(DASHES[style].map((d) => d * this.dots));
    if (width >= 1.8 && alpha > 0.5) {
      c.strokeStyle = "rgba(0,0,0,.45)";
      c.lineWidth = (width + 1.4) * this.dots;
      c.strokeRect(x, y, w, h);
    }
    c.strokeStyle = colour;
    c.lineWidth = width * this.dots;
    c.strokeRect(x, y, w, h);
    c.restore();
  }

  tag(b, text, colour) {
    const c = this.context, size = 12 * this.dots;
    c.font = `600 ${size}px system-ui, sans-serif`;
    const w = c.measureText(text).width + 8 * this.dots, h = size + 5 * this.dots;
    let [x, y] = this.place(b[0], b[1]);
    x = Math.max(0, Math.min(x, this.canvas.width - w));
    y = Math.max(0, y - h);
    c.fillStyle = colour;
    c.fillRect(x, y, w, h);
    c.fillStyle = luminance(colour) > 0.55 ? "#1f2328" : "#fff";
    c.textBaseline = "middle";
    c.fillText(text, x + 4 * this.dots, y + h / 2 + this.dots);
  }

  dot(x, y, colour, radius = 2.2) {
    const c = this.context, [px, py] = this.place(x, y);
    c.beginPath();
    c.arc(px, py, radius * this.dots, 0, 7);
    c.fillStyle = colour;
    c.fill();
    c.lineWidth = 0.8 * this.dots;
    c.strokeStyle = "rgba(0,0,0,.7)";
    c.stroke();
  }

  arrow(from, to, colour) {
    const c = this.context, [x1, y1] = this.place(...from), [x2, y2] = this.place(...to), head = 8 * this.dots;
    if (Math.hypot(x2 - x1, y2 - y1) < head / 2) return;
    const angle = Math.atan2(y2 - y1, x2 - x1);
    c.save();
    Object.assign(c, { strokeStyle: colour, lineWidth: 2.4 * this.dots, lineCap: "round" });
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

  // A canvas stretched over a box.
  overlay(canvas, [x1, y1, x2, y2], alpha = 1, smooth = false) {
    const c = this.context;
    c.save();
    c.globalAlpha = alpha;
    c.imageSmoothingEnabled = smooth;
    c.drawImage(canvas, ...this.place(x1, y1), (x2 - x1) * this.scale, (y2 - y1) * this.scale);
    c.restore();
  }

  // A pasted mask, in pixels of the original image: the part above the threshold, and its contour.
  mask(pasted, threshold, colour, alpha = 0.45) {
    if (!pasted.width || !pasted.height) return;
    const ratio = [this.size[0] / this.original[0], this.size[1] / this.original[1]];
    const canvas = maskCanvas(pasted, threshold, colour, alpha);
    const { left, top, width, height } = pasted;
    this.overlay(canvas, [left * ratio[0], top * ratio[1], (left + width) * ratio[0], (top + height) * ratio[1]]);
  }
}

function maskCanvas({ values, width, height }, threshold, colour, alpha) {
  const limit = f(threshold), rgb = hex(colour);
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && values[y * width + x] > limit;
  const canvas = el("canvas", { width, height }), context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (inside(x, y)) {
    const edge = !(inside(x - 1, y) && inside(x + 1, y) && inside(x, y - 1) && inside(x, y + 1));
    image.data.set([...rgb, edge ? 255 : Math.round(255 * alpha)], 4 * (y * width + x));
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

function hex(colour) { return [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)); }
function luminance(colour) { const [r, g, b] = hex(colour); return (0.299 * r + 0.587 * g + 0.114 * b) / 255; }

function loadPicture(address) {
  return new Promise((done, failed) => { const image = new Image(); image.onload = () => done(image); image.onerror = failed; image.src = address; });
}

// What a drag from a point does to a box: at a corner it pulls, inside it moves, elsewhere it draws
// a new one. Returns the box as a function of where the pointer is.
function boxDrag(stage, b, [x, y]) {
  const reach = (11 * stage.dots) / stage.scale;
  if (b) for (const [i, j] of [[0, 1], [2, 1], [0, 3], [2, 3]]) if (Math.hypot(b[i] - x, b[j] - y) < reach) {
    const [stillX, stillY] = [b[2 - i], b[4 - j]];
    return (u, v) => [stillX, stillY, u, v];
  }
  if (b && x > b[0] && x < b[2] && y > b[1] && y < b[3]) {
    const start = [...b];
    return (u, v) => start.map((s, k) => s + (k % 2 ? v - y : u - x));
  }
  return (u, v) => [x, y, u, v];
}
