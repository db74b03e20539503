# %% [markdown]
# # 14 · Training the whole model
#
# **Five losses, one sum, one gradient: each step changes every stage at once. Within a few hundred
# steps the stages come right one after another, each as soon as the one before it allows.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 01 (gradients), 08 (matching), 09 (proposals), 12 (box head), 13 (mask head) | 50 | 7 |
#
# Afterwards you can
#
# - say what each loss should be at the start, and use that to check that a model is set up right;
# - tell which loss trains which part of the model, and which parts it never reaches;
# - write a training step from its parts that agrees with the package's trainer to the last bit;
# - read a training run: what must come first, what can only come later, and what went wrong.

# %% tags=["hide-input"]
import tempfile
from dataclasses import replace
from math import log

import numpy as np

import tinymaskrcnn as tm
from lessons.figures.architecture import architecture
from lessons.figures.diagrams import ANCHOR, DETECTION, PROPOSAL, number_tables
from lessons.figures.plots import curves, picture_row
from lessons.figures.show import show
from lessons.figures.training import boxes_over_steps, loss_curves
from lessons.muon import muon_in_loops, orthogonal_in_loops
from lessons.recorded import recording
from lessons.recorded.training import LOSSES, WATCHED
from lessons.samples import sample_set
from tinymaskrcnn import ToyShapes, Trainer, box_iou, maskrcnn_tiny
from tinymaskrcnn.datasets.augment import Augmentation
from tinymaskrcnn.datasets.loader import Loader
from tinymaskrcnn.ops.orthogonalize.reference import orthogonalize
from tinymaskrcnn.ops.sgd import reference
from tinymaskrcnn.optim import clip_scale, grad_norm
from tinymaskrcnn.training.recipes import named
from tinymaskrcnn.training.schedule import learning_rate, make_optimizer
from tinymaskrcnn.viz.curves import TERMS, smoothed

show(architecture("losses", "SGD"), "In Mask R-CNN: losses, SGD")

# %% [markdown]
# ## Before you read
#
# So far: every part of the model is there, down to the pasted mask, and each part has its loss.
#
# 1. Which anchors take part in the objectness loss, and which are left out (lesson 08)?
# 2. In training, what is added to the proposals before the heads see them (lesson 12)?
# 3. The mask head draws a mask for every class. Which of them does the loss look at (lesson 13)?
#
# <details><summary>Answers</summary>
#
# 1. A sample of the positives and negatives. Anchors whose IoU is in between are left out.
# 2. The ground-truth boxes.
# 3. The one of the object's own class.
#
# </details>
#
# ## The question
#
# A fresh model knows nothing: what it finds in the image below is noise. After 300 steps, three of
# the five objects have a detection with an IoU above 0.8. All that went down was one number, the
# sum of five losses. How can one number teach five stages, when each of them needs what the one
# before it produces? (The run is recorded: `python -m lessons.recorded.training` makes it again.)

# %% tags=["hide-input"]
run = recording("training")
steps = run["steps"].tolist()
image, target = sample_set("shapes")[WATCHED]
MOMENTS = {0: 0, 50: 3, 150: 5, 300: 7}  # step: index of the snapshot
assert [steps[i] for i in MOMENTS.values()] == list(MOMENTS)


def over_steps(boxes, colour):
    """The image at four moments with the boxes (S, n, 4) of each."""
    shown = boxes[list(MOMENTS.values())]
    return boxes_over_steps(image, shown, list(MOMENTS), target["boxes"], colour)


best = picture_row(over_steps(run["boxes"][:, :5], DETECTION))
show(best, "The five best detections at four moments: noise at first, then three good boxes")
fits = box_iou(target["boxes"], run["boxes"][-1, :5]).max(axis=1)
assert (fits > 0.8).tolist() == [False, True, False, True, True]

# %% [markdown]
# ## By hand
#
# **What does it cost to know nothing?** If every logit is 0, objectness says one half for every
# anchor and pays ln 2 = 0.693, whatever it is. Four classes (three shapes and the background) get a
# quarter each: ln 4 = 1.386. A mask says one half for every pixel: ln 2 again. Set three last
# layers of a fresh model to zero, and its losses are exactly these.

# %%
fresh = maskrcnn_tiny(num_classes=4, seed=0)
with tm.trace() as t:
    fresh.evaluate_losses([image], [target], np.random.default_rng(0))
