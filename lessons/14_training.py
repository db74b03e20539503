# %% [markdown]
# # 14 · Training the whole
#
# **Five losses, one sum, one gradient: each step changes all stages at once, and in a few hundred
# steps they become right one after the other, each as soon as the one before it allows.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 01 (gradients), 08 (matching), 09 (proposals), 12 (box head), 13 (mask head) | 50 | 5 |
#
# Afterwards you can
#
# - say what each loss is at the start, and see from it whether a model is set up right;
# - tell which loss changes which part of the model, and which never does;
# - carry out a training step from the parts, so that it agrees with the trainer's to the last bit;
# - read a training run: what must come first, what can only come later, and what went wrong.

# %%
import tempfile
from dataclasses import replace
from math import log

import numpy as np

import tinymaskrcnn as tm
from lessons.figures.diagrams import ANCHOR, DETECTION, PROPOSAL, number_tables
from lessons.figures.plots import curves, picture_row
from lessons.figures.show import show
from lessons.figures.training import boxes_over_steps, loss_curves
from lessons.muon import FACTORS, muon_in_loops, orthogonal_in_loops
from lessons.recorded import recording
from lessons.recorded.training import LOSSES, WATCHED
from lessons.samples import sample_set
from tinymaskrcnn import maskrcnn_tiny
from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.datasets.augment import Augmentation
from tinymaskrcnn.datasets.loader import Loader
from tinymaskrcnn.functional import box_iou
from tinymaskrcnn.ops.orthogonalize.reference import orthogonalize
from tinymaskrcnn.ops.sgd import cpu, reference
from tinymaskrcnn.optim import Muon, clip_scale, grad_norm
from tinymaskrcnn.training import Trainer
from tinymaskrcnn.training.recipes import named
from tinymaskrcnn.training.schedule import learning_rate, make_optimizer
from tinymaskrcnn.viz.curves import smoothed

# %% [markdown]
# ## The question
#
# All stages are there, and none of them knows anything: what a fresh model finds on this picture is
# noise. 300 steps later three of its five objects have a detection that fits by an IoU above 0.8.
# One number went down, the sum of five losses. How can one number teach five stages, of which each
# needs what the one before makes? (The run takes minutes, so it is recorded, with what it saw after
# 0, 10, 25, 50, ... 300 steps: `python -m lessons.recorded.training`.)

# %%
run = recording("training")
steps = run["steps"].tolist()
image, target = sample_set("shapes")[WATCHED]
MOMENTS = {0: 0, 50: 3, 150: 5, 300: 7}  # step: number of the snapshot
assert [steps[i] for i in MOMENTS.values()] == list(MOMENTS)


def over_steps(boxes, colour):
    """The picture at four moments with the boxes (S, n, 4) of each."""
    shown = [boxes[i] for i in MOMENTS.values()]
    return boxes_over_steps(image, shown, list(MOMENTS), target["boxes"], colour)


best = picture_row(over_steps(run["boxes"][:, :5], DETECTION))
show(best, "The five best detections at four moments: noise, then three that fit the true boxes")
fits = box_iou(target["boxes"], run["boxes"][-1, :5]).max(axis=1)
assert (fits > 0.8).tolist() == [False, True, False, True, True]

# %% [markdown]
# ## By hand
#
# **What does it cost to know nothing?** If every logit is 0, objectness says one half about every
# anchor, and pays ln 2 = 0.693 for each, whatever it is. Four classes (three shapes and the
# background) get a quarter each: ln 4 = 1.386. A mask says one half for every pixel: ln 2 again.
# Set three last layers of a fresh model to zero, and these are its losses.

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
assert round(float(t["roi.mask_logits"].std()), 1) == 6.6

# %% [markdown]
# Before we did that, the fresh model had 0.69, 0.05, 1.26, 0.38 and 2.21. The RPN's last layer
# starts with tiny weights: its logits are nearly 0, and it pays ln 2. The classifier's are larger,
# its 1.26 is ln 4 = 1.39, give or take chance. **The masks pay three times ln 2**: their last layer
# starts with the weights of a layer inside a network (as torchvision's does), and the logits, with
# a standard deviation of 6.6, are *sure of something* that no one told them. To be sure and wrong
# costs more than to know nothing. To look at the first losses is the cheapest test there is.
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
# | c | `clip_norm`: longest gradient, all parameters together | 5 |
# | v, m | velocity, `momentum` | 0.9 |
# | d | `weight_decay`, of matrices only | 0.001 |
# | η, T_w, T | `lr`, `warmup_steps`, `steps` | 0.05, 100, 2000 (recorded: 300) |
#
# **Clipping**: one odd picture must not throw the weights far away. **Momentum**: a gradient of
# eight pictures is noisy; the velocity sums up ten steps, in which noise cancels. **Warm-up**: the
# first gradients are the largest and the worst (the masks!), so steps are short. **The rate's
# fall**: at the end the weights only jitter. The first gradient recorded is 37.8 long, nearly eight
# times what clipping lets through; after step 200 few are cut.

