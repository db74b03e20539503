"""Checks of lesson 14: training the whole model."""

import numpy as np
from hypothesis import strategies as st

from lessons.checking import Law, Task, mistakes
from lessons.checking.strategies import arrays
from lessons.figures.plots import curves
from lessons.recorded import recording
from lessons.recorded.broken import RUNS


def milestone_rate(step, lr, warmup, milestones):
    rate = lr
    for milestone in milestones:
        if step >= milestone:
            rate = rate / 10
    if step < warmup:
        share = step / warmup
        rate = rate * (0.001 * (1 - share) + share)
    return rate


@st.composite
def schedules(draw):
    warmup = draw(st.integers(0, 5))
    first = draw(st.integers(max(warmup, 1), 9))
    milestones = [first, first + draw(st.integers(1, 5))][: draw(st.integers(0, 2))]
    return draw(st.integers(0, 16)), draw(st.sampled_from([1.0, 0.02])), warmup, milestones


MILESTONE_RATE = Task(
    name="milestone_rate",
    kind="fill",
    specification=milestone_rate,
    cases=schedules(),
    examples=[(5, 1.0, 0, [5]), (0, 1.0, 4, []), (9, 1.0, 0, [5, 9]), (2, 1.0, 4, [])],
    after="In this form, the paper's run has lr 0.02, and milestones at 120 000 and 160 000 of 180 "
    "000 steps. A cosine has no milestones to choose, which is why the recipes here use it.",
    link="tinymaskrcnn/training/schedule.py",
    hints=(
        "Two factors that have nothing to do with each other: the warm-up, and the tenths.",
        "The warm-up factor goes in a straight line from 0.001 at step 0 to 1 at step "
        "`warmup`, and stays 1. The other is 0.1 to the power of how many milestones have "
        "been reached.",
        "0.001 + 0.999 * step / warmup while step < warmup; sum(step >= m for m in milestones).",
    ),
    wrong=mistakes("""
        >= milestone => > milestone
            At the milestone itself your rate is still the old one. The new one holds from that step
            on.
        0.001 + (1 - 0.001) * step / warmup => step / warmup
            Your first step has rate 0 and learns nothing. The rate starts at a thousandth of lr.
        in milestones) => in milestones[:1])
            In yours, only the first milestone counts. Each one passed divides by ten once more.
        if step < warmup => if False
            The warm-up is missing: before step `warmup` the rate is smaller.
        * step / => * (step + 1) /
            Your warm-up is one step ahead: step 0 has exactly the thousandth, and step `warmup` is
            the first with the full rate.
        (1 - 0.001) * step => step
            You add the thousandth to a line from 0 to 1, so it ends above 1. The line goes from a
            thousandth to 1: what must you multiply the growing part by?
        (1 - 0.001) => (1 - 0.001 / lr)
            Your line starts at a thousandth of lr, and grows by lr minus a thousandth of 1. Both
            thousandths are of lr.
    """),
)


def norm_of(grads):
    total = 0.0
    for grad in grads:
        for value in grad.ravel().tolist():
            total += value * value
    return total**0.5


def scaled(grads, scale):
    return [grad * np.float32(scale) for grad in grads]


def clip_together(grads, max_norm):
    norm = norm_of(grads)
    return scaled(grads, max_norm / norm) if norm > max_norm else scaled(grads, 1)


SEVERAL = st.lists(
    arrays(st.sampled_from([(1,), (2,), (2, 2), (3, 1, 2)]), -4, 4), min_size=1, max_size=3
)

