// Boxes as offsets, and the best of many scores, in float32 as in the package. Boxes are
// [x1, y1, x2, y2]. Not here: overlap and suppression (the report's boxes.js).

const LARGEST_LOG_SCALE = Math.log(1000 / 16);

// Move a box by four offsets, as BoxCoder.decode.
function decode(deltas, at, [x1, y1, x2, y2], weights) {
  const width = f(x2 - x1), height = f(y2 - y1), x = f(x1 + f(0.5 * width)), y = f(y1 + f(0.5 * height));
  const d = (i) => f(deltas[at + i] / f(weights[i])), grown = (i) => f(Math.exp(Math.min(d(i), f(LARGEST_LOG_SCALE))));
  const newX = f(f(d(0) * width) + x), newY = f(f(d(1) * height) + y);
  const halfWidth = f(0.5 * f(grown(2) * width)), halfHeight = f(0.5 * f(grown(3) * height));
  return [f(newX - halfWidth), f(newY - halfHeight), f(newX + halfWidth), f(newY + halfHeight)];
}

// The offsets that take a box to a goal, as BoxCoder.encode.
function encode([gx1, gy1, gx2, gy2], [x1, y1, x2, y2], weights) {
  const width = f(x2 - x1), height = f(y2 - y1), goalWidth = f(gx2 - gx1), goalHeight = f(gy2 - gy1);
  const apart = (low, side, goalLow, goalSide, weight) => f(f(weight * f(f(goalLow + f(0.5 * goalSide)) - f(low + f(0.5 * side)))) / side);
  const grown = (side, goal, weight) => f(weight * f(Math.log(f(goal / side))));
  return [apart(x1, width, gx1, goalWidth, weights[0]), apart(y1, height, gy1, goalHeight, weights[1]), grown(width, goalWidth, weights[2]), grown(height, goalHeight, weights[3])];
}

function clipBox(box, [height, width]) {
  return box.map((v, i) => Math.min(Math.max(v, 0), i % 2 ? height : width));
}

function scaleBox(box, from, to) {
  const y = f(f(to[0]) / f(from[0])), x = f(f(to[1]) / f(from[1]));
  return box.map((v, i) => f(v * (i % 2 ? y : x)));
}

// The indices of the k largest scores, largest first, the lower index first among equals: score and
// index in one number, so that a plain sort does it.
function topK(scores, k) {
  const bits = new Uint32Array(Float32Array.from(scores, (v) => v + 0).buffer), keys = new Float64Array(bits.length);
  for (let i = 0; i < bits.length; i++) keys[i] = (bits[i] >>> 31 ? bits[i] : 0x7fffffff - bits[i]) * 2 ** 20 + i;
  return Int32Array.from(keys.sort().subarray(0, k), (key) => key % 2 ** 20);
}

// As ops/activations: the exponent is never positive.
function stableSigmoid(x) {
  const e = f(Math.exp(-Math.abs(x)));
  return f((x >= 0 ? 1 : e) / f(1 + e));
}

function softmax(logits) {
  const most = Math.max(...logits), e = [...logits].map((v) => f(Math.exp(f(v - most)))), sum = f(e.reduce((a, b) => a + b, 0));
  return e.map((v) => f(v / sum));
}
