// Small parts of the page: elements, tables, bars, maps as images, histograms.

function el(tag, settings = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((c) => c != null && c !== false));
  return node;
}

const fixed = (x, digits = 2) => (x == null || Number.isNaN(x) ? "–" : Number(x).toFixed(digits).replace(/^-(0\.?0*)$/, "$1"));
const percent = (x) => (x == null || Number.isNaN(x) ? "–" : `${(100 * x).toFixed(0)} %`);
const tiny = (x) => (x === 0 ? "0" : Math.abs(x) < 1e-3 || Math.abs(x) >= 1e4 ? Number(x).toExponential(1) : Number(x).toPrecision(3));
const boxText = (b, digits = 1) => [...b].map((v) => fixed(v, digits)).join("  ");
const some = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : /[sx]$/.test(noun) ? "es" : "s"}`;
const plus = (x, digits = 2) => `${x < 0 ? "−" : "+"} ${fixed(Math.abs(x), digits)}`; // as the second part of a sum

// Rows of [name, value, id]; the id marks the value for tests and scripts.
function facts(rows) {
  return el("table", { class: "facts" }, rows.filter(Boolean).map(([name, value, id]) =>
    el("tr", {}, el("th", {}, name), el("td", id ? { "data-field": id } : {}, value))));
}

function grid(head, rows) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "table" }, el("table", { class: "grid" },
    el("tr", {}, head.map((h) => el("th", {}, h))),
    rows.map((row) => el("tr", {}, row.map((v) => el("td", {}, v))))));
}

function heading(text, colour) {
  return el("h3", colour ? { style: { "--c": colour } } : {}, colour ? el("i") : null, text);
}

// Horizontal bars of [name, value, text, colour]; with `pick` they are buttons.
function bars(rows, most, pick, picked) {
  return rows.map(([name, value, text, colour, key]) => el(pick ? "button" : "div",
    { class: "bar", style: { "--c": colour || "var(--ink)" }, ...(pick ? { type: "button", "aria-pressed": String(picked === key), onclick: () => pick(key) } : {}) },
    el("span", { title: name }, name),
    el("i", { style: { width: `${Math.max(0, Math.min(100, (100 * value) / (most || 1)))}%` } }),
    el("b", {}, text)));
}

function viridis(x) {
  const place = Math.max(0, Math.min(1, x)) * (VIRIDIS.length - 1), low = Math.floor(place), part = place - low;
  const a = VIRIDIS[low], b = VIRIDIS[Math.min(low + 1, VIRIDIS.length - 1)];
  return [0, 1, 2].map((i) => Math.round(a[i] + (b[i] - a[i]) * part));
}

// Black or white, whichever stands out more (WCAG 2.2).
function inkOn(colour) {
  const [r, g, b] = colour.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

const grey = (x) => { const v = Math.round(255 * Math.max(0, Math.min(1, x))); return [v, v, v]; };

// Numbers (h x w) in 0..1 as a canvas of that many pixels.
function mapCanvas(values, w, h, colour = viridis, alpha = () => 255) {
  const canvas = el("canvas", { width: Math.max(w, 1), height: Math.max(h, 1) });
  if (!w || !h) return canvas;
  const context = canvas.getContext("2d"), image = context.createImageData(w, h);
  for (let i = 0; i < w * h; i++) {
    const [r, g, b] = colour(values[i]);
    image.data.set([r, g, b, alpha(values[i])], 4 * i);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

const unit = (bytes) => Float32Array.from(bytes, (v) => v / 255);

// Plane `i` of packed planes (n, h, w) as a canvas.
function plane(packed, i, colour) {
  const [, h, w] = packed.planes.shape;
  return mapCanvas(unit(packed.planes.row(i)), w, h, colour);
}

function thumb(canvas, caption, settings = {}) {
  return el("figure", settings, canvas, el("figcaption", {}, caption));
}

// A histogram as SVG: counts over a range, one colour per series; `unitName` says what the range counts.
function histogram(series, range, colours, height = 74, unitName = "") {
  const width = 300, most = Math.max(1, ...series.flatMap((s) => [...s])), left = 34, wide = width - left;
  const svg = svgOf(width, height + 16, `histogram${unitName && ` of ${unitName}`}, from ${tiny(range[0])} to ${tiny(range[1])}`);
  svg.append(shape("path", { d: `M${left},2V${height}H${width}`, fill: "none", stroke: "var(--edge)" }));
  label(svg, left - 4, 10, most.toLocaleString("en"), "end");
  label(svg, left - 4, height, "0", "end");
  series.forEach((counts, k) => {
    const step = wide / counts.length;
    const points = [...counts].flatMap((n, i) => {
      const y = height - (n / most) * (height - 4);
      return [`${(left + i * step).toFixed(1)},${y.toFixed(1)}`, `${(left + (i + 1) * step).toFixed(1)},${y.toFixed(1)}`];
    });
    svg.append(shape("polyline", { points: `${left},${height} ${points.join(" ")} ${width},${height}`, fill: series.length === 1 ? colours[k] : "none",
      stroke: colours[k], "fill-opacity": 0.35, "stroke-width": 1.2 }));
  });
  label(svg, left, height + 13, tiny(range[0]));
  label(svg, width, height + 13, `${tiny(range[1])}${unitName && ` ${unitName}`}`, "end");
  if (range[0] < 0 && range[1] > 0) {
    const zero = left - (range[0] / (range[1] - range[0])) * wide;
    svg.append(shape("line", { x1: zero, x2: zero, y1: 0, y2: height, stroke: "var(--edge)", "stroke-dasharray": "2 3" }));
    if (zero > left + 40 && zero < width - 50 - 5 * unitName.length) label(svg, zero, height + 13, "0", "middle");
  }
  return svg;
}

// Values as the counts of a histogram over their middle 90 %, and how many lie outside of it.
function spread(values, bins = 28) {
  const sorted = [...values].sort((a, b) => a - b), at = (q) => sorted[Math.round(q * (sorted.length - 1))] ?? 0;
  let range = [at(0.05), at(0.95)];
  if (range[0] === range[1]) range = [range[0] - 0.5, range[1] + 0.5];
  const counts = Array(bins).fill(0), inside = sorted.filter((v) => v >= range[0] && v <= range[1]);
  for (const v of inside) counts[Math.min(bins - 1, Math.floor(((v - range[0]) / (range[1] - range[0])) * bins))]++;
  return { counts, range, outside: sorted.length - inside.length };
}

// The colours of a map with their values: [place in 0..1, text].
function heatScale(name, ticks, more = "") {
  const colours = [0, 0.25, 0.5, 0.75, 1].map((v) => `rgb(${viridis(v)})`).join(",");
  return el("div", { class: "heat-scale" }, el("span", {}, name), el("div", { style: { "--heat": `linear-gradient(to right,${colours})` } }, el("i"), ticks.map(([place, text]) => el("b", { style: { left: `${100 * place}%` } }, text))), more && el("span", { class: "fine" }, more));
}

// A curve over 0..1 in both directions.
function curve(xs, ys, colour, xName, yName) {
  const width = 300, height = 190, svg = svgOf(width, height + 20), left = 30;
  const place = (x, y) => `${(left + x * (width - left - 6)).toFixed(1)},${(height - y * (height - 8)).toFixed(1)}`;
  for (const v of [0, 0.5, 1]) {
    const [, y] = place(0, v).split(",");
    svg.append(shape("line", { x1: left, x2: width - 6, y1: y, y2: y, stroke: "var(--line)" }));
    label(svg, left - 5, Number(y) + 4, String(v), "end");
  }
  const points = xs.flatMap((x, i) => (i ? [place(xs[i - 1], ys[i]), place(x, ys[i])] : [place(0, ys[0]), place(x, ys[0])]));
  svg.append(shape("polyline", { points: points.join(" "), fill: "none", stroke: colour, "stroke-width": 2 }));
  label(svg, width - 6, height + 14, `${xName} →`, "end");
  label(svg, left, height + 14, `↑ ${yName}`);
  return svg;
}

function svgOf(width, height, name = "chart") { return shape("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": name }); }
function shape(tag, settings) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(settings)) node.setAttribute(k, v);
  return node;
}
function label(svg, x, y, text, anchor = "start") {
  const node = shape("text", { x, y, "text-anchor": anchor, "font-size": 10.5, fill: "var(--soft)" });
  node.textContent = text;
  svg.append(node);
}

function choice(name, options, value, pick) {
  return el("div", { class: "choice", role: "group", "aria-label": name }, el("span", {}, name),
    options.map(([key, text]) => el("button", { type: "button", "aria-pressed": String(key === value), onclick: () => pick(key) }, text)));
}

function slider(name, id, value, [low, high, step], change, show = (v) => fixed(v)) {
  const output = el("output", { for: id }, show(value));
  const input = el("input", { type: "range", id, min: low, max: high, step, value,
    oninput: () => { output.textContent = show(Number(input.value)); change(Number(input.value)); } });
  return el("div", { class: "slider" }, el("label", { for: id }, name), input, output);
}

function legend(entries) {
  return el("p", { class: "legend" }, entries.map(([text, colour, style]) => el("span", { style: { "--c": colour, "--style": style || "solid" } }, text)));
}