CLIP_TOGETHER = Task(
    name="clip_together",
    kind="fill",
    specification=clip_together,
    cases=st.tuples(SEVERAL, st.sampled_from([1.0, 2.0, 5.0])),
    examples=[([np.float32([3.0]), np.float32([[4.0]])], 1.0)],
    laws=[
        Law(
            "the norm of all results together is at most max_norm",
            lambda f, grads, max_norm: norm_of(f(grads, max_norm)) <= max_norm * (1 + 1e-5),
        ),
    ],
    after="One scale for all keeps the direction of the step and limits only its length. The "
    "package never multiplies the gradients: it hands the scale to the kernel that reads them.",
    link="clip_scale in tinymaskrcnn/optim.py",
    hints=(
        "One norm for everything, so one factor for everything.",
        "Square all the elements of all the arrays, sum, take the root. If that is larger "
        "than max_norm, multiply each array by max_norm / norm; otherwise by 1. A norm of 0 "
        "needs no division.",
        "min(1, max_norm / norm) if norm > 0, applied in a list comprehension that makes new "
        "arrays.",
    ),
    wrong=mistakes("""
        return [clip_together([grad], max_norm)[0] for grad in grads]
            You clip each array by its own norm, which turns the step: layers with large gradients
            lose, others do not. There is one norm, of all arrays together.
        g * np.float32(scale) => np.clip(g, -max_norm, max_norm)
            You cut off each number on its own, which turns the step. Multiply all of them by one
            factor.
        min(1.0, max_norm / norm) => max_norm / norm
            You also lengthen short gradients. A gradient below max_norm stays as it is.
        np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in grads))
            => sum(np.linalg.norm(g) for g in grads)
            You add the arrays' norms. The norm of the whole is the root of the sum of all squares:
            3 and 4 make 5.
        np.sqrt( => (
            The root is missing: you divide by the square of the norm.
        np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in grads))
            => np.sqrt(sum(np.linalg.norm(g) for g in grads))
            You add norms, which are roots already, and take the root of their sum. Add squares
            instead.
        np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in grads))
            => max(np.abs(g).max() for g in grads)
            You divide by the largest number. The norm is the length of the whole vector: 3 and 4
            make 5.
        np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in grads))
            => np.linalg.norm(np.concatenate(grads))
            np.concatenate joins only arrays of one shape, but for one axis. Make each of them flat
            first, or add up their squares.
    """),
)


def smoothed_curve(values, window):
    means = [np.mean(values[max(0, i + 1 - window) : i + 1]) for i in range(len(values))]
    return np.array(means, float)


def curve_picture(arguments, expected, got):
    values, _ = arguments
    if np.shape(got) != np.shape(expected) or len(values) < 2:
        return None
    steps = np.arange(len(values))
    lines = {"values": (steps, values), "expected": (steps, expected), "got": (steps, got)}
    return curves(lines, "step", "", marks=True)


SMOOTHED_CURVE = Task(
    name="smoothed_curve",
    kind="vectorise",
    specification=smoothed_curve,
    cases=st.tuples(
        arrays(st.tuples(st.integers(1, 8)), 0, 9).map(lambda a: a.astype(float)),
        st.integers(1, 9),
    ),
    examples=[(np.array([2.0, 4.0, 6.0, 8.0]), 2)],
    picture=curve_picture,
    after="The training curve of every run is drawn this way. It only looks back: a mean centred "
    "on each step would show a fall before it happened.",
    link="smoothed in tinymaskrcnn/viz/curves.py",
    hints=(
        "The sum of values i to j is (sum of the first j) minus (sum of the first i).",
        "Make the running sums with a 0 in front. For step t the window ends at t + 1 and "
        "starts at max(t + 1 - window, 0). The mean is the difference of two sums over the "
        "number of values.",
        "np.concatenate([[0.0], np.cumsum(values)]), stop = np.arange(1, T + 1), start = "
        "np.maximum(stop - window, 0).",
    ),
    wrong=mistakes("""
        / (stop - start) => / window
            You divide by the window even where there are fewer values, so the curve starts too low.
            Divide by how many you added.
        np.maximum(stop - window, 0) => 0 * stop
            That is the mean of everything so far: your window keeps growing. What must you subtract
            from the running sum?
        return np.convolve(values, np.ones(window) / window, "same")
            Your window is centred on each step and looks into the future. It should end at the
            step.
        return np.convolve(values, np.ones(window) / window, "valid")
            The start is missing, where there are fewer values than the window. Give one mean per
            step.
        stop - window => stop - window - 1
            Your window has one value too many: the last 2 of 2, 4, 6 are 4 and 6.
        np.concatenate([[0.0], np.cumsum(values)]) => np.cumsum(values)
        np.arange(1, len(values) + 1) => np.arange(len(values))
        / (stop - start) => / np.maximum(stop - start, 1)
            Your sums never include the first value. A running sum needs a 0 in front, so that the
            sum from the beginning is a difference too.
        / (stop - start) => / np.where(stop < window, 1, window)
            At the start, where there are fewer values than the window, you give their sum. Divide
            it by how many there are.
        totals[stop] - totals[start] => values
            You divide one value by the number of values in the window. The two running sums must
            lie a window apart, not one step.
    """),
)


def adamw_step(weight, grad, mean, square, step, lr, decay):
    results = []
    for w, g, m, s in zip(weight, grad, mean, square, strict=True):
        results.append(adamw_one(w, g, m, s, step, lr, decay))
    return tuple(np.array(column, float) for column in zip(*results, strict=True))


