"""detection/sampler.py and top_k.py."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tinymaskrcnn.detection.sampler import BalancedSampler
from tinymaskrcnn.detection.top_k import top_k

labels_arrays = arrays(np.int64, st.integers(0, 40), elements=st.integers(-1, 3))

# by hand


def test_negatives_fill_up_what_positives_leave():
    labels = np.array([1, 0, 0, -1, 0, 0, 2, 0])
    positive, negative = BalancedSampler(6, 0.5).sample(labels, np.random.default_rng(0))
    assert positive.tolist() == [0, 6]
    assert len(negative) == 4
    assert set(negative) < {1, 2, 4, 5, 7}


def test_positives_are_limited_to_their_share():
    positive, negative = BalancedSampler(8, 0.25).sample(
        np.repeat([3, 0], 20), np.random.default_rng(0)
    )
    assert (len(positive), len(negative)) == (2, 6)


def test_what_is_ignored_is_never_drawn():
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, -1, -1])
    for seed in range(20):
        positive, negative = BalancedSampler(4, 0.25).sample(labels, np.random.default_rng(seed))
        assert len(positive) == 1 and 6 <= positive[0] < 9
        assert len(negative) == 3 and (negative < 6).all()


def test_top_k_by_hand():
    scores = np.array([[1, 3, 3, -2, 0], [-1, -1, -5, 2, -0.0]], np.float32)
    assert top_k(scores, 3).tolist() == [[1, 2, 0], [3, 4, 0]]


# specification


few_scores = st.sampled_from([-np.inf, -2.0, -0.0, 0.0, 1e-45, 0.5, 0.5000001, 7.0, np.inf])


@settings(deadline=None, max_examples=100)
@given(
    arrays(np.float32, st.tuples(st.integers(0, 3), st.integers(1, 30)), elements=few_scores),
    st.integers(1, 35),
)
def test_top_k_is_the_head_of_a_stable_sort(scores, k):
    expected = [sorted(range(len(row)), key=lambda i, row=row: -row[i])[:k] for row in scores]
    assert top_k(scores, k).tolist() == expected


# laws


@settings(deadline=None, max_examples=100)
@given(labels_arrays, st.integers(1, 30), st.floats(0, 1), st.integers(0, 99))
def test_what_is_drawn_fits_the_labels_and_the_limits(labels, size, fraction, seed):
    sampler = BalancedSampler(size, fraction)
    positive, negative = sampler.sample(labels, np.random.default_rng(seed))
    assert (labels[positive] >= 1).all() and (labels[negative] == 0).all()
    assert len(positive) == min((labels >= 1).sum(), int(size * fraction))
    assert len(negative) == min((labels == 0).sum(), size - len(positive))
    for drawn in (positive, negative):
        assert (np.diff(drawn) > 0).all()
    again = sampler.sample(labels, np.random.default_rng(seed))
    assert np.array_equal(positive, again[0]) and np.array_equal(negative, again[1])


def test_every_negative_has_the_same_chance():
    sampler, rng = BalancedSampler(2, 0.5), np.random.default_rng(0)
    counts = np.zeros(8)
    for _ in range(4000):
        counts[sampler.sample(np.zeros(8, np.int64), rng)[1]] += 1
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000 * 0.75)  # five standard deviations


# edges


def test_nothing_to_draw():
    rng = np.random.default_rng(0)
    for labels in (np.zeros(0, np.int64), np.full(3, -1)):
        positive, negative = BalancedSampler(4, 0.5).sample(labels, rng)
        assert len(positive) == len(negative) == 0


def test_nan_is_the_largest_score_and_nothing_crashes():
    assert top_k(np.array([[1, np.nan, 5]], np.float32), 2).tolist() == [[1, 2]]
