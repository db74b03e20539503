// The data of the page: gzip in base64, JSON first, then arrays and images (pack.py writes it).

const READERS = { f4: Float32Array, u1: Uint8Array, u2: Uint16Array, i2: Int16Array, i4: Int32Array };

async function unpack(text) {
  const binary = atob(text.trim()), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(plain).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return revive(head, buffer, 4 + length);
}

// References become arrays with their shape, or addresses of images.
function revive(value, buffer, base) {
  if (Array.isArray(value)) return value.map((part) => revive(part, buffer, base));
  if (value === null || typeof value !== "object") return value;
  if (value.$) return new Rows(buffer, base, ...value.$);
  if (value.$image) {
    const [offset, length, type] = value.$image;
    return URL.createObjectURL(new Blob([new Uint8Array(buffer, base + offset, length)], { type }));
  }
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, revive(v, buffer, base)]));
}

// An array of any shape; row(i) is its part i along the first axis, as numbers.
class Rows {
  constructor(buffer, base, offset, kind, shape) {
    this.shape = shape;
    this.length = shape[0];
    const count = shape.reduce((a, b) => a * b, 1);
    this.size = this.length ? count / this.length : 0;
    this.data = kind === "f2" ? halves(new Uint16Array(buffer, base + offset, count))
      : new READERS[kind](buffer, base + offset, count);
  }
  row(i) { return this.data.subarray(i * this.size, (i + 1) * this.size); }
  at(i) { return this.data[i]; }
}

// Half precision as float32, by a table of all 65,536 numbers: pages hold a million of them.
let halfTable = null;

function halves(bits) {
  halfTable ??= Float32Array.from({ length: 1 << 16 }, (_, i) => half(i));
  const out = new Float32Array(bits.length);
  for (let i = 0; i < out.length; i++) out[i] = halfTable[bits[i]];
  return out;
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return exponent === 0 ? sign * fraction * 2 ** -24
    : exponent === 31 ? (fraction ? NaN : sign * Infinity)
    : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