# %%
recipe = named("shapes")
rates = [learning_rate(replace(recipe, steps=300), step) for step in range(300)]
np.testing.assert_allclose(rates, run["rates"], rtol=1e-6)
left = np.minimum(1, recipe.clip_norm / run["norms"])
shares = {"of the full rate": run["rates"] / recipe.lr, "of the gradient, clipped": left}
drawn = curves({name: (np.arange(300), line) for name, line in shares.items()}, "step", "share")
show(drawn, "The rate rises for 100 steps and falls as a cosine; clipping acts at the start")
assert run["norms"][0].round(1) == 37.8
assert (left[:15] < 0.5).all() and (left[200:] == 1).mean() > 0.85
assert sum(parameter.data.size for parameter in fresh.parameters()) == 861_335

# %% [markdown]
# ## One item, in loops: one number
#
# Momentum on paper: a weight of 1 whose gradient is always 1, a rate of 0.1, a momentum of 0.9. The
# velocity is 1, then 0.9 + 1 = 1.9, then 1.71 + 1 = 2.71: the weight goes to 0.9, 0.71, 0.439. In
# the end the velocity is 10: where all gradients agree, steps become ten times as long.


# %%
def sgd_one(weight, grads, lr, momentum, decay=0.0, scale=1.0):
    """One number after a step for each of its gradients; scale is what clipping leaves of them."""
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
# **Muon.** The recipe goes one step further. The velocity of a layer is a matrix, in which a few
# directions are long, those that most pictures agree on; what is rare is short, and learnt slowly.
# Muon (Jordan et al. 2024) replaces it by a matrix whose directions are about equally long. Their
# lengths are its singular values, and no one has to compute them: X X' X has the same directions,
# and the cubes of the lengths. So a x + b x³ + c x⁵ of a *matrix* is that of each length x, and
# five times the right one brings all that are not tiny to about 1. On paper: a matrix with 3 and 4
# on its diagonal has the norm 5. Divided by it, the lengths are 0.6 and 0.8. The first turn makes
# 1.19 and 0.98 of them, the fifth 0.72 and 1.12: about 1 is enough. Of the gradient of one mask
# convolution, 32 by 288, the largest is 91 times the sixteenth before, and 1.35 times after. The
# gradient's size no longer matters, unless it is nearly 0.

# %%
show(orthogonal_in_loops)
show(muon_in_loops)
turns = [np.array([0.6, 0.8])]
for _ in range(5):
    turns.append(sum(factor * turns[-1] ** k for k, factor in zip((1, 3, 5), FACTORS, strict=True)))
np.testing.assert_allclose(turns[1::4], [[1.19, 0.98], [0.72, 1.12]], atol=5e-3)
np.testing.assert_allclose(np.diag(orthogonal_in_loops([[3, 0], [0, 4]])), turns[-1])
untrained = maskrcnn_tiny(num_classes=4, seed=0).train()
sum(untrained([image], [target], np.random.default_rng(0)).values()).backward()
layer = dict(untrained.named_parameters())["roi_heads.mask_head.1.0.weight"]
matrix = layer.grad.reshape(32, 288)
singular = [np.linalg.svd(m)[1] for m in (matrix, *orthogonalize([matrix]))]
np.testing.assert_allclose([s[0] / s[15] for s in singular], [91, 1.35], rtol=0.02)
few = matrix[:4, :9]
np.testing.assert_allclose(orthogonal_in_loops(few), *orthogonalize([few]), atol=1e-4)
show(Muon)

# %% [markdown]
# **And the whole step?** After three of them all weights are the package trainer's **to the last
# bit**: what is random comes from seed and step, and no thread decides the order of a sum.