def adamw_one(w, g, m, s, step, lr, decay):
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
    mean, square = m / (1 - 0.9**step), s / (1 - 0.999**step)
    return w - lr * mean / (square**0.5 + 1e-8) - lr * decay * w, m, s


@st.composite
def steps(draw):
    n = draw(st.integers(1, 3))
    weight, grad, mean = (draw(arrays((n,), -4, 4)).astype(float) for _ in range(3))
    square = draw(arrays((n,), 0, 4)).astype(float)
    decay = draw(st.sampled_from([0.0, 0.5]))
    return weight, grad, mean, square, draw(st.integers(1, 3)), 0.1, decay


ONES = np.ones(2)

ADAMW_STEP = Task(
    name="adamw_step",
    kind="extend",
    specification=adamw_step,
    cases=steps(),
    examples=[
        (ONES, np.array([1e-4, 3.0]), 0 * ONES, 0 * ONES, 1, 0.1, 0.0),
        (ONES, ONES, 0.5 * ONES, 2 * ONES, 2, 0.1, 0.5),
    ],
    laws=[
        Law(
            "from zero averages and without decay, the first step moves each number that has a "
            "gradient by lr, however small the gradient",
            lambda f, weight, grad, mean, square, step, lr, decay: np.allclose(
                np.abs(f(weight, grad, 0 * mean, 0 * square, 1, lr, 0.0)[0] - weight),
                lr * (grad != 0),
                atol=1e-4,
            ),
        ),
    ],
    after="Each number moves by about lr, whatever the size of its gradient. Muon, which the "
    "recipes here use, does the same for whole matrices: each direction gets the same step.",
    link="Loshchilov and Hutter 2019, algorithm 2: https://arxiv.org/abs/1711.05101",
    hints=(
        "Four things in order: two averages, two corrections, the move, the decay.",
        "mean becomes 0.9 of itself plus 0.1 of the gradient; square likewise with 0.999 and "
        "0.001 and the squared gradient. Divide copies of both by 1 - beta ** step. Return "
        "the uncorrected averages.",
        "weight - lr * (full_mean / (np.sqrt(full_square) + 1e-8) + decay * weight); the 1e-8 "
        "is outside the root.",
    ),
    wrong=mistakes(r"""
        mean = 0.9 => "grad = grad + decay * weight\n    mean = 0.9"
        " + decay * weight)" => )
            You put the decay into the gradient, and so through the averages: that is Adam with L2,
            the mistake that AdamW was written about.
        mean / (1 - 0.9**step) => mean
        square / (1 - 0.999**step) => square
            The averages start at zero and are too small in the first steps. Divide each by 1 - beta
            ** step before you use it.
        (np.sqrt(full_square) + 1e-8) => np.sqrt(full_square + 1e-8)
            Your 1e-8 is under the root, where it counts as 1e-4. Add it to the root itself.
        0.9**step => 0.9 ** (step + 1)
        0.999**step => 0.999 ** (step + 1)
            You count the steps from 0 and add one, but the first step is already 1.
        lr * (move + decay * weight) => lr * move - decay * weight
            The decay is not multiplied by lr.
        weight), mean, square => weight), full_mean, full_square
            You return the corrected averages. The correction is for this step only; the plain
            averages are passed on.
        np.sqrt(full_square) => full_square
            You divide by the mean square itself. It is the root that has the size of the gradient.
        weight - lr * (move + decay * weight) => (weight - lr * move) * (1 - lr * decay)
            You let the weight decay after it has moved. Both parts of the step start from the old
            weight.
        0.9 * mean + 0.1 * grad => 0.1 * mean + 0.9 * grad
        0.999 * square + 0.001 * grad => 0.001 * square + 0.999 * grad
            Your averages keep a tenth of the old and take nine tenths of the new. Beta is the share
            you keep: 0.9 and 0.999.
        square / (1 - 0.999**step) => square
            You correct only the mean. The mean square starts at zero, too, and is far smaller than
            it should be.
    """),
)


def sgd_step(weight, gradient, velocity, lr, momentum, decay):
    new_weight, new_velocity = np.zeros(weight.shape), np.zeros(weight.shape)
    for i in np.ndindex(weight.shape):
        push = float(gradient[i]) + decay * float(weight[i])
        new_velocity[i] = momentum * float(velocity[i]) + push
        new_weight[i] = float(weight[i]) - lr * new_velocity[i]
    return new_weight, new_velocity


