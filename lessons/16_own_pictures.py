# %% [markdown]
# # 16 · Your own pictures
#
# **Six pictures of cell nuclei and a folder of masks: from there to a model that finds nuclei it
# has never seen, by way of the two places where such projects die, the annotations and the first
# minute of training.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | masks and boxes (lesson 06), training (14), AP (15) | 35 | 4 |
#
# Afterwards you can
#
# - bring annotations of another tool into the form that training reads;
# - find what is wrong with them before a model has learnt it;
# - start from weights that have seen something else, and say what of them is kept;
# - tell in the first minute whether training goes the right way.

# %%
import contextlib
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle_tools

from lessons.figures.diagrams import DETECTION, GROUND_TRUTH, boxes_on_picture, number_tables
from lessons.figures.plots import curves
from lessons.figures.show import show
from lessons.samples import sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.cli import main
from tinymaskrcnn.datasets import CocoDataset
from tinymaskrcnn.evaluation import evaluate
from tinymaskrcnn.training import Trainer
from tinymaskrcnn.training.initial_weights import initial_model
from tinymaskrcnn.training.recipes import named
from tinymaskrcnn.training.run_folder import read_rows

# %% [markdown]
# ## The question
#
# The shipped model `shapes` knows squares, circles and triangles, on generated pictures. Show it
# nuclei under a microscope (green: what a person outlined). Some it calls circles, which is not
# stupid. But nobody wants circles. How many pictures does it take to make it look for nuclei?

# %%
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
show(before, "Nuclei in green, and what a model of squares, circles and triangles makes of them")
assert len(truth["boxes"]) == 6

# %% [markdown]
# ## By hand
#
# Files do not hold masks as pixels, but as outlines or as *run lengths*: how many zeros, how many
# ones, how many zeros, and so on. COCO counts **down the columns**, and always begins with the
# zeros.
#
# Below, the first column has three zeros, the second one two ones and a zero, the third three ones,
# the last three zeros. So: 3 zeros, 2 ones, 1 zero, 3 ones, 3 zeros.

# %%
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
assert run_lengths(~small)[0] == 0  # begins with a one: no zeros first

# %% [markdown]
# pycocotools has the same in C, with the numbers written as text. For a real nucleus both say the
# same.

# %%
one_mask = truth["masks"][0]
given = {"size": list(one_mask.shape), "counts": run_lengths(one_mask)}
compressed = rle_tools.frPyObjects(given, *one_mask.shape)
np.testing.assert_array_equal(rle_tools.decode(compressed), one_mask)
print(f"{one_mask.size} pixels, {len(given['counts'])} counts, {len(compressed['counts'])} bytes")

# %% [markdown]
# ## In the model
#
# **Convert.** Say the pictures came as microscopists share them: a folder for each, with the
# picture in `images/` and one black and white file for every nucleus in `masks/`. Four folders to
# train on, two held back.

# %%
scratch = tempfile.TemporaryDirectory()
work = Path(scratch.name)


def write_folders(part, numbers):
    """The pictures as folders, like those of the 2018 Data Science Bowl."""
    for i in numbers:
        picture, target = nuclei[i]
        folder = work / part / f"cell_{i}"
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
        grey = np.uint8(255 * picture[0] + 0.5)
        Image.fromarray(grey).save(folder / "images" / f"cell_{i}.png")
        for k, mask in enumerate(target["masks"]):
            Image.fromarray(255 * mask).save(folder / "masks" / f"{k}.png")


def command(*words):
    """Run `tinymaskrcnn WORDS`: its exit status, and what it said."""
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
# The same command reads VIA, labelme, pictures of instance ids, and COCO files that need mending.
# It recognises which, and says what it leaves out.
#
# **Check.** Nothing costs more than a model that has learnt wrong annotations well. So before
# training, look. Here are two faults that real files have: a box that does not fit its mask, and a
# class number that no class has.

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
# Both faults are named, with the number of the annotation and what is wrong with it; status 2 stops
# a script. The last lines of the first report speak of *anchors* (lesson 07): nuclei are smaller
# than shapes, and of the smallest some have no usual anchor that overlaps them by half. So `train`
# would choose other sizes, and the report says how well those cover the boxes of these pictures.
#
# The third fault is the one that nobody sees in the figures, because it makes them better: a
# picture that is trained on *and* evaluated on.

