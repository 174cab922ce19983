"""What is said of a run, case by case, with numbers made by hand."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from resnest_cli.training import verdict, words

ANTS = np.array([0] * 3 + [1] * 3 + [2] * 3)
BALANCED = np.repeat(np.arange(3), 10)  # what was trained on
CLASSES = ("ant", "bee", "cat")


def history(
    train: list[float], val: list[float], top1: list[float] | None = None, head: tuple[float, float] | None = None
) -> list[dict[str, Any]]:
    """Return the rows of epochs with these losses, after the head's validation loss and top-1 if there is one."""
    shares = top1 or [0.8] * len(train)
    rows = [
        {"stage": "layers", "epoch": i, "train_loss": t, "val_loss": v, "val_top1": share}
        for i, (t, v, share) in enumerate(zip(train, val, shares, strict=True), start=1)
    ]
    first = [{"stage": "head", "epoch": 0, "train_loss": 0.2, "val_loss": head[0], "val_top1": head[1]}] if head else []
    return first + rows


def judged(
    taken: list[int],
    rows: list[dict[str, Any]],
    true: np.ndarray[Any, Any] = ANTS,
    *,
    losses: list[float] | None = None,
    keeps_best: bool = True,
) -> verdict.Verdict:
    found = np.array(losses or np.where(true == np.array(taken), 0.1, 2.0))
    return verdict.of(BALANCED, true, np.array(taken), found, rows, keeps_best=keeps_best)


def said(found: verdict.Verdict, *, top1: float = 0.8, majority: float = 1 / 3, epochs: int = 0, n: int = 9) -> str:
    """Return the words about a run with these figures."""
    metrics = {
        "verdict": vars(found),
        "top1": top1,
        "majority_top1": majority,
        "majority_class": "ant",
        "val_images": n,
        "epochs": epochs,
        "recipe": {"balance": False},
        "worst_confusions": [{}] if top1 < 1 else [],
    }
    return "\n".join(f"{name}: {text}" for name, text in words.verdict(metrics))


HEAD_ALONE = history([], [], head=(0.5, 0.8))


def test_a_model_that_always_says_the_same_has_learned_nothing() -> None:
    found = judged([0] * 9, HEAD_ALONE)
    assert (found.learned, found.beats_majority, found.fit) == (False, False, None)
    assert said(found, top1=1 / 3) == (
        "verdict: it has learned nothing that can be shown: it is right about 33.33% of 9 validation images, and "
        "always saying 'ant' is right as often\n"
        "try: more images per class, a look at the labels (mistakes.html), all layers (--full), "
        "another model to start from (-m)"
    )


def test_one_more_right_answer_may_be_chance() -> None:
    found = judged([0, 0, 1, 1, 1, 2, 0, 1, 0], HEAD_ALONE)  # 4 of 9
    assert not found.learned
    text = said(found, top1=4 / 9)
    assert (
        "44.44% of 9 validation images is more than the 33.33% of always saying 'ant', but chance can do that" in text
    )
    assert "try: more validation images (--val, or a val folder), more images per class" in text


def test_two_right_answers_of_two_show_nothing() -> None:
    found = judged([0, 1], HEAD_ALONE, np.array([0, 1]))
    assert not found.learned
    assert said(found, top1=1.0, majority=0.5, n=2).endswith("try: more validation images (--val, or a val folder)")


def test_most_answers_right_is_more_than_chance_and_needs_no_words() -> None:
    """Of 9 right by a chance of 1/3, Wilson's interval ends below 8/9 but above 1/3: 0.565."""
    found = judged([0, 0, 0, 1, 1, 1, 2, 2, 0], HEAD_ALONE)
    assert (found.learned, found.beats_majority, found.kept_epoch) == (True, True, 0)
    assert not said(found, top1=8 / 9)


def test_a_rare_class_that_is_found_is_learned_though_the_frequent_answer_is_right_more_often() -> None:
    true = np.array([0] * 95 + [1] * 5)
    taken = [0] * 87 + [1] * 8 + [1] * 5  # all of the rare ones, and eight too many
    found = judged(taken, HEAD_ALONE, true)
    assert (found.learned, found.beats_majority) == (True, False)
    assert said(found, top1=0.92, majority=0.95, n=100) == (
        "verdict: it tells classes apart, but it is right about 92.00% of 100 validation images, and always saying "
        "'ant' is right more often (95.00%)\n"
        "try: --balance, which draws rare classes as often, and more images of these"
    )