own = [t["losses"][name].item() for name in LOSSES]
for name, parameter in fresh.named_parameters():
    if name.split(".")[-2] in ("cls_logits", "cls_score", "mask_fcn_logits"):
        parameter.data[...] = 0
        parameter.changed()
knows_nothing, _ = fresh.evaluate_losses([image], [target], np.random.default_rng(0))
for name, cost in (("objectness", log(2)), ("classifier", log(4)), ("mask", log(2))):
    assert np.isclose(knows_nothing[f"loss_{name}"], cost, rtol=1e-6)
np.testing.assert_allclose(own, [0.69, 0.05, 1.26, 0.38, 2.21], atol=0.006)
assert round(float(t["roi.mask_logits"].std()), 1) == 6.6 and 3 < own[-1] / log(2) < 3.3

# %% [markdown]
# Before we zeroed them, the five losses were 0.69, 0.05, 1.26, 0.38 and 2.21. The RPN's last layer
# starts with tiny weights, so its logits are nearly 0 and it pays ln 2. The classifier's weights
# are larger; its 1.26 is ln 4 = 1.39, give or take chance. **The masks pay three times ln 2**:
# their last layer starts with weights as large as a hidden layer's (as in torchvision), and its
# logits, with a standard deviation of 6.6, are *sure of something* that nobody taught them. Being
# sure and wrong costs more than knowing nothing. The first losses are the cheapest test there is.
#
# ## The maths
#
# $$ L = L_{obj} + L_{rpn} + L_{cls} + L_{box} + L_{mask} \qquad
#    g \leftarrow g \cdot \min\left(1, \frac{c}{\lVert g \rVert}\right) $$
#
# $$ v \leftarrow m\,v + g + d\,w \qquad w \leftarrow w - \eta_t\,v \qquad
#    \eta_t = \eta \cdot \min\left(1, \frac{t + 1}{T_w}\right) \cdot
#    \frac{1 + \cos(\pi t / T)}{2} $$
#
# | symbol | variable | in the recipe `shapes` |
# |---|---|---|
# | w, g | parameters and their gradients | 861 335 numbers |
# | c | `clip_norm`: longest gradient allowed, over all parameters together | 5 |
# | v, m | velocity, `momentum` | 0.9 |
# | d | `weight_decay`, of matrices only | 0.001 |
# | η, T_w, T | `lr`, `warmup_steps`, `steps` | 0.05, 100, 2000 (recorded: 300) |
#
# *Gradient clipping*: one odd image must not throw the weights far off. *Momentum*: the gradient of
# eight images is noisy; the velocity adds up about ten steps, and the noise cancels. *Weight decay*
# keeps weights from growing without need. The *learning rate schedule* begins with a *warm-up*,
# because the first gradients are the largest and the worst (the masks!), and falls at the end,
# where the weights only jitter. The first recorded gradient has length 37.8, nearly eight times
# what clipping lets through. After step 200 few gradients are clipped.

# %% tags=["hide-input"]
recipe = named("shapes")
rates = [learning_rate(replace(recipe, steps=300), step) for step in range(300)]
np.testing.assert_allclose(rates, run["rates"], rtol=1e-6)
left = np.minimum(1, recipe.clip_norm / run["norms"])
shares = {"of the full rate": run["rates"] / recipe.lr, "of the gradient, clipped": left}
drawn = curves({name: (np.arange(300), line) for name, line in shares.items()}, "step", "share")
show(drawn, "The rate rises for 100 steps, then falls as a cosine; clipping acts at the start")
assert run["norms"][0].round(1) == 37.8 and 7.5 < run["norms"][0] / recipe.clip_norm < 8
assert (left[:15] < 0.5).all() and (left[200:] == 1).mean() > 0.85
assert sum(parameter.data.size for parameter in fresh.parameters()) == 861_335

# %% [markdown]
# ## One item, in loops: one number
#
# Momentum on paper: a weight of 1 whose gradient is always 1, a learning rate of 0.1, a momentum of
# 0.9. The velocity is 1, then 0.9 + 1 = 1.9, then 1.71 + 1 = 2.71, so the weight goes to 0.9, 0.71,
# 0.439. In the end the velocity is 10: where the gradients agree, steps become ten times as long.


# %%
def sgd_one(weight, grads, lr, momentum, decay=0.0, scale=1.0):
    """One number after one step per gradient; scale is what clipping leaves of each gradient."""
    velocity = 0.0
    for grad in grads:
        velocity = momentum * velocity + (scale * grad + decay * weight)
        weight = weight - lr * velocity
    return weight


