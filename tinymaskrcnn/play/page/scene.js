// What is drawn: objects over a ground, what is truly there, and all of it as text for the address.
// An object is { kind, x, y, r, turn, paint }; a brush stroke also has `points` around (x, y), and r
// is half the brush's width. Later objects cover earlier ones. Lengths are in image pixels.

const SIDE = 128;
const LARGEST_PHOTO = 1024; // pixels of the longer side; less if the model sees less
const LARGEST_RADIUS = 90;
const CORNERS = { square: 4, triangle: 3, circle: 0 };
const TURNS = { square: 45, triangle: -90, circle: 0, brush: 0 }; // degrees at which a shape stands upright
const PAINTS = { day: ["#2f5d8a", "#c8553d", "#588157", "#7d5ba6", "#d9a036", "#2a9d8f"], night: ["#b9bfc6", "#8f979f", "#d6dadf", "#757e87"] };
const GROUNDS = { paper: "#f3efe6", cloth: "#c9c4b6", night: "#14171b" };
const VISIBLE = 30; // pixels below which an object of a 128 x 128 image counts as hidden, as in training

class Scene {
  constructor(ground = "paper") {
    this.canvas = el("canvas");
    this.scratch = el("canvas");
    this.objects = [];
    this.photo = null;
    this.ground = ground;
    this.resize(SIDE, SIDE);
  }

  get size() { return [this.canvas.width, this.canvas.height]; }
  get paints() { return this.ground === "night" ? PAINTS.night : PAINTS.day; }

  resize(width, height) {
    for (const canvas of [this.canvas, this.scratch]) Object.assign(canvas, { width, height });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.mask = this.scratch.getContext("2d", { willReadFrequently: true });
  }

  setGround(ground) {
    this.ground = ground;
    this.photo = null;
    this.resize(SIDE, SIDE);
  }

  // An image takes the place of the ground, its longer side at most `limit` pixels.
  setPhoto(image, limit) {
    const scale = Math.min(1, limit / Math.max(image.width, image.height));
    this.photo = image;
    this.resize(Math.max(1, Math.round(image.width * scale)), Math.max(1, Math.round(image.height * scale)));
    this.objects = [];
  }

  add(kind, x, y, r, more = {}) {
    const object = { kind, x, y, r, turn: TURNS[kind], paint: this.objects.length, ...more };
    this.objects.push(object);
    return object;
  }

  colour(object) { return this.paints[object.paint % this.paints.length]; }

  trace(context, { kind, x, y, r, turn, points }) {
    context.beginPath();
    if (kind === "brush") {
      points.forEach(([dx, dy], i) => context[i ? "lineTo" : "moveTo"](x + dx, y + dy));
      if (points.length === 1) context.lineTo(x + points[0][0] + 0.01, y + points[0][1]);
    } else if (kind === "circle") context.arc(x, y, r, 0, 2 * Math.PI);
    else for (let i = 0; i < CORNERS[kind]; i++) {
      const angle = (2 * Math.PI * i) / CORNERS[kind] + (turn * Math.PI) / 180;
      context.lineTo(x + r * Math.cos(angle), y + r * Math.sin(angle));
    }
    if (kind !== "brush") context.closePath();
  }

  fill(context, object, colour) {
    this.trace(context, object);
    if (object.kind === "brush") {
      Object.assign(context, { strokeStyle: colour, lineWidth: 2 * object.r, lineCap: "round", lineJoin: "round" });
      context.stroke();
    } else {
      context.fillStyle = colour;
      context.fill();
    }
  }

  paint() {
    const [width, height] = this.size, c = this.context;
    if (this.photo) {
      c.fillStyle = "#ffffff"; // where it is transparent
      c.fillRect(0, 0, width, height);
      c.imageSmoothingQuality = "high";
      c.drawImage(this.photo, 0, 0, width, height);
    } else {
      c.fillStyle = GROUNDS[this.ground];
      c.fillRect(0, 0, width, height);
      if (this.ground === "cloth") this.weave(c, width, height);
    }
    for (const object of this.objects) this.fill(c, object, this.colour(object));
  }

