# %% [markdown]
# # 16 · Your own images
#
# **Start with six images of cell nuclei and a folder of masks, and end with a model that finds
# nuclei it has never seen. On the way lie the two places where such projects die: the annotations,
# and the first minute of training.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | masks and boxes (lesson 06), training (14), AP (15) | 40 | 5 |
#
# Afterwards you can
#
# - convert another tool's annotations into the format that training reads;
# - find what is wrong with them before a model has learned it;
# - start from weights trained on something else, and say which of them are kept;
# - tell within a minute whether training is going the right way.

# %% tags=["hide-input"]
import contextlib
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lessons.figures.architecture import architecture
from lessons.figures.diagrams import DETECTION, GROUND_TRUTH, boxes_on_picture, number_tables
from lessons.figures.plots import curves
from lessons.figures.show import show
from lessons.samples import sample_set
from tinymaskrcnn import load_model, rle_tools
from tinymaskrcnn.cli import main
from tinymaskrcnn.datasets import CocoDataset
from tinymaskrcnn.evaluation import evaluate
from tinymaskrcnn.training import Trainer
from tinymaskrcnn.training.initial_weights import initial_model
from tinymaskrcnn.training.recipes import named
from tinymaskrcnn.training.run_folder import read_rows

show(architecture("image", "ground truth"), "In Mask R-CNN: image, ground truth")

# %% [markdown]
# ## Before you read
#
# So far: you can train a model, and say how good it is.
#
# 1. What should the losses of a fresh model be, and what does it mean if they are larger (lesson
#    14)?
# 2. How do you test, in 25 steps, that every gradient gets through (lesson 14)?
# 3. Two models differ by 0.05 of AP75 on six images. Which is better (lesson 15)?
#
# <details><summary>Answers</summary>
#
# 1. What it costs to know nothing, such as ln 2 for objectness. More means that it is sure of
#    something nobody taught it.
# 2. Let the model learn a single image by heart.
# 3. You cannot tell. On so few images the difference may be luck.
#
# </details>
#
# ## The question
#
# The shipped model `shapes` knows squares, circles and triangles in drawn images. Now show it
# nuclei under a microscope (in green, what a person outlined). It calls some of them circles, which
# is not stupid. But nobody wants circles. How many images does it take to make it look for nuclei?

# %% tags=["hide-input"]
nuclei = sample_set("nuclei")
shapes_model = load_model("shapes")
image, truth = nuclei[5]
(seen,) = shapes_model.detect([image])
guesses = seen.above(0.5)
captions = [shapes_model.classes[label - 1] for label in guesses.labels]
before = boxes_on_picture(
    image,
    (truth["boxes"], GROUND_TRUTH, [""] * len(truth["boxes"])),
    (guesses.boxes, DETECTION, captions),
)
show(before, "Nuclei in green, and what a model that knows three shapes makes of them")
assert len(truth["boxes"]) == 6

# %% [markdown]
# ## By hand
#
# What a person says about an image, the class, box and mask of each object, is its *annotation*.
# Files do not store masks as pixels, but as outlines or in *run-length encoding* (RLE): how many
# zeros, how many ones, how many zeros, and so on. COCO counts **down the columns**, and always
# begins with the zeros.
#
# In the mask below, the first column has three zeros, the second has two ones and a zero, the third
# three ones, and the last three zeros. So: 3 zeros, 2 ones, 1 zero, 3 ones, 3 zeros.

# %% tags=["hide-input"]
small = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]], bool)
show(number_tables({"a mask": small}, "{:.0f}"), "A mask of three rows and four columns")
assert small.size == 3 + 2 + 1 + 3 + 3 and small.sum() == 2 + 3

# %% [markdown]
# ## One item, in loops


# %%
def run_lengths(mask):
    """COCO's uncompressed run lengths of one mask (H, W)."""
    counts, value = [0], False
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if mask[y, x] != value:
                counts.append(0)
                value = not value
            counts[-1] += 1
    return counts


assert run_lengths(small) == [3, 2, 1, 3, 3]
assert run_lengths(~small)[0] == 0  # it begins with a one, so there are no zeros first

# %% [markdown]
# `rle_tools` is pycocotools where it is installed, and writes the numbers as text. Both agree:

# %%
one_mask = truth["masks"][0]
given = {"size": list(one_mask.shape), "counts": run_lengths(one_mask)}
compressed = rle_tools.frPyObjects(given, *one_mask.shape)
np.testing.assert_array_equal(rle_tools.decode(compressed), one_mask)
print(f"{one_mask.size} pixels, {len(given['counts'])} counts, {len(compressed['counts'])} bytes")