# %%
def train_by_hand(model, recipe, pictures):
    """Change the model as the recipe says; returns each step's losses."""
    optimizer = make_optimizer(model.train(), recipe)
    batches = iter(Loader(pictures, recipe.batch_size, recipe.seed, Augmentation(recipe.flip)))
    seen = []
    for step in range(recipe.steps):
        batch = next(batches)
        rngs = np.random.default_rng((recipe.seed, 2, step)).spawn(recipe.batch_size)
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
# ## The CPU kernel
#
# Memory limits the update, not arithmetic. NumPy makes several passes of it; the kernel makes one.

# %%
show(cpu._sgd_step)

# %% [markdown]
# ## The gradient: what each loss pushes on
#
# One loss at a time goes backward. How long is the gradient in each part of the model?

# %%
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


tables = {"fresh": pushes(untrained), "trained": pushes(tm.load_model("shapes"))}
columns = ("body", "pyramid", "RPN", "box branch", "mask branch")
rows = [name.removeprefix("loss_") for name in LOSSES]
show(number_tables(tables, "{:.2f}", rows, columns), "Norm of each loss's gradient in each part")
reached = np.array([[1, 1, 1, 0, 0]] * 2 + [[1, 1, 0, 1, 0]] * 2 + [[1, 1, 0, 0, 1]])
assert all(((table > 0) == reached).all() for table in tables.values())
bodies = np.column_stack([table[:, 0] for table in tables.values()])
np.testing.assert_allclose(bodies[[0, 4]], [[0.04, 0.34], [10.2, 0.27]], rtol=0.05)
assert bodies.argmax(axis=0).tolist() == [4, 2]

# %% [markdown]
# **The zeros.** Each branch learns from its own losses only. The RPN learns nothing from what the
# heads make of its proposals: their corners are handed on as plain numbers, through which no
# gradient goes back (*approximate joint training*: Ren et al. 2015). All five meet in the pyramid
# and the body. **The sizes.** At the start the masks have the say: 10.2 in the body, where
# objectness has 0.04, for they unlearn their confidence. In the trained model the classes push
# hardest, and the masks, with 0.27, less than objectness, with 0.34.
#
# ## In the model: a run, watched

# %%
course = dict(zip(LOSSES, run["losses"].T, strict=True))
show(loss_curves(course), "Masks fall first, then objectness; the boxes' loss rises, then falls")
objectness, _, _, moving, masks = (smoothed(values, 15) for values in course.values())
assert masks[50] < 0.7 and objectness[30] > 0.6 and objectness[80] < 0.13
assert 50 < moving.argmax() < 100 and moving.max() > 2 * moving[10]
assert run["objects"].tolist() == [15, 15, 53, 95, 133, 114, 144, 167]

# %% [markdown]
# **Masks first**: they do not wait for the RPN, for in training the true boxes are among the
# proposals (lesson 12). **Then objectness**, between steps 30 and 80. **The boxes' loss rises**
# meanwhile, and that is good news. It counts only proposals that lie on an object: 15 of all
# proposals of six pictures at the start, 133 at step 100, most far from perfect. There is more to
# mend because the stage before is better. So runs are judged by AP, not by losses.
#
# The first stage: objectness of the finest level, the 20 best proposals, and where the RPN moves
# the anchor that fits an object best.

# %%
maps = {f"objectness, step {step}": run["objectness"][i] for step, i in MOMENTS.items()}
for name, colour in (("proposals", PROPOSAL), ("moved", ANCHOR)):
    maps |= {f"{name}, {k}": v for k, v in over_steps(run[name] / 2, colour).items()}
show(picture_row(maps), "Objectness (each map in its own range), proposals, and moved anchors")
means = run["objectness"].mean(axis=(1, 2)) / 255
np.testing.assert_allclose(means[[0, 3, 7]], [0.50, 0.28, 0.01], atol=0.006)
fit = [np.diag(box_iou(target["boxes"] * 2, moved)).mean() for moved in run["moved"]]
np.testing.assert_allclose(np.take(fit, [0, 4, 7]), [0.70, 0.53, 0.75], atol=0.006)

# %% [markdown]
# *Objectness* is one half everywhere at first. By step 50 it has learnt one thing, that objects are
# rare: 0.28 on average, and no idea where. Only then come the places. At the end this level is
# dark, 0.01, but around the small triangle: its anchors are 12 pixels wide, and larger objects
# belong to coarser levels. The *anchors* fit by 0.70 before they are moved, and **worse after 100
# steps of learning**, 0.53: wrong for many before right for each. At the end it is 0.75.
#
# The second stage, inside the *true* boxes, so that the first has no part in it: masks of two
# objects, and the probability of the right class.