@st.composite
def sgd_steps(draw):
    shape = (draw(st.integers(1, 3)),)
    three = (draw(arrays(shape)) for _ in range(3))
    lr, momentum = draw(st.sampled_from([0.5, 0.25])), draw(st.sampled_from([0.5, 0.0, 0.75]))
    return (*three, lr, momentum, draw(st.sampled_from([0.0, 0.5])))


SGD_STEP = Task(
    name="sgd_step",
    kind="build",
    specification=sgd_step,
    cases=sgd_steps(),
    after="With momentum 0.9, a steady gradient ends up pushing ten times as hard. The published "
    "Mask R-CNN was trained with nothing more than this line and a schedule.",
    link="sgd_step in tinymaskrcnn/ops/sgd/reference.py",
    hints=(
        "Two lines: first the new velocity, then the weight, which already uses the new velocity.",
        "velocity = momentum times the old one, plus the gradient, plus decay times weight. "
        "Then the weight minus lr times that. No += on the arguments.",
        "momentum * velocity + gradient + decay * weight makes a new array; return (weight - "
        "lr * new, new).",
    ),
    wrong=mistakes("""
        " + decay * weight" =>
            The weight decay is missing: add decay times the weight to the gradient.
        "momentum * velocity + " =>
            You forget the old velocity; it keeps its share `momentum`.
        gradient + decay * weight => lr * (gradient + decay * weight)
        - lr * velocity => - velocity
            Your learning rate is inside the velocity, so a changed rate would only act later.
            Multiply when the weight moves.
        gradient + decay * weight => (1 - momentum) * (gradient + decay * weight)
            Your velocity is an average. Here the whole gradient is added.
        weight - lr => weight + lr
            Your weight moves with the gradient, uphill. Which way does the loss fall?
        velocity = momentum => old, velocity = velocity, momentum
        lr * velocity => lr * old
            The weight moves by the new velocity, not the old one.
        weight - lr * velocity => weight - lr * (gradient + decay * weight + momentum * velocity)
            That is Nesterov's form, which looks a step ahead. Here the weight moves by the new
            velocity alone.
    """),
)


def choose_rate(rates, losses):
    best, chosen = np.inf, None
    for rate, run in zip(rates.tolist(), losses.tolist(), strict=True):
        end = sum(run[-5:]) / 5
        if all(map(np.isfinite, run)) and end < min(best, run[0]):
            best, chosen = end, rate
    return chosen


@st.composite
def short_runs(draw):
    runs, steps = draw(st.integers(1, 4)), draw(st.integers(5, 8))
    losses = draw(arrays((runs, steps), 0, 9)).astype(float)
    if draw(st.booleans()):
        losses[-1, draw(st.integers(1, steps - 1)) :] = draw(st.sampled_from([np.nan, np.inf]))
    return np.array([0.001, 0.01, 0.1, 1.0])[:runs], losses


FALLING = np.array([[8.0, 7, 7, 6, 6, 6], [8, 5, 4, 3, 3, 2], [8, 2, 4, 9, 9, np.nan]])
NOISY = np.array([[8.0, 4, 4, 4, 4, 4], [8, 9, 9, 9, 9, 1]])

CHOOSE_RATE = Task(
    name="choose_rate",
    kind="fill",
    specification=choose_rate,
    cases=short_runs(),
    examples=[
        (np.array([0.01, 0.1, 1.0]), FALLING),
        (np.array([0.01, 0.1]), NOISY),
        (np.array([0.01, 0.1]), NOISY[:, ::-1]),
    ],
    after="Twenty short runs cost less than one long run with a bad rate. Try rates a factor of "
    "three apart; if the best is at one end of your range, go beyond it.",
    link="Smith 2017, section 3.3: https://arxiv.org/abs/1506.01186",
    hints=(
        "First decide which runs are out. Then compare where the others ended.",
        "Take the mean of the last five columns. Keep the runs whose losses are all finite and "
        "whose mean is below their first loss. If none is left return None, else the rate of "
        "the lowest mean.",
        "usable = np.isfinite(losses).all(axis=1) & (ends < losses[:, 0]), and the index is "
        "np.where(usable, ends, np.inf).argmin().",
    ),
    wrong=mistakes("""
        losses[:, -5:].mean(axis=1) => losses[:, -1]
            You judge a run by its last loss alone, which may come from a lucky batch. Take the mean
            of the last five.
        kept = [(min(run), rate) for rate, run in zip(rates, losses, strict=True)]
        kept = [(loss, rate) for loss, rate in kept if np.isfinite(loss)]
        return float(min(kept)[1]) if kept else None
            You take the lowest loss a run ever reached. What counts is where it ended.
        return choose_rate(rates, np.where(np.isfinite(losses), losses, losses[:, :1] / 2))
            A run that diverged is still in the race. If any of its losses is not finite, it is out.
        chosen = choose_rate(rates, losses)
        return None if chosen is None else rates.tolist().index(chosen)
            You return the index of the run. The task asks for its rate.
        ends = losses[:, -5:].mean(axis=1)
        falls = [rate for rate, run, end in zip(rates, losses, ends, strict=True) if end < run[0]]
        return float(falls[-1]) if falls else None
            You take the largest rate whose loss fell. Fell by how much? The lowest mean wins.
        " & (ends < losses[:, 0])" =>
            If no run ended below its own first loss, the answer is None.
        "np.isfinite(losses).all(axis=1) & " =>
        np.where(usable, ends, np.inf).argmin() => ends.argmin()
            argmin takes NaN for the smallest, and also sees the runs that are out. Give those an
            infinite mean before you look.
    """),
)