# %% [markdown]
# ## In the model
#
# **Convert.** Suppose the images come as microscopists share them: one folder per image, with the
# image in `images/` and one black-and-white file per nucleus in `masks/`. We train on four folders
# and hold two back. (What the shipped model makes of such an image, stage by stage, is on
# <a href="explain_nuclei.html">the page of every stage</a>.)

# %% tags=["hide-input"]
scratch = tempfile.TemporaryDirectory()
work = Path(scratch.name)


def write_folders(part, numbers):
    """Write the images as folders, like those of the 2018 Data Science Bowl."""
    for i in numbers:
        pixels, target = nuclei[i]
        folder = work / part / f"cell_{i}"
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
        grey = np.uint8(255 * pixels[0] + 0.5)
        Image.fromarray(grey).save(folder / "images" / f"cell_{i}.png")
        for k, mask in enumerate(target["masks"]):
            Image.fromarray(255 * mask).save(folder / "masks" / f"{k}.png")


def command(*words):
    """Run `tinymaskrcnn WORDS`; return its exit status and what it printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main([str(word) for word in words])
    print(said.getvalue().replace(f"{work}/", "").strip())
    return status, said.getvalue()


for part, numbers in {"train": range(4), "val": range(4, 6)}.items():
    write_folders(part, numbers)
    out = work / f"{part}.json"
    status, said = command("convert", work / part, "--class", "nucleus", "--out", out)
    assert status == 0 and f"nucleus {sum(len(nuclei[i][1]['labels']) for i in numbers)}" in said

# %% [markdown]
# The same command reads VIA, labelme, images of instance ids, and COCO files that need repair. It
# recognises the format, and says what it leaves out.
#
# **Check.** Nothing is more expensive than a model that has learned wrong annotations well. So look
# before you train. Here are two faults that real files have: a box that does not fit its mask, and
# a class number that belongs to no class.

# %%
clean = command("check-data", work / "train.json", "--sheet", work / "sheet.png")
assert clean[0] == 0 and "train chooses: anchors that overlap" in clean[1]
show(Image.open(work / "sheet.png").convert("RGB"), "The sheet of check-data: every object drawn")
damaged = json.loads((work / "val.json").read_text())
damaged["annotations"][0]["bbox"][0] += 30
damaged["annotations"][3]["category_id"] = 7
(work / "damaged.json").write_text(json.dumps(damaged))
faulty = command("check-data", work / "damaged.json", "--sheet", work / "damaged.png")
assert faulty[0] == 2
assert "a box far from its mask (1)" in faulty[1] and "unknown categories (1)" in faulty[1]

# %% [markdown]
# The report names both faults, with the id of the annotation and what is wrong with it; exit status
# 2 stops a script. The last lines of the first report are about anchors (lesson 07). Nuclei are
# smaller than shapes, and some of the smallest have no standard anchor with an IoU of a half. So
# `train` would choose other sizes, and the report says how well those cover the boxes.
#
# The third fault is one that nobody notices, because it makes the numbers better: *data leakage*,
# an image that you train on *and* evaluate on.

# %%
leaky = json.loads((work / "val.json").read_text())
leaky["images"][0]["file_name"] = "train/cell_0/images/cell_0.png"
(work / "leaky.json").write_text(json.dumps(leaky))
sheets = work / "leaky.png"
leak = command("check-data", work / "train.json", work / "leaky.json", "--sheet", sheets)
assert "train/val leak" in leak[1] and "cell_0.png" in leak[1]

# %% [markdown]
# **Train.** Of the weights of `shapes` we keep everything that does not depend on the classes: the
# backbone, the FPN, the RPN, and the heads up to their last layers. Edges, sizes and "here is a
# thing" are the same everywhere. Only the layers that choose between squares, circles and triangles
# are made anew, for one class. Going on from such weights is called *fine-tuning*.
#
# We train for thirty steps of two images, once from there and once from random weights. *Data
# augmentation* makes the four images go further: each is flipped at random.
#
# **Predict.** Both runs start with new last layers. Whose loss is lower after thirty steps, and by
# how much?

# %%
recipe = replace(
    named("small"), steps=30, batch_size=2, warmup_steps=5, ema=0.0, vertical_flip=0.5, lr=0.03
)
train_set, val_set = (CocoDataset(work / f"{part}.json") for part in ("train", "val"))
fresh = initial_model("shapes", recipe, train_set.classes)
kept = fresh.state_dict()
same = [n for n, v in shapes_model.state_dict().items() if np.array_equal(v, kept[n])]
anew = sorted(set(kept) - set(same))
print(f"{len(same)} arrays kept, made anew: {', '.join(anew)}")
assert all("predictor" in name for name in anew)


def trained(weights):
    """Train by the recipe; return the model and its losses, step by step."""
    model = initial_model(weights, recipe, train_set.classes)
    run = work / f"from_{weights}"
    Trainer(model, train_set, None, recipe, run, show_progress=False).run()
    return model.eval(), np.array([row["loss"] for row in read_rows(run / "metrics.jsonl")])


runs = {"from shapes": trained("shapes"), "from random weights": trained(None)}
steps = np.arange(1, 31)
falls = {name: (steps, losses) for name, (_, losses) in runs.items()}
show(curves(falls, "step", "sum of the five losses"), "The loss over thirty steps, from two starts")
for _, losses in runs.values():
    assert losses[-5:].mean() < losses[:5].mean()
assert runs["from shapes"][1][-5:].mean() < runs["from random weights"][1][-5:].mean()

# %% [markdown]
# Both fall. That is the question of the first minute; if the answer is no, the learning rate is too
# high or the annotations are wrong. The second question is what the two models can do. We compare
# them with the shipped model `nuclei`: the same architecture after a full run on 186 other images
# (tinymaskrcnn/pretrained/README.md has the command).

# %% tags=["hide-input"]
models = {name: model for name, (model, _) in runs.items()} | {"a full run": load_model("nuclei")}
ap50 = {}
for name, model in models.items():
    ap50[name] = evaluate(model, val_set)["segm"]["AP50"]
    print(f"{name:<20} mask AP50 {ap50[name]:.3f} on the two held-back images")
(now,) = models["from shapes"].detect([image])
best = now[:6]
after = boxes_on_picture(
    image,
    (truth["boxes"], GROUND_TRUTH, [""] * len(truth["boxes"])),
    (best.boxes, DETECTION, [f"{score:.2f}" for score in best.scores]),
)
show(after, "The same image after thirty steps: the six boxes with the highest scores")
assert ap50["from shapes"] > ap50["from random weights"]
assert ap50["a full run"] > 0.9
scratch.cleanup()

# %% [markdown]
# Two images tell little (lesson 15), but the order is clear: thirty steps from `shapes` beat thirty
# from nothing, and a full run beats both. On the command line the same is
#
# ```sh
# tinymaskrcnn train --data train.json --val val.json --weights shapes --out runs/mine
# ```
#
# On a CPU, more data helps more than more steps: flips, `--set transpose=0.5` and
# `--set copy_paste=0.5` get more out of the images that you have.
#
# ## Going deeper: a project of your own
#
# An evening's work, and the best test of what you have learned.
#
# 1. **Photograph** one kind of thing: keys, leaves, coins. Three photos, each with several of them.
# 2. **Label** two of the photos: outline each object in a tool such as labelme, or read off its
#    corners in any image viewer, and let your `coco_document` (an exercise) write the file. Keep
#    the third photo for the test. `tinymaskrcnn convert` reads labelme's files.
# 3. **Check**: `tinymaskrcnn check-data mine.json --sheet sheet.png`. Look at the sheet.
# 4. **Train**: `tinymaskrcnn train --data mine.json --weights shapes --steps 100 --out runs/mine`.
#    What must the losses be at the start? Do they fall in the first minute?
# 5. **Predict**: `tinymaskrcnn predict photo3.jpg --weights runs/mine`, and the same for a photo
#    that it was trained on. If it finds the objects only there, it has learned two images by heart.
#    Label two more, and see how far that gets you.
#
# ## Exercises
#
# Write them in [lessons/exercises/16_own_pictures.py](exercises/16_own_pictures.py), in any order.
# `tinymaskrcnn learn 16` says which one is next and, for a wrong answer, shows the smallest input
# on which it fails.
#
# | exercise | kind | what |
# |---|---|---|
# | `polygon_area` | fill | the area that a file should have stated |
# | `masks_of_ids` | fill | masks from an image of instance ids |
# | `coco_document` | fill | the file that training reads, from your own outlines |
# | `mask_of_counts` | vectorise | a mask from its run lengths |
# | `separate_pieces` | extend | objects that share a value, taken apart |
#
# ## Recap
#
# You now own the way from a folder of images to a model of them: convert, check, start from
# trained weights, watch the first minute, and measure on what was held back.
#
# **Common mistakes.** Splitting images at random when several show the same thing: neighbouring
# parts of a slide belong on the same side. Class numbers that begin at 0. Run lengths along rows.
# Training before looking. Evaluating on what was trained on, and being happy.
#
# **Read next.** `tinymaskrcnn/datasets/checking.py` and `tinymaskrcnn/datasets/coco_objects.py`:
# every fault that is known. `tinymaskrcnn/training/initial_weights.py`: which weights are kept.
# Then lesson 16b: the same weights in another program.
