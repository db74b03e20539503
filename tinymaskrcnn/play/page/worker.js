// The worker: it unpacks the model, and answers each question with a message of the same number.
// An image comes as bytes of red, green, blue and alpha, as a canvas has them.

const UNIT = Float32Array.from({ length: 256 }, (_, i) => i / 255);

function imageOf(width, height, rgba, channels) {
  const size = width * height, data = new Float32Array(channels * size);
  for (let i = 0; i < size; i++) {
    const [r, g, b] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
    if (channels === 1) data[i] = UNIT[(19595 * r + 38470 * g + 7471 * b + 32768) >> 16]; // grey as Pillow's "L"
    else [r, g, b].forEach((v, c) => { data[c * size + i] = UNIT[v]; });
  }
  return { data, channels, height, width };
}

function serve() {
  let model = null;
  const answers = {
    load: async (text) => {
      const content = await unpack(text);
      model = new MaskRCNN(content);
      return { config: { ...content.config, history: content.history.map(({ step }) => step) } };
    },
    see: ({ width, height, rgba }) => model.see(imageOf(width, height, rgba, model.config.transform.image_mean.length)),
    region: (box) => model.region(box),
    weights: (part) => model.training.weights(part),
    losses: (truth) => model.training.losses(truth),
    forget: ({ part, seed }) => { model.training.forget(part, seed); return looked(); },
    restore: () => {
      if (model.history.length) model.become(model.history.length - 1);
      model.training.restore();
      return looked();
    },
    become: (i) => { model.become(i); return looked(); },
    learn: ({ parts, truth, ...rule }) => ({ report: model.training.step(parts, truth, rule), ...looked() }),
    visit: (step) => { model.training.moments.visit(step); return looked(); },
  };
  const looked = () => { const { steps, shown } = model.training.moments; return { t: model.look(), moments: { steps, shown } }; };
  self.onmessage = async ({ data: { number, ask, about } }) => {
    try {
      self.postMessage({ number, answer: await answers[ask](about) });
    } catch (problem) {
      self.postMessage({ number, problem: String(problem) });
    }
  };
}

if (typeof document === "undefined") serve();