# %%
drawings = {
    f"{name}, {step}": run["masks"][i, g]
    for name, g in (("square", 1), ("circle", 3))
    for i, step in enumerate(steps)
}
show(picture_row(drawings, 8, 1.4), "Masks of two objects over the steps: checkered, full, true")
phases = run["masks"].reshape(8, 5, 14, 2, 14, 2).mean(axis=(2, 4)).std(axis=(2, 3)).mean(axis=1)
np.testing.assert_allclose(phases[[0, 4]] / 255, [0.28, 0.01], atol=0.006)
nothing, right = (run["classes"][:, range(5), k].mean(axis=1) for k in (0, target["labels"]))
np.testing.assert_allclose(nothing[[0, 2, 4, 7]], [0.33, 0.56, 0.56, 0.21], atol=0.006)
np.testing.assert_allclose(right[[0, 4, 7]], [0.22, 0.16, 0.48], atol=0.006)

# %% [markdown]
# The first masks are checkered: the transposed convolution writes four pixels with four sets of
# weights, which at first have nothing to do with each other. (Their means differ by 0.28, at step
# 100 by 0.01.) Then a mask is a filled square, then a blob, then an outline.
# The classes do what objectness did. They first learn what is common: most regions are background,
# and from step 25 to 100 even true boxes get 0.56 of it. The right class falls from 0.22 to 0.16,
# and then rises to 0.48. **First the frequencies, then the differences.**

# %%
figures = {"recall of 20 proposals": run["recall"], "right class": right}
figures |= {"box AP": run["box_ap"], "mask AP": run["mask_ap"]}
last = curves({n: (run["steps"], v) for n, v in figures.items()}, "step", "share", marks=True)
show(last, "Proposals become right first, then classes; AP, which needs all, comes last")
assert run["recall"][3] > 0.4 and max(run["box_ap"][3], run["mask_ap"][3]) < 0.04
assert (run["box_ap"][-1].round(2), run["mask_ap"][-1].round(2)) == (0.40, 0.42)

# %% [markdown]
# That answers the question. While the proposals are poor, the heads learn on the true boxes that
# are added. At step 50 the 20 best proposals find more than 0.4 of the objects, and AP is below
# 0.04. At step 300 it is 0.40 for boxes and 0.42 for masks. (The shipped model had 2000 steps.)
#
# **One picture.** Before a long run comes a short one: can the model learn a single picture by
# heart? In 25 steps its loss should fall below a third. If it does not, a gradient is missing, and
# more data will not help. What does this test not see? Exchange x and y of all true boxes.

# %%
one = replace(recipe, steps=25, batch_size=1, warmup_steps=5, flip=0.0)
swapped = target | {"boxes": target["boxes"][:, [1, 0, 3, 2]]}
for truth in (target, swapped):
    by_heart = maskrcnn_tiny(num_classes=4, seed=0, min_size=128, max_size=128)
    sums = train_by_hand(by_heart, one, [(image, truth)]).sum(axis=1)
    assert sums[-1] < sums[0] / 3

# %% [markdown]
# It learns that as willingly: only eyes see it. (Overfitting is the opposite failure: losses fall
# on, and the AP of held-back pictures does not rise any more.) **So there is a command that
# shows:** `tinymaskrcnn train --steps 300 --out runs/lesson`. In `runs/lesson` are then `curve.png`
# with the losses, `metrics.jsonl` with every step's numbers, `samples/` with predictions beside the
# truth, and `explain/index.html`, in which a slider goes through every stage at eight moments.
#
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
# | `smoothed_curve` | vectorise | a noisy loss made readable |
# | `adamw_step` | extend | the optimiser of most detectors of today |
#
# ## Recap
#
# Five losses push on their own branches and meet in the body; each stage learns from the truth
# until the one before it delivers. You now own the whole model, and the process that makes it.
#
# **Common mistakes.** Forgetting to clear the gradients: they add up. Clipping each parameter by
# itself. Judging a run by one loss that rises. One stream of random numbers for everything.
#
# **Read next.** `tinymaskrcnn/training/trainer.py`; Goyal et al. 2017 (warm-up),
# https://arxiv.org/abs/1706.02677; Jordan et al. 2024 (Muon),
# https://kellerjordan.github.io/posts/muon/. Then lesson 15: what AP measures.