  // A noisy ground, always the same.
  weave(c, width, height) {
    const random = randomFrom(7), image = c.getImageData(0, 0, width, height);
    for (let i = 0; i < image.data.length; i += 4) {
      const change = 44 * (random() + random() - 1) + 10 * Math.sin(i / 4 % width / 9);
      for (let k = 0; k < 3; k++) image.data[i + k] += change;
    }
    c.putImageData(image, 0, 0);
  }

  pixels() {
    const [width, height] = this.size;
    return { width, height, rgba: this.context.getImageData(0, 0, width, height).data };
  }

  // For each object its visible pixels, their box and number, and its number when nothing covers it.
  truth() {
    const [width, height] = this.size, owner = new Int16Array(width * height).fill(-1);
    const whole = this.objects.map((object, i) => {
      this.mask.clearRect(0, 0, width, height);
      this.fill(this.mask, object, "#000000");
      const { data } = this.mask.getImageData(0, 0, width, height);
      let count = 0;
      for (let p = 0; p < owner.length; p++) if (data[4 * p + 3] >= 128) {
        owner[p] = i;
        count++;
      }
      return count;
    });
    return this.objects.map((object, i) => {
      const mask = Uint8Array.from(owner, (v) => (v === i ? 1 : 0));
      return { object, mask, whole: whole[i], ...extent(mask, width) };
    });
  }

  hidden({ area }) { return area <= VISIBLE * this.size[0] * this.size[1] / SIDE ** 2; }

  // The topmost object at a point, with a little room around it.
  at(x, y, room = 3) {
    return this.objects.findLast((o) => {
      if (o.kind === "brush") return o.points.some(([dx, dy]) => Math.hypot(o.x + dx - x, o.y + dy - y) <= o.r + room);
      this.trace(this.mask, o);
      return this.mask.isPointInPath(x, y) || Math.hypot(o.x - x, o.y - y) <= room;
    });
  }

  dice(random = Math.random) {
    this.objects = [];
    if (this.ground !== "night") this.setGround(random() < 0.6 ? "paper" : "cloth");
    const kinds = this.ground === "night" ? ["circle"] : ["circle", "square", "triangle"], count = 2 + Math.floor(4 * random());
    for (let i = 0; i < count; i++) {
      const kind = kinds[Math.floor(kinds.length * random())], r = this.ground === "night" ? 8 + 9 * random() : 10 + 18 * random();
      const place = () => Math.round(r + random() * (SIDE - 2 * r));
      this.add(kind, place(), place(), Math.round(r), { turn: Math.round(360 * random()) });
    }
  }

  get text() {
    const round = (v) => Math.round(10 * v) / 10;
    const one = (o) => [o.kind[0] + o.paint, ...[o.x, o.y, o.r, o.turn].map(round), ...(o.points || []).flat().map(round)].join("_");
    return [this.ground, ...this.objects.map(one)].join("~");
  }

  // Read a text; what it does not understand is left out.
  set text(text) {
    const [ground, ...parts] = text.split("~"), names = { c: "circle", s: "square", t: "triangle", b: "brush" };
    if (ground in GROUNDS) this.setGround(ground);
    this.objects = [];
    for (const part of parts.slice(0, 40)) {
      const [head, ...numbers] = part.split("_"), kind = names[head[0]], [x, y, r, turn, ...rest] = numbers.map(Number);
      if (!kind || ![x, y, r, turn, ...rest].every(Number.isFinite) || r <= 0 || r > LARGEST_RADIUS || (kind === "brush") !== rest.length > 0) continue;
      const points = Array.from({ length: rest.length >> 1 }, (_, i) => [rest[2 * i], rest[2 * i + 1]]);
      this.add(kind, x, y, r, { turn, paint: Math.abs(parseInt(head.slice(1), 10)) || 0, ...(kind === "brush" ? { points } : {}) });
    }
  }
}

// The box around the pixels of a mask, and their number.
function extent(mask, width) {
  let x1 = Infinity, y1 = Infinity, x2 = 0, y2 = 0, area = 0;
  mask.forEach((inside, p) => {
    if (!inside) return;
    const x = p % width, y = Math.floor(p / width);
    area++;
    x1 = Math.min(x1, x); x2 = Math.max(x2, x + 1);
    y1 = Math.min(y1, y); y2 = Math.max(y2, y + 1);
  });
  return { box: area ? [x1, y1, x2, y2] : null, area };
}