# %%
leaky = json.loads((work / "val.json").read_text())
leaky["images"][0]["file_name"] = "train/cell_0/images/cell_0.png"
(work / "leaky.json").write_text(json.dumps(leaky))
sheets = work / "leaky.png"
leak = command("check-data", work / "train.json", work / "leaky.json", "--sheet", sheets)
assert "train/val leak" in leak[1] and "cell_0.png" in leak[1]

# %% [markdown]
# **Train.** From the weights of `shapes` everything is kept that does not depend on the classes:
# the backbone, the pyramid, the region proposals, and all of the heads but their last layers.
# Edges, sizes and "here is a thing" are the same everywhere. What decides between squares, circles
# and triangles is made anew, for one class.
#
# Thirty steps of two pictures, from there and, beside it, from random weights.

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
    """A model after the recipe, and its losses step by step."""
    model = initial_model(weights, recipe, train_set.classes)
    run = work / f"from_{weights}"
    Trainer(model, train_set, None, recipe, run, show_progress=False).run()
    return model.eval(), np.array([row["loss"] for row in read_rows(run / "metrics.jsonl")])


runs = {"from shapes": trained("shapes"), "from random weights": trained(None)}
steps = np.arange(1, 31)
falls = {name: (steps, losses) for name, (_, losses) in runs.items()}
show(curves(falls, "step", "sum of the five losses"), "The loss of thirty steps from two starts")
for _, losses in runs.values():
    assert losses[-5:].mean() < losses[:5].mean()

# %% [markdown]
# Both fall; that is the first minute's question, and if the answer is no, the learning rate is too
# high or the annotations are wrong. The second question is what the two can do. For comparison the
# shipped model `nuclei`, which is the same architecture after a whole run on 186 other pictures
# (its command stands in tinymaskrcnn/pretrained/README.md).

# %%
models = {name: model for name, (model, _) in runs.items()} | {"a whole run": load_model("nuclei")}
ap50 = {}
for name, model in models.items():
    ap50[name] = evaluate(model, val_set)["segm"]["AP50"]
    print(f"{name:<20} mask AP50 {ap50[name]:.3f} on the two held-back pictures")
(now,) = models["from shapes"].detect([image])
best = now[:6]
after = boxes_on_picture(
    image,
    (truth["boxes"], GROUND_TRUTH, [""] * len(truth["boxes"])),
    (best.boxes, DETECTION, [f"{score:.2f}" for score in best.scores]),
)
show(after, "The same picture after thirty steps: the six surest boxes and their scores")
assert ap50["from shapes"] > ap50["from random weights"]
assert ap50["a whole run"] > 0.9
scratch.cleanup()

# %% [markdown]
# Two pictures tell little (lesson 15), but the order is plain: thirty steps from shapes are ahead
# of thirty from nothing, and a whole run is ahead of both. From the command line the same is
#
# ```sh
# tinymaskrcnn train --data train.json --val val.json --weights shapes --out runs/mine
# ```
#
# Without your own GPU, more pictures are worth more than more steps: flips, `--set transpose=0.5`,
# `--set copy_paste=0.5` make more of those that there are.
#
# ## Exercises
#
# Write them in [lessons/exercises/16_own_pictures.py](exercises/16_own_pictures.py), in any order.
# `tinymaskrcnn learn 16` tells which one is next and, for a wrong answer, the smallest input on
# which it fails.
#
# | exercise | kind | what |
# |---|---|---|
# | `polygon_area` | fill | the area that a file should have stated |
# | `masks_of_ids` | fill | masks from a picture of instance ids |
# | `mask_of_counts` | vectorise | a mask from its run lengths |
# | `separate_pieces` | extend | objects that share a value, taken apart |
#
# ## Recap
#
# You now own the way from a folder of pictures to a model of them: convert, check, start from what
# is there, watch the first minute, measure on what was held back.
#
# **Common mistakes.** Splitting pictures at random where several show the same thing: neighbours of
# a slide belong to one side. Class numbers that begin at 0. Run lengths along rows. Training before
# looking. Evaluating on what was trained on, and being happy.
#
# **Read next.** `tinymaskrcnn/datasets/checking.py` and `tinymaskrcnn/datasets/coco_objects.py`:
# every fault that is known. `tinymaskrcnn/training/initial_weights.py`: what is kept of other
# weights. Then lesson 17: why this took seconds, not hours.