on_paper = [sgd_one(1.0, [1.0] * count, 0.1, 0.9) for count in (1, 2, 3, 200, 201)]
np.testing.assert_allclose(on_paper[:3], [0.9, 0.71, 0.439])
assert np.isclose(on_paper[3] - on_paper[4], 0.1 * 10)

# %% [markdown]
# ## All items, in NumPy

# %%
show(reference.sgd_step)
rng = np.random.default_rng(14)
weights, velocities = rng.normal(size=50), np.zeros(50)
start, gradients = weights.copy(), rng.normal(size=(4, 50))
for gradient in gradients:
    reference.sgd_step(weights, gradient, velocities, 0.1, 0.9, 0.01, 0.5)
for w, w0, of_one in zip(weights, start, gradients.T, strict=True):
    assert np.isclose(w, sgd_one(w0, of_one, 0.1, 0.9, 0.01, 0.5))

# %% [markdown]
# The whole step is only a few lines more. After three steps all weights are the package trainer's
# **to the last bit**: what is random depends on the seed and the step only, and no thread decides
# the order of a sum. So a run that stops can resume from a *checkpoint*, a file with the weights,
# velocities and step, as if nothing had happened.


# %%
def train_by_hand(model, recipe, pictures):
    """Train the model in place as the recipe says; return the losses (T, 5) of each step."""
    optimizer = make_optimizer(model.train(), recipe)
    batches = iter(Loader(pictures, recipe.batch_size, recipe.seed, Augmentation(recipe.flip)))
    seen = []
    for step in range(recipe.steps):
        batch = next(batches)
        rngs = np.random.default_rng((recipe.seed, 2, step)).spawn(recipe.batch_size)  # as Trainer
        losses = model(batch.images, batch.targets, rngs)
        sum(losses.values()).backward()
        optimizer.lr = learning_rate(recipe, step)
        optimizer.step(clip_scale(grad_norm(model.parameters()), recipe.clip_norm))
        optimizer.zero_grad()
        seen.append([losses[name].item() for name in LOSSES])
    return np.array(seen)


three = replace(recipe, steps=3, batch_size=2, ema=0.0, explain_pages=0)
models = [maskrcnn_tiny(num_classes=4, seed=0, min_size=128, max_size=128) for _ in range(2)]
train_by_hand(models[0], three, ToyShapes(1000))
with tempfile.TemporaryDirectory() as folder:
    Trainer(models[1], ToyShapes(1000), None, three, folder, show_progress=False).run()
for ours, theirs in zip(*(m.state_dict().values() for m in models), strict=True):
    np.testing.assert_array_equal(ours, theirs)

# %% [markdown]
# ## The gradient: what each loss changes
#
# Send one loss at a time backward. How long is its gradient in each part of the model?

# %% tags=["hide-input"]
PARTS = ("backbone.body", "backbone.fpn", "rpn.", "roi_heads.box", "roi_heads.mask")


def pushes(model):
    """Norm of the gradient of each loss (rows) in each part (columns): (5, 5)."""
    table = np.zeros((5, 5))
    for row, loss in zip(table, LOSSES, strict=True):
        model.zero_grad()
        model.train()([image], [target], np.random.default_rng(0))[loss].backward()
        every = list(model.named_parameters())
        row[:] = [grad_norm(p for n, p in every if n.startswith(part)) for part in PARTS]
    return table


untrained = maskrcnn_tiny(num_classes=4, seed=0)
tables = {"fresh": pushes(untrained), "trained": pushes(tm.load_model("shapes"))}
columns = ("backbone", "FPN", "RPN", "box head", "mask head")
rows = [TERMS[name][0] for name in LOSSES]
show(number_tables(tables, "{:.2f}", rows, columns), "Norm of each loss's gradient in each part")
reached = np.array([[1, 1, 1, 0, 0]] * 2 + [[1, 1, 0, 1, 0]] * 2 + [[1, 1, 0, 0, 1]])
assert all(((table > 0) == reached).all() for table in tables.values())
bodies = np.column_stack([table[:, 0] for table in tables.values()])
np.testing.assert_allclose(bodies[[0, 4]], [[0.04, 0.34], [10.2, 0.27]], rtol=0.05)
assert bodies.argmax(axis=0).tolist() == [4, 2]

