"""The page's training in headless Chromium, beside the package's own losses, gradients and SGD from
the same weights and the same samples.
"""

import base64
import json

import numpy as np
import pytest

import tinymaskrcnn as tm
from tests.browsers import chromium, opened
from tests.play.test_engine import file_of, folder, sent, untrained  # noqa: F401
from tinymaskrcnn.models.box_head import CROP_SIZE, FlattenLinear
from tinymaskrcnn.nn import Conv2d, Linear
from tinymaskrcnn.optim import clip_scale, grad_norm
from tinymaskrcnn.play.pack import PANEL

pytestmark = pytest.mark.browser
LR, MOMENTUM, NEAR = 0.02, 0.9, 1e-4
HEADS = {"rpn": ["rpn.head."], "box": ["roi_heads.box_head.", "roi_heads.box_predictor."]}

# See an image, forget heads, learn: what the page gives in every step, weights as base64.
LEARN = """
const [width, height, text, drawn, forgotten, parts, steps, lr, momentum, done] = arguments;
const ask = (what, about) => window.page.model.ask(what, about);
const bytes = (t) => Uint8Array.from(atob(t), (c) => c.charCodeAt(0));
const packed = (a) => {
  let text = "";
  for (const b of new Uint8Array(a.buffer)) text += String.fromCharCode(b);
  return btoa(text);
};
const weights = async () => {
  const all = {};
  for (const part of ["rpn", "box"]) all[part] = (await ask("weights", part)).map(packed);
  return all;
};
(async () => {
  while (page.busy || page.dirty) await new Promise((then) => setTimeout(then, 20));
  await ask("see", { width, height, rgba: bytes(text) });
  for (const part of forgotten) await ask("forget", { part, seed: 3 });
  const truth = { ...drawn, masks: drawn.masks.map(bytes) };
  const answer = { weights: [await weights()], reports: [], losses: await ask("losses", truth) };
  for (let i = 0; i < steps; i++) {
    answer.reports.push((await ask("learn", { parts, truth, lr, momentum })).report);
    answer.weights.push(await weights());
  }
  await ask("restore");
  answer.restored = await weights();
  done(JSON.stringify(answer, (_, value) => (ArrayBuffer.isView(value) ? [...value] : value)));
})();
"""


@pytest.fixture(scope="module")
def driver():
    with chromium() as driver:
        yield driver


class Chosen:
    """A generator that draws what the page drew."""

    def __init__(self, indices):
        self.indices = np.array(indices, np.int64)

    def choice(self, among, count, **_):
        drawn = np.intersect1d(among, self.indices)
        assert len(drawn) == count
        return drawn


def image_and_target(index, size=128, seed=7, classes=None):
    """One generated image: bytes (H, W, 3), as the package takes it, and its target."""
    image, target = tm.ToyShapes(index + 1, size=size, seed=seed, split="val")[index]
    pixels = np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)
    target = {**target, "masks": np.asarray(target["masks"])}
    if classes is not None:
        target["labels"] = np.minimum(target["labels"], classes)
    return pixels, np.ascontiguousarray(pixels.transpose(2, 0, 1) / np.float32(255)), target


def learned_in_the_page(driver, model, pixels, target, forgotten, parts, steps=3):
    height, width = pixels.shape[:2]
    size = model.transform.resized_size((height, width))
    ratio = (np.float32(size) / np.float32((height, width)))[[1, 0, 1, 0]]
    drawn = {
        "boxes": (target["boxes"] * ratio).astype(np.float32).tolist(),
        "labels": target["labels"].tolist(),
        "masks": [base64.b64encode(m.astype(np.uint8).tobytes()).decode() for m in target["masks"]],
        "size": [width, height],
    }
    given = *sent(pixels), drawn, forgotten, parts, steps, LR, MOMENTUM
    return json.loads(driver.execute_async_script(LEARN, *given))


