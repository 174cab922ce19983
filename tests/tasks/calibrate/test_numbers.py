"""The numbers of `calibrate` are those of scipy, torchmetrics and MAPIE, and of the papers' formulas written out.

MAPIE has the scores of sets, and takes a random share of the class's own probability off; ours takes off all of it. So
sets are compared with the formula.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mapie.conformity_scores.sets.aps import APSConformityScore
from mapie.conformity_scores.sets.raps import RAPSConformityScore
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from scipy.stats import beta
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from resnest_cli.errors import UsageError
from resnest_cli.tasks.calibrate import scores, sets, splits, strangeness, temperature
from resnest_cli.tasks.calibrate.scale import MOST, Scale
from resnest_cli.tasks.calibrate.sets import Ranked, Regularization
from resnest_cli.tasks.validate.metrics import BINS, Tally, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = 12
RULES = [sets.NONE, Regularization(1, 0.1), Regularization(3, 0.01), Regularization(5, 0.5)]


def made(images: int, spread: float = 2.0, seed: int = 7) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make logits that are right about three times in four, and the truth."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, CLASSES, images)
    logits = random.normal(0, spread, (images, CLASSES))
    logits[np.arange(images), truth] += 2 * spread
    return logits.astype(np.float32), truth


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_the_temperature_is_scipys_optimum(scale: float) -> None:
    logits, truth = made(700)
    logits *= scale

    def loss(value: float) -> float:
        return -float(log_softmax(logits.astype(float) / value, axis=1)[np.arange(700), truth].mean())

    best = minimize_scalar(loss, bounds=(0.01, 100), method="bounded", options={"xatol": 1e-12})
    assert temperature.fit(logits, truth) == pytest.approx(best.x, rel=1e-6)


def test_images_that_are_all_right_do_not_make_the_network_certain() -> None:
    logits, _ = made(100)
    found = temperature.fit(logits, logits.argmax(axis=1))
    doubt = 1 / 102  # Platt's
    log_shares = [log_softmax(np.sort(logits.astype(float), axis=1) / value, axis=1) for value in (found, found * 1.01)]
    losses = [-(1 - doubt) * row[:, -1].mean() - doubt * row[:, :-1].mean() for row in log_shares]
    assert losses[0] < losses[1]
    assert 0.05 < found < 10


def test_a_network_that_knows_nothing_gets_the_highest_temperature() -> None:
    logits, truth = made(100)
    assert temperature.fit(-logits, truth) == pytest.approx(temperature.HOTTEST)


@pytest.mark.parametrize("value", [0.3, 1.0, 4.0])
def test_a_temperature_changes_no_order(value: float) -> None:
    logits, _ = made(300)
    order = np.argsort(-temperature.softmax(logits, value), axis=1, kind="stable")
    assert np.array_equal(order, np.argsort(-logits, axis=1, kind="stable"))


def test_scores_of_probabilities_are_the_references() -> None:
    logits, truth = made(900)
    shares = temperature.softmax(logits)
    found = scores.figures(shares, truth, seed=0)
    assert found["nll"].value == pytest.approx(log_loss(truth, shares, labels=range(CLASSES)), rel=1e-12)
    hits = np.eye(CLASSES)[truth]
    assert found["brier"].value == pytest.approx(((shares - hits) ** 2).sum(axis=1).mean(), rel=1e-12)
    tensors = torch.tensor(shares), torch.tensor(truth)
    reference = multiclass_calibration_error(*tensors, num_classes=CLASSES, n_bins=BINS, norm="l1")
    assert found["ece"].value == pytest.approx(float(reference), abs=1e-6)
    tally = Tally(CLASSES)
    for row, own in zip(logits, truth.tolist(), strict=True):
        tally.add(judge(row, own, np.arange(CLASSES)))
    assert found["ece"].value == pytest.approx(tally.calibration_error, rel=1e-9)


def test_an_interval_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(3).exponential(size=2000)
    found = scores.bootstrapped(lambda drawn: float(values[drawn].mean()), 2000, seed=1)
    half = 1.96 * values.std() / math.sqrt(2000)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found.low < found.value < found.high


def test_the_area_under_the_risk_coverage_curve_is_the_mean_of_its_points() -> None:
    confidence, right = np.array([0.6, 0.9, 0.8, 0.7]), np.array([True, True, False, True])
    # most confident first: right, wrong, right, right
    assert scores.risk_coverage(confidence, right) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


@pytest.mark.parametrize("rule", RULES)
def test_scores_of_sets_are_those_of_mapie_without_the_probability_of_the_class(rule: Regularization) -> None:
    logits, truth = made(240, spread=1.0)
    shares = temperature.softmax(logits)
    sums, places = APSConformityScore.get_true_label_cumsum_proba(truth, shares, np.arange(CLASSES))
    own = shares[np.arange(len(truth)), truth][:, None]
    expected = RAPSConformityScore._regularize_conformity_score(  # noqa: SLF001 - its formula, without its search for one
        np.array([rule.free]), rule.weight, sums - own, places
    )
    assert Ranked.of(shares, truth).scores(rule) == pytest.approx(expected[:, 0, 0], abs=1e-12)


def written_out(shares: NDArray[np.float64], rule: Regularization) -> dict[int, float]:
    """Return the score of each class as the paper defines it: equation 4 with u = 0."""
    result = {}
    for own, share in enumerate(shares.tolist()):
        more = [other for other, value in enumerate(shares.tolist()) if (-value, other) < (-share, own)]
        place = len(more) + 1
        result[own] = sum(shares[other] for other in more) + rule.weight * max(0, place - rule.free)
    return result


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95, 0.99])
def test_sets_are_those_of_the_paper_written_out(rule: Regularization, coverage: float) -> None:
    logits, truth = made(240, spread=1.0)
    shares = temperature.softmax(logits)
    own = sorted(written_out(row, rule)[true] for row, true in zip(shares, truth.tolist(), strict=True))
    limit = own[math.ceil(241 * coverage) - 1]
    images = Ranked.of(shares, truth)
    assert np.sort(images.scores(rule)) == pytest.approx(own, abs=1e-12)
    found = images.sizes(rule, limit + 1e-9)
    expected = [sum(score <= limit + 1e-9 for score in written_out(row, rule).values()) for row in shares]
    assert found.tolist() == expected
    assert min(expected) >= 1


@given(st.integers(1, 3000), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 0.999]))
def test_a_coverage_needs_as_many_images_as_the_theorem_says(count: int, coverage: float) -> None:
    is_enough = count >= 1 / (1 - coverage) - 1 - 1e-6
    if not is_enough:
        with pytest.raises(UsageError, match=f"at least {sets.least(coverage):,} images"):
            sets.rank(count, coverage)
        return
    rank = sets.rank(count, coverage)
    # The coverage of new images is distributed as the rank-th of `count` uniform numbers.
    assert coverage <= beta(rank, count + 1 - rank).mean() + 1e-9 < coverage + 1 / (count + 1) + 2e-9


def test_ranks_do_not_suffer_from_binary_fractions() -> None:
    assert [sets.rank(29, 0.9), sets.rank(9, 0.9), sets.rank(19, 0.95), sets.rank(99, 0.99)] == [27, 9, 19, 99]
    assert [sets.least(coverage) for coverage in (0.8, 0.9, 0.95, 0.99)] == [4, 9, 19, 99]


def test_the_regularization_is_the_one_with_the_smallest_sets() -> None:
    logits, truth = made(400, spread=0.7)
    images = Ranked.of(temperature.softmax(logits), truth)
    found = sets.choose(images, (0.9,))
    limit = float(np.sort(images.scores(found))[sets.rank(400, 0.9) - 1])
    plain = float(np.sort(images.scores(sets.NONE))[sets.rank(400, 0.9) - 1])
    assert images.sizes(found, limit).mean() < images.sizes(sets.NONE, plain).mean()


def test_where_many_classes_have_noisy_tails_sets_are_far_smaller_than_those_of_aps() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 200, 3000)
    logits = random.standard_t(4, (3000, 200))
    logits[np.arange(3000), truth] += np.where(random.random(3000) < 0.85, 9, 5)
    logits *= random.choice([0.5, 1.0, 1.6], (3000, 1))  # networks are surer of some images than they ought to be
    choosing, limiting, judged = (
        Ranked.of(temperature.softmax(logits[part]), truth[part]) for part in np.split(np.arange(3000), 3)
    )
    found = sets.choose(choosing, (0.9,))
    sizes = {}
    for rule in (found, sets.NONE):
        limit = float(np.sort(limiting.scores(rule))[sets.rank(1000, 0.9) - 1])
        assert (judged.scores(rule) <= limit).mean() == pytest.approx(0.9, abs=0.025)
        sizes[rule] = float(judged.sizes(rule, limit).mean())
    assert sizes[found] < sizes[sets.NONE] / 4


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.integers(0, 9))
def test_halves_are_disjoint_and_stratified(classes: list[int], seed: int) -> None:
    truth = np.array(classes)
    one, other = splits.halves(truth, seed)
    assert sorted([*one, *other]) == list(range(len(classes)))
    assert 0 <= len(one) - len(other) <= 1
    counts = [np.bincount(truth[half], minlength=6) for half in (one, other)]
    assert np.abs(counts[0] - counts[1]).max() <= 1
    assert np.array_equal(splits.halves(truth, seed)[0], one)


def test_another_seed_draws_other_halves() -> None:
    truth = np.repeat(np.arange(5), 20)
    assert not np.array_equal(splits.halves(truth, 0)[0], splits.halves(truth, 1)[0])


@pytest.mark.parametrize("count", [1, 7, MOST, MOST + 1, 7 * MOST + 123])
def test_a_scale_that_is_thinned_errs_by_less_than_it_says(count: int) -> None:
    numbers = np.random.default_rng(count).normal(size=count).astype(np.float32)
    scale = Scale.of(numbers)
    ordered = np.sort(numbers)
    assert len(scale.values) == min(count, MOST)
    for rank in {1, count // 2 + 1, count - count // 100, count}:
        place = int(np.searchsorted(ordered, np.float32(scale.at(rank)))) + 1
        assert rank <= place < rank + max(1, count / MOST) + 1e-9
    for probe in (-9.0, -0.5, 0.0, 0.7, 9.0):
        exact = float((numbers < probe).mean())
        assert exact - 1 / MOST < scale.share_below(probe) <= exact
    assert scale.share_below(float(ordered[0])) == 0.0
    assert scale.share_below(math.inf) == 1.0


def test_energies_are_the_papers_at_a_temperature() -> None:
    logits, _ = made(50)
    for value in (0.3, 1.0, 2.0):
        paper = -value * logsumexp(logits.astype(float) / value, axis=1)
        assert strangeness.energies(logits, value) * value == pytest.approx(paper, rel=1e-12)


def test_the_energy_of_a_class_is_a_mean_that_few_images_move_little() -> None:
    logits = np.array([[2, 0, 0], [4, 0, 0], [0, 3, 0]], np.float32)
    own = strangeness.energies(logits, 1.0)
    found = strangeness.centers(logits, 1.0)
    expected = [(own[0] + own[1] + 5 * own.mean()) / 7, (own[2] + 5 * own.mean()) / 6, own.mean()]
    assert found == pytest.approx(expected)
    assert strangeness.above_center(logits, 1.0, found) == pytest.approx(own - [*[expected[0]] * 2, expected[1]])