# %% [markdown]
# **The zeros.** Each head learns from its own losses only. The RPN learns nothing from what the
# heads make of its proposals: their corners are passed on as plain numbers, and no gradient goes
# back through those (*approximate joint training*, Ren et al. 2015). All five losses meet in the
# FPN and the backbone. **The sizes.** At the start the masks dominate: 10.2 in the backbone, where
# objectness has 0.04, because they are unlearning their confidence. In the trained model the
# classes push hardest, and the masks, with 0.27, push less than objectness, with 0.34.
#
# ## In the model: watching a run
#
# **Predict.** The five losses fall one after another. Which falls first, and which one *rises* on
# the way? (A trained model is on <a href="explain_shapes.html">the page of every stage</a>.)

# %% tags=["hide-input"]
course = dict(zip(LOSSES, run["losses"].T, strict=True))
show(loss_curves(course), "Masks fall first, then objectness; the box loss rises, then falls")
objectness, _, _, moving, masks = (smoothed(values, 15) for values in course.values())
assert masks[50] < 0.7 and objectness[30] > 0.6 and objectness[80] < 0.13
assert 50 < moving.argmax() < 100 and moving.max() > 2 * moving[10]
assert run["objects"].tolist() == [15, 15, 53, 95, 133, 114, 144, 167]

# %% [markdown]
# **Masks come first**: in training the ground-truth boxes are among the proposals (lesson 12), so
# they need not wait for the RPN. **Then objectness**, between steps 30 and 80. Meanwhile **the box
# loss rises**, and that is good news. It counts only proposals that overlap an object: in six
# images 15 at the start and 133 at step 100, most far from perfect. There is more to correct
# because the stage before is better. So judge a run by AP, not by its losses.
#
# Now the first stage: objectness at the finest level, the 20 best proposals, and the box that the
# RPN makes of the anchor that fits each object best.

# %% tags=["hide-input"]
maps = {f"objectness, step {step}": run["objectness"][i] for step, i in MOMENTS.items()}
for name, key, colour in (("proposals", "proposals", PROPOSAL), ("decoded", "moved", ANCHOR)):
    maps |= {f"{name}, {k}": v for k, v in over_steps(run[key] / 2, colour).items()}
show(picture_row(maps), "Objectness (each map on its own scale), proposals, and decoded boxes")
means = run["objectness"].mean(axis=(1, 2)) / 255
np.testing.assert_allclose(means[[0, 3, 7]], [0.50, 0.28, 0.01], atol=0.006)
fit = [np.diag(box_iou(target["boxes"] * 2, moved)).mean() for moved in run["moved"]]
np.testing.assert_allclose(np.take(fit, [0, 4, 7]), [0.70, 0.53, 0.75], atol=0.006)

# %% [markdown]
# Objectness is one half everywhere at first. By step 50 it has learned one thing, that objects are
# rare: 0.28 on average, with no idea where. Only then does it learn the positions. At the end this
# level is dark, 0.01, except around the small triangle: its anchors are 12 pixels wide, and larger
# objects belong to coarser levels. The anchors fit by an IoU of 0.70 before any learning, and
# **worse after 100 steps of it**, 0.53. At the end they fit by 0.75.
#
# Next the second stage, inside the *ground-truth* boxes, so that the first plays no part: masks of
# two objects, and the probability of the right class.

# %% tags=["hide-input"]
drawings = {
    f"{name}, {step}": run["masks"][i, g]
    for name, g in (("square", 1), ("circle", 3))
    for i, step in enumerate(steps)
}
show(picture_row(drawings, 8, 1.4), "Masks of two objects over the steps: checkered, full, right")
phases = run["masks"].reshape(8, 5, 14, 2, 14, 2).mean(axis=(2, 4)).std(axis=(2, 3)).mean(axis=1)
np.testing.assert_allclose(phases[[0, 4]] / 255, [0.28, 0.01], atol=0.006)
nothing, right = (run["classes"][:, range(5), k].mean(axis=1) for k in (0, target["labels"]))
np.testing.assert_allclose(nothing[[0, 2, 4, 7]], [0.33, 0.56, 0.56, 0.21], atol=0.006)
np.testing.assert_allclose(right[[0, 4, 7]], [0.22, 0.16, 0.48], atol=0.006)