@pytest.mark.parametrize("seed", range(20))
def test_telling_apart_agrees_with_all_orders_of_the_answers(seed: int) -> None:
    """The mean recall is scikit-learn's balanced accuracy; its mean and deviation over all orders are counted."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, 7)
    taken = np.where(rng.random(7) < seed / 20, true, rng.integers(0, 4, 7))
    recalls = [
        np.mean([(np.array(order)[true == label] == label).mean() for label in np.unique(true)])
        for order in permutations(taken.tolist())
    ]
    here = recalls[0]
    if not set(taken.tolist()) - set(true.tolist()):
        assert here == pytest.approx(balanced_accuracy_score(true, taken))
    beyond = here > np.mean(recalls) + 1.959964 * np.std(recalls) + 1e-9
    assert verdict.tells_apart(true, taken) == bool(beyond)


def test_chance_is_taken_for_learning_one_time_in_forty() -> None:
    rng = np.random.default_rng(0)
    false = sum(verdict.tells_apart(rng.integers(0, 5, 60), rng.integers(0, 5, 60)) for _ in range(2000))
    assert 20 < false < 80  # 50 expected


def test_layers_that_do_not_beat_the_head_are_said_and_the_head_is_kept() -> None:
    rows = history([1.0, 0.9], [0.9, 0.8], [0.7, 0.75], head=(0.5, 0.8))
    found = judged([0, 0, 0, 1, 1, 1, 2, 2, 0], rows)
    assert (found.beats_head, found.kept_epoch) == (False, 0)
    assert "training all layers did not beat the head alone, which is kept" in said(found, epochs=2)


def test_layers_that_tie_with_the_head_do_not_beat_it() -> None:
    found = judged([0, 0, 0, 1, 1, 1, 2, 2, 0], history([1.0], [0.5], [0.8], head=(0.5, 0.8)))
    assert (found.beats_head, found.kept_epoch) == (False, 0)


def test_layers_that_beat_the_head_are_kept() -> None:
    found = judged([0, 0, 0, 1, 1, 1, 2, 2, 0], history([1.0, 0.9], [0.9, 0.8], [0.9, 0.85], head=(0.5, 0.8)))
    assert (found.beats_head, found.kept_epoch) == (True, 1)


def test_without_patience_the_last_epoch_is_kept_though_the_head_was_better() -> None:
    rows = history([1.0, 0.9], [0.9, 0.8], [0.9, 0.75], head=(0.5, 0.8))
    found = judged([0, 0, 0, 1, 1, 1, 2, 2, 0], rows, keeps_best=False)
    assert (found.beats_head, found.kept_epoch) == (False, 2)
    assert "the head alone, which would have been better than the last epoch" in said(found, epochs=2)


def test_a_validation_loss_that_rises_while_the_training_loss_falls_is_overfitting() -> None:
    rows = history([1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2], [0.9, 0.7, 0.6, 0.65, 0.7, 0.75, 0.8])
    found = judged([0, 0, 0, 1, 1, 1, 2, 2, 0], rows)
    assert (found.fit, found.since) == ("over", 3)
    text = said(found, epochs=7)
    assert "overfitting: after epoch 3 the validation loss rises while the training loss falls" in text
    assert "try: more images, a stronger --augment, or --epochs 3" in text


def test_losses_that_both_still_fall_are_underfitting() -> None:
    rows = history([2.0, 1.8, 1.6, 1.4, 1.2, 1.0, 0.8, 0.6], [2.0, 1.8, 1.6, 1.4, 1.2, 1.0, 0.8, 0.6])
    found = judged([0, 0, 0, 1, 1, 1, 2, 2, 0], rows)
    assert (found.fit, found.since) == ("under", None)
    assert "underfitting: both losses still fell in the last epochs\ntry: more epochs (--resume --epochs 16)" in said(
        found, epochs=8
    )


FALLING = [1.0, 0.8, 0.6, 0.5, 0.4, 0.35, 0.33, 0.32]


@pytest.mark.parametrize(
    ("train", "val"),
    [
        (FALLING, [0.9, 0.7, 0.6, 0.55, 0.52, 0.5, 0.49, 0.49]),  # done: the last quarter moves by a fiftieth
        (FALLING, [0.9, 0.7, 0.6, 0.8, 0.62, 0.75, 0.61, 0.64]),  # noise, with no rise in it
        (FALLING, [0.9, 0.7, 0.6, 0.61, 0.62, 0.63, 0.63, 0.64]),  # a rise by less than a tenth
        ([*FALLING[:3], 0.7, 0.8, 0.9, 1.0, 1.1], [0.9, 0.7, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9]),  # both rise: the rate
        ([1.0, 0.5, 0.2, 0.1], [0.9, 0.5, 0.7, 0.9]),  # too few epochs
    ],
)
def test_what_may_be_noise_is_no_verdict(train: list[float], val: list[float]) -> None:
    found = judged([0, 0, 0, 1, 1, 1, 2, 2, 0], history(train, val))
    assert (found.fit, found.since) == (None, None)
    assert not said(found, epochs=len(train))


def test_nothing_is_said_of_losses_where_every_answer_is_right() -> None:
    rows = history([1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2], [0.9, 0.7, 0.6, 0.65, 0.7, 0.75, 0.8])
    assert judged(ANTS.tolist(), rows).fit is None


def test_a_training_loss_that_does_not_move_asks_for_a_higher_rate() -> None:
    found = judged([0] * 9, history([1.10, 1.10, 1.09], [1.1, 1.1, 1.1]))
    assert (found.learned, found.fit) == (False, "under")
    assert "try: a higher --lr or more --epochs, since the training loss hardly fell" in said(
        found, top1=1 / 3, epochs=3
    )


@pytest.mark.parametrize(
    ("train_loss", "losses", "fit"),
    [
        (0.6, [0.7] * 9, "under"),  # a guess among three classes costs ln 3 = 1.0986 nats
        (0.5, [0.7] * 9, None),
        (0.1, [0.3] * 9, None),  # worse by less than a quarter of a guess
        (0.1, [0.4] * 9, "over"),
        (0.1, [0.0] * 8 + [4.0], None),  # worse by 0.34, with a standard error of 0.44
    ],
)
def test_the_fit_of_a_head_is_that_of_its_losses(train_loss: float, losses: list[float], fit: str | None) -> None:
    assert verdict.fit_of_head(train_loss, np.array(losses), BALANCED) == fit


def test_the_fit_of_a_head_in_words() -> None:
    rows = [HEAD_ALONE[0] | {"train_loss": 0.01}]
    over = judged([0, 0, 0, 1, 1, 1, 2, 2, 0], rows, losses=[1.0] * 9)
    assert said(over).startswith("verdict: overfitting: the head fits the training images far better than")
    under = judged([0, 0, 0, 1, 1, 1, 2, 2, 0], [HEAD_ALONE[0] | {"train_loss": 0.9}])
    assert said(under).startswith("verdict: underfitting: the features of this model separate even the training images")