def layers_of(model, part):
    """In the page's order."""
    names = ["conv.", "box_head.", "cls_", "bbox_pred"]
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, Conv2d | Linear) and name.startswith(tuple(HEADS[part]))
    ]
    order = sorted(found, key=lambda pair: next(i for i, n in enumerate(names) if n in pair[0]))
    return [module for _, module in order]


def set_weights(model, weights):
    """Give the heads of a model the page's weights."""
    for part, arrays in weights.items():
        modules = layers_of(model, part)
        assert len(arrays) == 2 * len(modules)
        for module, weight, bias in zip(modules, arrays[::2], arrays[1::2], strict=True):
            panels, bias = (np.frombuffer(base64.b64decode(a), np.float32) for a in (weight, bias))
            outs = len(bias)
            rows = panels.reshape(-1, panels.size // (-(-outs // PANEL) * PANEL), PANEL)
            rows = rows.transpose(0, 2, 1).reshape(-1, rows.shape[1])[:outs]  # O, taps * C
            shape, by_tap = module.weight.shape, -1
            if isinstance(module, FlattenLinear):
                by_tap = CROP_SIZE**2
            elif len(shape) == 4:
                by_tap = shape[2] * shape[3]
            if by_tap > 0:
                rows = rows.reshape(outs, by_tap, -1).transpose(0, 2, 1)
            module.weight.data = np.ascontiguousarray(rows).reshape(shape)
            module.bias.data = bias.copy()
            module.weight.changed(), module.bias.changed()


def heads_as_arrays(model, part):
    return [p.data for m in layers_of(model, part) for p in (m.weight, m.bias)]


class Taught:
    """The package, learning from one image as the page does: eval mode, features that stay."""

    def __init__(self, model, image, target):
        self.model = model
        self.batch, self.targets = model.transform([image], [target])
        with tm.no_grad():
            self.features = model.backbone(tm.Tensor(self.batch.tensor))

    def losses(self, report):
        """All of the losses whose samples the page told."""
        model, losses = self.model, {}
        output = model.rpn(self.batch, self.features)
        if "rpn" in report:
            chosen = [Chosen(report["rpn"]["indices"])]
            losses |= model.rpn.losses(output, self.targets, chosen)
        if "box" in report:
            chosen = [Chosen(report["box"]["indices"])]
            proposals, sizes = model.rpn.proposals(output), self.batch.sizes
            given = self.features[:-1], proposals, sizes, self.targets
            losses |= model.roi_heads.losses(*given, chosen)
        return losses


@pytest.mark.parametrize("parts", [["rpn"], ["box"]])
def test_three_steps_as_in_python(driver, folder, parts):  # noqa: F811
    model = tm.load_model("shapes").eval()
    pixels, image, target = image_and_target(1)
    with opened(driver, file_of(folder, model, "f4")):
        page = learned_in_the_page(driver, model, pixels, target, parts, parts)
    set_weights(model, page["weights"][0])
    taught = Taught(model, image, target)
    parameters = [p for part in parts for m in layers_of(model, part) for p in m.parameters()]
    optimizer = tm.SGD(parameters, lr=LR, momentum=MOMENTUM)
    for step, report in enumerate(page["reports"]):
        losses = taught.losses(report)
        losses.pop("loss_mask", None)
        assert {n: pytest.approx(v.item(), abs=NEAR) for n, v in losses.items()} == report["losses"]
        optimizer.zero_grad()
        sum(losses.values()).backward()
        norm = grad_norm(parameters)
        assert report["norm"] == pytest.approx(norm, rel=NEAR)
        optimizer.step(clip_scale(norm, 5.0))
        own = {part: heads_as_arrays(model, part) for part in parts}
        before = {part: [a.copy() for a in arrays] for part, arrays in own.items()}
        set_weights(model, page["weights"][step + 1])
        for part, arrays in before.items():
            for mine, theirs in zip(arrays, heads_as_arrays(model, part), strict=True):
                np.testing.assert_allclose(theirs, mine, rtol=0, atol=NEAR)
        for part, arrays in before.items():  # go on from the package's own
            for array, mine in zip(heads_as_arrays(model, part), arrays, strict=True):
                array[...] = mine


BACK = """
const [seed, visits, done] = arguments, ask = (what, about) => page.model.ask(what, about);
(async () => {
  while (page.busy || !page.findings) await new Promise((then) => setTimeout(then, 20));
  await ask("forget", { part: "rpn", seed });
  let moments;
  for (let i = 0; i < 8; i++) {
    const rule = { lr: 0.02, momentum: 0.9 }, truth = page.findings.lesson;
    ({ moments } = await ask("learn", { parts: ["rpn"], truth, ...rule }));
    for (const step of visits) await ask("visit", step);
  }
  await ask("visit", moments.steps.at(-1));
  const weights = await ask("weights", "rpn");
  await ask("restore");
  done([moments.steps, weights.map((w) => [...w])]);
})().catch((problem) => done(String(problem)));
"""


def test_going_back_changes_nothing_that_comes_after(driver, folder):  # noqa: F811
    """Learning goes on from its newest weights, whatever moments are looked at in between."""
    model = tm.load_model("shapes").eval()
    with opened(driver, file_of(folder, model, "f2")):
        plain, visited = (driver.execute_async_script(BACK, 3, visits) for visits in ([], [0]))
    assert plain[0] == visited[0] == [0, 2, 4, 6, 8]
    for mine, theirs in zip(plain[1], visited[1], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", ["shapes", "deep heads, other samples"])
def test_the_five_losses_as_in_python(driver, folder, name):  # noqa: F811
    settings = {"box_channels": (16,), "representation": 50, "rpn_batch_size_per_image": 40}
    settings |= {"min_size": 150, "max_size": 300, "size_divisor": 8, "box_fg_iou_thresh": 0.4}
    settings |= {"box_bg_iou_thresh": 0.3, "aspect_ratios": (0.4, 1.0, 1.7, 2.5)}
    model = tm.load_model("shapes").eval() if name == "shapes" else untrained(**settings)
    pixels, image, target = image_and_target(1, size=128 if name == "shapes" else 100)
    with opened(driver, file_of(folder, model, "f4")):
        page = learned_in_the_page(driver, model, pixels, target, [], [], steps=0)["losses"]
    assert page["rpn"]["objects"] and page["box"]["objects"]
    losses = Taught(model, image, target).losses(page)
    assert len(losses) == 5
    assert {n: pytest.approx(v.item(), abs=NEAR) for n, v in losses.items()} == page["losses"]


def test_a_head_forgets_by_the_rules_of_the_package(driver, folder):  # noqa: F811
    """Each layer's weights spread as a new model's, and another layer's do not change."""
    model, new = tm.load_model("shapes").eval(), tm.maskrcnn_tiny(num_classes=4)
    pixels, _, target = image_and_target(0)
    with opened(driver, file_of(folder, model, "f4")):
        page = learned_in_the_page(driver, model, pixels, target, ["rpn", "box"], [], steps=0)
    first = {part: [a.copy() for a in heads_as_arrays(model, part)] for part in HEADS}
    set_weights(model, page["weights"][0])
    for part in HEADS:
        pairs = zip(heads_as_arrays(model, part), heads_as_arrays(new, part), strict=True)
        for mine, fresh in pairs:
            if not fresh.any():
                assert not mine.any()
                continue
            few = 4 / np.sqrt(fresh.size)  # how far a standard deviation strays
            assert np.std(mine) == pytest.approx(np.std(fresh), rel=few)
            assert np.abs(np.mean(mine)) <= few * np.std(fresh)
            assert np.abs(mine).max() < 2 * np.abs(fresh).max()
    set_weights(model, page["restored"])
    for part in HEADS:
        for mine, known in zip(heads_as_arrays(model, part), first[part], strict=True):
            np.testing.assert_array_equal(mine, known)