# %% [markdown]
# The first masks are checkered: the transposed convolution writes four pixels with four sets of
# weights, which at first have nothing in common. (Their means spread by 0.28; at step 100, by
# 0.01.) Then a mask is a filled square, then a blob, then an outline. The classes do what
# objectness did. They first learn what is common: most regions are background, and from step 25 to
# 100 even ground-truth boxes get 0.56 of it. The right class falls from 0.22 to 0.16, and then
# rises to 0.48. **First the frequencies, then the differences.**

# %% tags=["hide-input"]
figures = {"recall of 20 proposals": run["recall"], "right class": right}
figures |= {"box AP": run["box_ap"], "mask AP": run["mask_ap"]}
last = curves({n: (run["steps"], v) for n, v in figures.items()}, "step", "share", marks=True)
show(last, "Proposals come right first, then classes; AP, which needs everything, comes last")
assert run["recall"][3] > 0.4 and max(run["box_ap"][3], run["mask_ap"][3]) < 0.04
assert (run["box_ap"][-1].round(2), run["mask_ap"][-1].round(2)) == (0.40, 0.42)

# %% [markdown]
# That answers the question. While the proposals are poor, the heads learn from the ground-truth
# boxes among them. At step 50 the 20 best proposals find more than 0.4 of the objects, and AP
# (lesson 15) is below 0.04. At step 300 it is 0.40 for boxes, 0.42 for masks.
#
# **One image.** Before a long run comes a short one: can the model learn a single image by heart?
# Within 25 steps its loss should fall below a third. If it does not, a gradient is missing, and
# more data will not help. **Predict.** Exchange x and y of every box. Does the loss still fall?

# %%
one = replace(recipe, steps=25, batch_size=1, warmup_steps=5, flip=0.0)
swapped = target | {"boxes": target["boxes"][:, [1, 0, 3, 2]]}
for truth in (target, swapped):
    by_heart = maskrcnn_tiny(num_classes=4, seed=0, min_size=128, max_size=128)
    sums = train_by_hand(by_heart, one, [(image, truth)]).sum(axis=1)
    assert sums[-1] < sums[0] / 3

# %% [markdown]
# It does: the model learns nonsense just as willingly, and only eyes see it. (Overfitting is the
# opposite failure: the losses keep falling, and AP on held-out images does not rise.) **So let
# your runs draw:** `tinymaskrcnn train --steps 300 --out runs/lesson` puts the losses into
# `curve.png`, predictions into `samples/`, and every stage at eight moments into `explain/`.
#
# ## Going deeper: Muon
#
# The recipe replaces the velocity of each layer, a matrix, by one that stretches all directions by
# about 1 (Jordan et al. 2024): rare ones are learned as fast as common ones. In one mask layer's
# gradient, 32 by 288, the first singular value, the largest stretch, is 91 times the sixteenth
# before, and 1.35 times after.

# %% tags=["hide-input"]
show(orthogonal_in_loops)
show(muon_in_loops)
layers = dict(untrained.named_parameters())
matrix = layers["roi_heads.mask_head.1.0.weight"].grad.reshape(32, 288)
singular = [np.linalg.svd(m)[1] for m in (matrix, *orthogonalize([matrix]))]
np.testing.assert_allclose([s[0] / s[15] for s in singular], [91, 1.35], rtol=0.02)

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/14_training.py](exercises/14_training.py); `tinymaskrcnn learn
# 14` checks them.
#
# | exercise | kind | what |
# |---|---|---|
# | `sgd_step` | build | the step that trains |
# | `milestone_rate` | fill | the learning rate of the published runs |
# | `clip_together` | fill | clipping by the norm of all gradients together |
# | `choose_rate` | fill | a learning rate, chosen from short runs |
# | `smoothed_curve` | vectorise | a noisy loss made readable |
# | `adamw_step` | extend | the optimiser of most detectors today |
# | `what_is_broken` | extend | a run that went wrong: find out why from its curves |
#
# ## Recap
#
# Five losses train their own heads and meet in the backbone; each stage learns from the ground
# truth until the one before it delivers. You now own the model, and the process that makes it.
#
# **Common mistakes.** Forgetting to clear the gradients: they add up. Clipping each parameter on
# its own. Judging a run by one loss that rises. One random stream for everything.
#
# **Read next.** `tinymaskrcnn/training/trainer.py`; Goyal et al. 2017 (warm-up),
# https://arxiv.org/abs/1706.02677; Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
# Then lesson 15: what AP measures.