RECORDED = recording("broken")


def what_is_broken(losses, found, named):
    end = sum(losses[-5:].tolist()) / 5
    signs = {"rate": not end < losses[0] / 2, "axes": found < 0.5, "classes": named < 0.5}
    return next((fault for fault, holds in signs.items() if holds), "nothing")


@st.composite
def watched_runs(draw):
    """A recorded run, its losses times a factor; if the rate is wrong, some end in NaN."""
    number = draw(st.integers(0, len(RUNS) - 1))
    losses = RECORDED["losses"][number].astype(float) * draw(st.sampled_from([1.0, 0.1, 10.0]))
    if RUNS[number][0] == "rate" and draw(st.booleans()):
        losses[draw(st.integers(5, len(losses) - 1)) :] = np.nan
    return losses, float(RECORDED["found"][number]), float(RECORDED["named"][number])


def run_picture(arguments, expected, got):
    losses, found, named = arguments
    lines = {f"found {found:.2f}, named {named:.2f}": (np.arange(len(losses)), losses)}
    return curves(lines, "step", "sum of the losses")


WHAT_IS_BROKEN = Task(
    name="what_is_broken",
    kind="extend",
    specification=what_is_broken,
    cases=watched_runs(),
    picture=run_picture,
    after="Swapped axes and shifted classes leave no trace in the losses, so look at detections "
    "early. If the loss does not fall by half on a single image, suspect the rate or a missing "
    "gradient.",
    link="lessons/recorded/broken.py",
    hints=(
        "Which of the three faults can the losses show at all? And which show in the detections?",
        "Ask in this order. Did the loss fall to half of its first value? Were the objects "
        "found? Did they get the right class? The first no names the fault.",
        "Compare np.mean(losses[-5:]) with losses[0] / 2, then found and named with 0.5. Write "
        "`not end < limit` instead of `end >= limit`, so that NaN counts as not fallen.",
    ),
    wrong=mistakes("""
        return "classes" if named < 0.5 else "nothing" => return "nothing"
            This run found its objects but named them wrongly. The losses cannot show that.
        rest = "nothing" if np.mean(losses[-5:]) < losses[0] / 2 else "rate"
        return "axes" if found < 0.5 else "classes" if named < 0.5 else rest
            A run that learned nothing finds nothing either. First look whether its loss fell.
        if not np.mean(losses[-5:]) < losses[0] / 2: return "rate"
        return "classes" if named < 0.5 else "axes" if found < 0.5 else "nothing"
            If no object is found, `named` is 0 and says nothing about classes. First ask whether
            the objects were found.
        losses[0] / 2 => 2.0
            You compare the loss with a fixed number, but another model's losses are larger or
            smaller. Compare with the run's own first loss.
        return what_is_broken(np.nan_to_num(losses, nan=0.0), found, named)
            These losses end in NaN: the rate is far too high. NaN < x is False, whatever x is.
        losses[0] / 2 => losses[0]
            You are content with any fall. A model that learns one image by heart at least halves
            its loss.
    """),
)

TASKS = [
    SGD_STEP, MILESTONE_RATE, CLIP_TOGETHER, CHOOSE_RATE, SMOOTHED_CURVE, ADAMW_STEP, WHAT_IS_BROKEN
]  # fmt: skip
