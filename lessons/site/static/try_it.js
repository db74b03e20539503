/* Figures to try things on: boxes, filters, anchors, suppression, RoIAlign. Each is put at the end of
   a section of its lesson. Coordinates are those of the lessons: continuous, x to the right, y down. */
(() => {
  const COLOURS = { truth: "#009e73", detection: "#d55e00", proposal: "#e69f00", anchor: "#56b4e9",
    point: "#0072b2", dropped: "#8a8a8a" };

  function add(parent, name, attributes = {}, text = "") {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    set(node, attributes);
    node.textContent = text;
    parent.append(node);
    return node;
  }

  function set(node, attributes) {
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  }

  function html(parent, name, attributes = {}, text = "") {
    const node = document.createElement(name);
    set(node, attributes);
    node.textContent = text;
    parent.append(node);
    return node;
  }

  function grid(figure, width, height, label) {
    const root = add(figure, "svg", { viewBox: `-0.2 -0.2 ${width + 0.4} ${height + 0.4}`, role: "group",
      "aria-label": label });
    for (let x = 0; x <= width; x++) add(root, "line", { class: "grid", x1: x, x2: x, y1: 0, y2: height });
    for (let y = 0; y <= height; y++) add(root, "line", { class: "grid", x1: 0, x2: width, y1: y, y2: y });
    return root;
  }

  function slider(figure, label, min, max, step, value, changed) {
    const line = html(figure, "label", {}, `${label} `);
    const input = html(line, "input", { type: "range", min, max, step, value });
    const shown = html(line, "output", {}, value);
    input.addEventListener("input", () => { shown.textContent = input.value; changed(Number(input.value)); });
  }

  const rounded = (value, digits = 2) => String(Number(value.toFixed(digits)));
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);

  function iou(p, q) {
    const width = Math.max(0, Math.min(p[2], q[2]) - Math.max(p[0], q[0]));
    const height = Math.max(0, Math.min(p[3], q[3]) - Math.max(p[1], q[1]));
    const shared = width * height;
    return { width, height, shared, together: area(p) + area(q) - shared,
      value: shared / (area(p) + area(q) - shared) };
  }

  /* A rectangle for the box: its sides in the view's units, its colour. */
  function rectangle(root, colour, attributes = {}) {
    const node = add(root, "rect", { fill: colour, "fill-opacity": 0.12, stroke: colour, ...attributes });
    return { node, place: ([x1, y1, x2, y2]) => set(node, { x: x1, y: y1, width: x2 - x1, height: y2 - y1 }) };
  }

  /* A box that is moved by dragging it or with the arrow keys, and resized at its corner or with
     Shift and the arrow keys. `box` is changed in place, in steps of `step`, inside (width, height). */
  function movable(root, box, name, colour, [width, height], step, changed) {
    const body = rectangle(root, colour, { class: "movable", tabindex: 0, role: "img" });
    const corner = add(root, "circle", { r: width / 45, fill: colour, class: "corner" });
    const text = add(root, "text", { fill: colour, class: "name" }, name);
    const draw = () => {
      body.place(box);
      set(body.node, { "aria-label": `box ${name}: ${box.map((v) => rounded(v, 1)).join(", ")}` });
      set(corner, { cx: box[2], cy: box[3] });
      set(text, { x: box[0] + 0.2, y: box[1] + 0.85 });
      changed();
    };
    const move = (dx, dy, resize) => {
      const limit = (value, low, high) => Math.min(Math.max(value, low), high);
      if (resize) {
        box[2] = limit(box[2] + dx, box[0] + 1, width);
        box[3] = limit(box[3] + dy, box[1] + 1, height);
      } else {
        const [x, y] = [limit(dx, -box[0], width - box[2]), limit(dy, -box[1], height - box[3])];
        box.splice(0, 4, box[0] + x, box[1] + y, box[2] + x, box[3] + y);
      }
      draw();
    };
    const at = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(root.getScreenCTM().inverse());
    for (const [handle, resize] of [[body.node, false], [corner, true]]) {
      let last = null;
      handle.addEventListener("pointerdown", (event) => {
        handle.setPointerCapture(event.pointerId);
        last = at(event);
      });
      handle.addEventListener("pointermove", (event) => {
        if (!last) return;
        const now = at(event);
        const [dx, dy] = [now.x - last.x, now.y - last.y].map((v) => Math.round(v / step) * step);
        if (!dx && !dy) return;
        last = new DOMPoint(last.x + dx, last.y + dy);
        move(dx, dy, resize);
      });
      for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => { last = null; });
    }
    body.node.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      if (!way) return;
      event.preventDefault();
      move(...way, event.shiftKey);
    });
    return draw;
  }

  function overlap(figure) {
    const size = [20, 10], p = [2, 2, 9, 7], q = [6, 3, 14, 8];
    const root = grid(figure, ...size, "two boxes");
    const shared = rectangle(root, COLOURS.point, { "fill-opacity": 0.35, stroke: "none" });
    const result = html(figure, "p", { class: "result", "aria-live": "polite" });
    const changed = () => {
      const both = iou(p, q);
      const [x, y] = [Math.max(p[0], q[0]), Math.max(p[1], q[1])];
      shared.place(both.shared ? [x, y, x + both.width, y + both.height] : [0, 0, 0, 0]);
      result.textContent = `shared ${both.width} × ${both.height} = ${both.shared}, covered ${area(p)} + ` +
        `${area(q)} − ${both.shared} = ${both.together}, IoU ${both.shared} / ${both.together} = ${rounded(both.value)}`;
    };
    movable(root, p, "p", COLOURS.truth, size, 1, changed)();
    movable(root, q, "q", COLOURS.detection, size, 1, changed)();
  }

  function filter(figure) {
    const [width, height] = [10, 8];
    const kernels = {
      "left darker than right": [-1, 0, 1, -2, 0, 2, -1, 0, 1], "above darker than below": [-1, -2, -1, 0, 0, 0, 1, 2, 1],
      "the mean of nine": Array(9).fill(1 / 9), "shift by one pixel": [0, 0, 0, 1, 0, 0, 0, 0, 0],
    };
    const image = Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => Number(x > 3 && x < 8 && y > 1 && y < 6)));
    const line = html(figure, "label", {}, "filter ");
    const choice = html(line, "select");
    for (const name of Object.keys(kernels)) html(choice, "option", {}, name);
    const root = grid(figure, 2 * width + 1, height, "an image, and the result of a filter");
    const cell = (x, y, attributes) => add(root, "rect", { x, y, width: 1, height: 1, class: "cell", ...attributes });
    const frame = add(root, "rect", { width: 3, height: 3, fill: "none", stroke: COLOURS.detection, class: "frame" });
    const result = html(figure, "p", { class: "result", "aria-live": "polite" });
    const inputs = [], outputs = [];
    let at = [4, 3];
    const value = (x, y) => image[y]?.[x] ?? 0;
    const products = (x, y) => kernels[choice.value].map((k, i) => [k, value(x + (i % 3) - 1, y + Math.floor(i / 3) - 1)]);
    const total = (x, y) => products(x, y).reduce((sum, [k, v]) => sum + k * v, 0);
    const draw = () => {
      const sums = image.flatMap((row, y) => row.map((_, x) => total(x, y)));
      const largest = Math.max(...sums.map(Math.abs), 1e-9);
      inputs.forEach((node, i) => set(node, { fill: image.flat()[i] ? "#fff" : "#333" }));
      outputs.forEach((node, i) => set(node, { fill: sums[i] < 0 ? COLOURS.point : COLOURS.detection, "fill-opacity": Math.abs(sums[i]) / largest }));
      set(frame, { x: at[0] - 1, y: at[1] - 1 });
      const terms = products(...at).filter(([k, v]) => k * v).map(([k, v]) => `${rounded(k)} · ${v}`).join(" + ");
      result.textContent = `at (${at[0]}, ${at[1]}): ${terms || "only zeros"} = ${rounded(total(...at))}`;
    };
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      inputs.push(cell(x, y, { style: "cursor: pointer" }));
      outputs.push(cell(x + width + 1, y, {}));
      inputs.at(-1).addEventListener("click", () => { image[y][x] = 1 - image[y][x]; at = [x, y]; draw(); });
      for (const node of [inputs.at(-1), outputs.at(-1)]) node.addEventListener("pointerenter", () => { at = [x, y]; draw(); });
    }
    root.append(frame);
    choice.addEventListener("change", draw);
    draw();
  }

  function anchors(figure) {
    const size = [20, 12], object = [7, 3, 12, 9], ratios = [0.5, 1, 2];
    let side = 5, stride = 2, at = [9, 5];
    const root = grid(figure, ...size, "anchors of one cell, and an object");
    const centres = add(root, "g");
    const shown = ratios.map(() => rectangle(root, COLOURS.anchor, { "fill-opacity": 0.05, "pointer-events": "none" }));
    const result = html(figure, "p", { class: "result", "aria-live": "polite" });
    const boxes = ([cx, cy]) => ratios.map((ratio) => {
      const [w, h] = [side / Math.sqrt(ratio), side * Math.sqrt(ratio)];
      return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2];
    });
    const draw = () => {
      boxes(at).forEach((box, i) => shown[i].place(box));
      const fits = boxes(at).map((box) => iou(box, object).value);
      result.textContent = `IoU with the object, at height : width of 1:2, 1:1, 2:1: ${fits.map((v) => rounded(v)).join(", ")}. ` +
        (Math.max(...fits) >= 0.7 ? "A positive." : Math.max(...fits) < 0.3 ? "All three are negatives." : "None reaches 0.7.");
    };
    const lay = () => {
      centres.textContent = "";
      for (let y = stride / 2; y < size[1]; y += stride) for (let x = stride / 2; x < size[0]; x += stride) {
        const dot = add(centres, "circle", { cx: x, cy: y, r: 0.22, fill: COLOURS.anchor, tabindex: 0 });
        for (const event of ["pointerenter", "click", "focus"]) dot.addEventListener(event, () => { at = [x, y]; draw(); });
      }
      draw();
    };
    rectangle(root, COLOURS.truth, { "pointer-events": "none" }).place(object);
    slider(figure, "side of a square anchor", 2, 10, 0.5, side, (value) => { side = value; draw(); });
    slider(figure, "stride", 1, 4, 1, stride, (value) => { stride = value; lay(); });
    lay();
  }

  function suppression(figure) {
    const size = [20, 11];
    const found = [[[2, 2, 8, 8], 0.95], [[3, 2, 9, 8], 0.9, true], [[2, 4, 8, 10], 0.7], [[5, 3, 11, 9], 0.65, true],
      [[12, 2, 18, 7], 0.85], [[12.5, 3, 18.5, 8], 0.8, true], [[14, 1, 17, 9], 0.4]]; // highest score first
    let threshold = 0.5;
    const root = grid(figure, ...size, "seven boxes with scores");
    const shown = found.map(([box, score, right]) => {
      const one = rectangle(root, COLOURS.detection, { "fill-opacity": 0.04 });
      one.place(box);
      const x = right ? box[2] - 1.85 : box[0] + 0.15; // where no other score is
      one.text = add(root, "text", { x, y: box[1] + 0.75, class: "name" }, score.toFixed(2));
      return one;
    });
    const result = html(figure, "p", { class: "result", "aria-live": "polite" });
    const draw = () => {
      const kept = [], said = [];
      found.forEach(([box, score], i) => {
        const by = kept.find((j) => iou(found[j][0], box).value > threshold);
        const colour = by === undefined ? COLOURS.detection : COLOURS.dropped;
        set(shown[i].node, { stroke: colour, "stroke-dasharray": by === undefined ? "none" : "0.3 0.25" });
        set(shown[i].text, { fill: colour });
        if (by === undefined) kept.push(i);
        else said.push(`${score.toFixed(2)} is dropped by ${found[by][1].toFixed(2)} (IoU ${rounded(iou(found[by][0], box).value)})`);
      });
      result.textContent = `${kept.length} kept. ${said.join("; ") || "Nothing is dropped"}.`;
    };
    slider(figure, "IoU threshold", 0, 1, 0.01, threshold, (value) => { threshold = value; draw(); });
    draw();
  }

  function align(figure) {
    const size = [9, 6], region = [1.3, 1.2, 6.1, 4.8];
    const root = grid(figure, ...size, "a feature map and a region of interest");
    const map = (x, y) => 10 * y + x;
    for (let y = 0; y < size[1]; y++) for (let x = 0; x < size[0]; x++) add(root, "text", { x: x + 0.5, y: y + 0.6, class: "number" }, map(x, y));
    const lines = add(root, "g"), points = add(root, "g", { "pointer-events": "none" });
    const result = html(figure, "p", { class: "result", "aria-live": "polite" });
    const read = (x, y) => { // between the centres of four cells
      const [u, v] = [Math.max(x - 0.5, 0), Math.max(y - 0.5, 0)];
      const [i, j] = [Math.min(Math.floor(u), size[0] - 1), Math.min(Math.floor(v), size[1] - 1)];
      const [k, l] = [Math.min(i + 1, size[0] - 1), Math.min(j + 1, size[1] - 1)];
      const [a, b] = [k === i ? 0 : u - i, l === j ? 0 : v - j];
      return (1 - b) * ((1 - a) * map(i, j) + a * map(k, j)) + b * ((1 - a) * map(i, l) + a * map(k, l));
    };
    const draw = () => {
      lines.textContent = points.textContent = "";
      const [x1, y1, x2, y2] = region, means = [];
      const [w, h] = [(x2 - x1) / 2, (y2 - y1) / 2];
      set(add(lines, "line", { class: "bin" }), { x1: x1 + w, x2: x1 + w, y1, y2 });
      set(add(lines, "line", { class: "bin" }), { x1, x2, y1: y1 + h, y2: y1 + h });
      for (let bin = 0; bin < 4; bin++) {
        let sum = 0;
        for (let i = 0; i < 4; i++) {
          const x = x1 + w * ((bin % 2) + ((i % 2) + 0.5) / 2), y = y1 + h * (Math.floor(bin / 2) + (Math.floor(i / 2) + 0.5) / 2);
          add(points, "circle", { cx: x, cy: y, r: 0.1, fill: COLOURS.point });
          sum += read(x, y);
        }
        means.push(rounded(sum / 4));
      }
      result.textContent = `2 × 2 bins, each the mean of four points: ${means[0]}, ${means[1]} above and ${means[2]}, ${means[3]} below`;
    };
    movable(root, region, "", COLOURS.proposal, size, 0.1, draw)();
    root.append(points);
  }

  const FIGURES = {
    "02_convolution": ["by-hand", filter, "Move over the image: the frame is the window of one output. Click a pixel to change it."],
    "06_boxes_iou": ["by-hand", overlap, "Drag the boxes and their corners, or use the arrow keys (with Shift for the corner). Can you get an IoU of exactly one half?"],
    "07_anchors": ["by-hand", anchors, "Move over the dots: these are the centres of cells. Where is a positive, and what happens with a stride of 4?"],
    "10_suppression": ["by-hand", suppression, "Raise the threshold: which box comes back first? Lower it: which one goes next, and who drops it?"],
    "11_roi_align": ["by-hand", align, "Drag the region, or its corner. The map holds 10y + x, so each result can be checked by eye."],
  };

  document.addEventListener("DOMContentLoaded", () => {
    const page = location.pathname.split("/").pop().replace(".html", "");
    const [section, draw, caption] = FIGURES[page] ?? [];
    const place = draw && document.querySelector(`article section[id^="${section}"]`);
    if (!place) return;
    const figure = html(place, "figure", { class: "try-it" });
    html(figure, "p", { class: "try" }, "Try it");
    draw(figure);
    html(figure, "figcaption", {}, caption);
  });
})();
