"""The numbers of `validate` are those of scikit-learn, scipy and torchmetrics on the same logits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error

from resnest_cli.tasks.validate.metrics import BINS, Hits, Tally, judge, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = 12


def made(images: int, spread: float = 2.0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make logits that are right about half of the time, and the truth."""
    random = np.random.default_rng(7)
    truth = random.integers(0, CLASSES, images)
    logits = random.normal(0, spread, (images, CLASSES))
    logits[np.arange(images), truth] += 2 * spread
    return logits.astype(np.float32), truth


def tallied(logits: NDArray[np.float32], truth: NDArray[np.int64], among: NDArray[np.int64] | None = None) -> Tally:
    tally = Tally(logits.shape[1])
    for row, own in zip(logits, truth.tolist(), strict=True):
        tally.add(judge(row, own, np.arange(logits.shape[1]) if among is None else among))
    return tally


def test_every_number_is_the_references() -> None:
    logits, truth = made(1500)
    tally = tallied(logits, truth)
    probabilities = torch.tensor(logits).double().softmax(dim=1)
    every = list(range(CLASSES))
    assert tally.images == 1500
    assert tally.right / 1500 == accuracy_score(truth, logits.argmax(axis=1))
    assert 0.5 < tally.right / 1500 < 0.95
    assert tally.right_in_5 / 1500 == top_k_accuracy_score(truth, logits, k=5, labels=every)
    assert tally.loss == pytest.approx(log_loss(truth, probabilities.numpy(), labels=every), rel=1e-12)
    assert np.array_equal(tally.confusion, confusion_matrix(truth, logits.argmax(axis=1), labels=every))
    reference = multiclass_calibration_error(probabilities, torch.tensor(truth), CLASSES, n_bins=BINS, norm="l1")
    assert tally.calibration_error == pytest.approx(float(reference), abs=1e-6)  # float32
    assert tally.calibration_error > 0.01


def test_a_subset_is_scored_as_if_the_model_had_no_other_classes() -> None:
    logits, truth = made(900)
    among = np.array([1, 4, 5, 7, 9, 11])
    kept = np.isin(truth, among)
    logits, truth = logits[kept], truth[kept]
    tally = tallied(logits, truth, among)
    alone = tallied(logits[:, among], np.searchsorted(among, truth))
    assert (tally.right, tally.right_in_5, tally.loss, tally.calibration_error) == (
        alone.right,
        alone.right_in_5,
        alone.loss,
        alone.calibration_error,
    )
    assert np.array_equal(tally.confusion[np.ix_(among, among)], alone.confusion)
    assert tally.confusion.sum() == alone.confusion.sum()
    assert tally.right > tallied(logits, truth).right


@given(right=st.integers(0, 400), wrong=st.integers(0, 400))
def test_the_interval_is_wilsons(right: int, wrong: int) -> None:
    if right + wrong == 0:
        assert all(map(math.isnan, wilson(0, 0)))
        return
    reference = binomtest(right, right + wrong).proportion_ci(method="wilson")
    assert wilson(right, right + wrong) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_calibration_worked_by_hand() -> None:
    # Two images at 0.6 (one right) and one at 0.9 (right): 2/3 * |0.5 - 0.6| + 1/3 * |1 - 0.9| = 0.1.
    tally = Tally(2)
    for confidence, truth in ((0.6, 0), (0.6, 1), (0.9, 0)):
        tally.add(judge(np.log([confidence, 1 - confidence]).astype(np.float32), truth, np.arange(2)))
    assert tally.calibration_error == pytest.approx(0.1, abs=1e-6)
    assert tally.loss == pytest.approx(-(math.log(0.6) + math.log(0.4) + math.log(0.9)) / 3, abs=1e-6)


def test_a_certain_answer_falls_into_the_last_bin() -> None:
    tally = Tally(3)
    tally.add(judge(np.array([200, 0, 0], np.float32), 0, np.arange(3)))
    assert (tally.calibration_error, tally.loss, tally.right, tally.right_in_5) == (0, 0, 1, 1)
    tally.add(judge(np.array([200, 0, 0], np.float32), 1, np.arange(3)))
    assert (tally.calibration_error, tally.loss) == (0.5, 100)


def test_equal_logits_rank_by_index() -> None:
    answer = judge(np.zeros(8, np.float32), 6, np.arange(8))
    assert (answer.best, answer.right) == ((0, 1, 2, 3, 4), False)
    assert answer.loss == pytest.approx(math.log(8))


def test_nothing_gives_no_numbers() -> None:
    assert (Tally(3).images, Tally(3).right) == (0, 0)
    assert math.isnan(Tally(3).loss)
    assert math.isnan(Tally(3).calibration_error)


def test_several_right_classes_or_none() -> None:
    hits = Hits()
    for right in ({0, 7}, {1}, {6}, frozenset[int]()):
        hits.add(judge(np.arange(8, 0, -1).astype(np.float32), 0, np.arange(8)), right)
    assert (hits.images, hits.right, hits.right_in_5) == (3, 1, 2)
