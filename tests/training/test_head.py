"""The solved head is scikit-learn's, and its penalty is one that does well on rows it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from resnest_cli.training import head

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]


def features(  # noqa: PLR0913 - what a problem is made of
    rows: int, width: int, classes: int, *, apart: float, noise: float = 0.0, seed: int = 0
) -> tuple[Rows, NDArray[np.int64]]:
    """Draw features as pooling leaves them, not negative, around a center per class; a share of labels is wrong."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(0, apart, (classes, width))
    true = np.arange(rows) % classes
    drawn = np.maximum(rng.normal(0, 1, (rows, width)) * np.linspace(0.01, 3, width) + centers[true], 0)
    labels = np.where(rng.random(rows) < noise, rng.integers(0, classes, rows), true)
    return drawn.astype(np.float32), labels


def solve(rows: Rows, labels: NDArray[np.int64], **how: Any) -> head.Head:  # noqa: ANN401 - passed on
    return head.solve(torch.from_numpy(rows), torch.from_numpy(labels), int(labels.max()) + 1, **how)


def reference(strength: float, **how: Any) -> Any:  # noqa: ANN401 - scikit-learn is untyped
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, tol=1e-9, max_iter=50_000, **how))


def probabilities(solved: head.Head, rows: Rows) -> NDArray[np.float64]:
    return torch.softmax(solved.logits(torch.from_numpy(rows)).double(), dim=1).numpy()


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize(("rows", "width"), [(300, 40), (60, 200)], ids=["tall", "wide"])
def test_it_is_scikit_learns(rows: int, width: int, balance: bool) -> None:  # noqa: FBT001 - a parameter of a test
    drawn, labels = features(rows, width, 4, apart=0.3, noise=0.1)
    labels[labels == 3] = np.where(np.arange((labels == 3).sum()) % 3, 0, 3)  # a rare class
    solved = solve(drawn, labels, balance=balance)
    expected = reference(solved.strength, class_weight="balanced" if balance else None)
    expected.fit(drawn.astype(np.float64), labels)
    unseen, _ = features(100, width, 4, apart=0.3, seed=1)
    np.testing.assert_allclose(probabilities(solved, unseen), expected.predict_proba(unseen), atol=2e-4)
    assert solved.loss == pytest.approx(log_loss(labels, expected.predict_proba(drawn)), abs=1e-4)


def test_rows_that_are_all_right_take_few_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss goes on falling there, in directions of very different curvature."""
    product, calls = head._Problem._product, []  # noqa: SLF001 - to count them

    def counted(problem: Any, *values: Any) -> torch.Tensor:  # noqa: ANN401 - passed on
        calls.append(values)
        return product(problem, *values)

    monkeypatch.setattr(head._Problem, "_product", counted)  # noqa: SLF001 - as above
    drawn, labels = features(400, 150, 5, apart=0.15)
    solved = solve(drawn, labels)
    assert solved.logits(torch.from_numpy(drawn)).argmax(dim=1).tolist() == labels.tolist()
    assert len(calls) < 600


@pytest.mark.parametrize(("apart", "noise"), [(0.1, 0.3), (0.3, 0.1), (1.0, 0.0)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_its_penalty_is_about_the_best_for_unseen_rows(apart: float, noise: float, seed: int) -> None:
    drawn, labels = features(240, 60, 3, apart=apart, noise=noise, seed=10 * seed)
    unseen, wanted = features(3000, 60, 3, apart=apart, noise=noise, seed=seed)
    fitted = [reference(strength).fit(drawn, labels).predict_proba(unseen) for strength in head.STRENGTHS]
    right = [accuracy_score(wanted, probabilities.argmax(axis=1)) for probabilities in fitted]
    losses = [log_loss(wanted, probabilities) for probabilities in fitted]
    chosen = probabilities(solve(drawn, labels), unseen)
    assert accuracy_score(wanted, chosen.argmax(axis=1)) > max(right) - 0.04
    assert log_loss(wanted, chosen) < 1.25 * min(losses)
    assert max(losses) > 1.3 * min(losses)


@pytest.mark.parametrize("apart", [0.15, 0.3])
def test_classes_are_found_where_the_features_vary_least(apart: float) -> None:
    """Strong penalties say nothing then, and their cross-entropy is low; weak ones are right, and too sure of it."""
    drawn = np.random.default_rng(99)
    nuisance, centers = 4 * drawn.normal(size=(6, 120)), apart * drawn.normal(size=(10, 120))

    def rows(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(count, 6)) @ nuisance + rng.normal(size=(count, 120))
        return (noise + np.tile(centers, (count // 10, 1))).astype(np.float32), np.arange(count) % 10

    (known, labels), (unseen, wanted) = rows(300, 0), rows(3000, 1)
    best = max(reference(strength).fit(known, labels).score(unseen, wanted) for strength in head.STRENGTHS)
    assert accuracy_score(wanted, probabilities(solve(known, labels), unseen).argmax(axis=1)) > best - 0.04 > 0.2


def test_the_threads_of_torch_are_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        solve(*features(30, 5, 3, apart=1.0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_feature_that_is_constant_counts_for_nothing() -> None:
    drawn, labels = features(90, 10, 3, apart=0.5)
    padded = np.concatenate([drawn, np.full((90, 1), 7.1, np.float32), np.zeros((90, 1), np.float32)], axis=1)
    alone, beside = solve(drawn, labels), solve(padded, labels)
    assert beside.weight[:, 10:].eq(0).all()
    torch.testing.assert_close(beside.weight[:, :10], alone.weight, atol=1e-5, rtol=1e-4)


def test_a_class_of_one_row_and_few_rows_are_enough() -> None:
    drawn, labels = features(9, 20, 3, apart=2.0)
    labels[labels == 2] = 0
    labels[8] = 2
    solved = solve(drawn, labels)
    assert solved.weight.shape == (3, 20)
    assert solved.logits(torch.from_numpy(drawn)).argmax(dim=1).tolist() == labels.tolist()


def test_rows_of_one_value_give_the_shares_of_the_classes() -> None:
    solved = solve(np.ones((10, 4), np.float32), np.array([0] * 7 + [1] * 2 + [2]))
    np.testing.assert_allclose(probabilities(solved, np.ones((1, 4), np.float32)), [[0.7, 0.2, 0.1]], atol=1e-4)
