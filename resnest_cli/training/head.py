"""A linear classifier on features, solved: multinomial logistic regression with its penalty chosen on held-out rows.

In: features and classes of the training images. Out: weights and biases for the features as they are, and the penalty.
Knows nothing of images, networks or validation images.

The loss is convex, so there is one best head for a penalty, and no learning rate or epochs to find it with. It is that
of scikit-learn's `LogisticRegression` on standardized features: the sum over rows of their cross-entropies, plus
|W|^2 / 2C; biases are free. C is chosen by cross-validation within the training images, see `_choose`.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

STRENGTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)  # values of C; each solution is the start for the next one
USUAL = 1.0  # scikit-learn's default
FOLDS = 3
ONE_FOLD_FROM = 5_000  # rows; a third of so many tells strengths apart by itself
NEWTON_STEPS, PRODUCTS = 100, 500  # at most; products of the curvature are per step
REST = 0.1  # of the gradient that a step leaves, in the norm of the preconditioner
ROUGH, EXACT = 1e-4, 1e-10  # how far the mean loss may still fall, to compare strengths and to keep a head
LEAST_FALL = 1e-4  # of what the slope promises
LARGE = 20_000_000  # numbers in features, from which on several threads pay
FAR = 1.25  # times the lowest cross-entropy; of features that say little it rises by a thirtieth, and falls again
TINY = 1e-12  # against a division by zero, where all rows are sure
CONSTANT = 1e-6  # a deviation below this share of the mean is rounding: float32 has 7 digits


@dataclass(frozen=True)
class Head:
    """A solved classifier: logits = features @ weight.T + bias.

    Attributes:
        weight: float32 [C, F].
        bias: float32 [C].
        strength: the C of the penalty |W|^2 / 2C on standardized features.
        loss: the mean cross-entropy of the training rows.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    strength: float
    loss: float

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits float32 [N, C] of features float32 [N, F]."""
        return functional.linear(features, self.weight, self.bias)


def solve(features: torch.Tensor, targets: torch.Tensor, classes: int, *, balance: bool = False, seed: int = 0) -> Head:
    """Return the best head for these rows.

    Args:
        features: float32 [N, F].
        targets: class indices, int64 [N].
        classes: the number of classes.
        balance: weigh rows so that each class counts the same.
        seed: random seed of the folds.
    """
    weights = _weights(targets) if balance else torch.ones(len(targets))
    with _one_thread(wanted=features.numel() < LARGE):
        strength = _choose(features, targets, classes, weights, seed)
        problem = _Problem(features, targets, classes, weights)
        solution = problem.zero()
        for step in STRENGTHS[: STRENGTHS.index(strength) + 1]:
            solution = problem.minimize(step, solution, EXACT if step == strength else ROUGH)
    weight, bias = problem.unscaled(solution)
    loss = functional.cross_entropy(functional.linear(features, weight, bias), targets)
    return Head(weight, bias, strength, float(loss))


@contextmanager
def _one_thread(*, wanted: bool) -> Iterator[None]:
    """Compute small products in one thread: on two busy cores, two threads took 1.6 to 10 times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if wanted else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _choose(features: torch.Tensor, targets: torch.Tensor, classes: int, weights: torch.Tensor, seed: int) -> float:
    """Return the best strength by rows that heads were not solved on.

    Of the strengths whose accuracy is within a standard error of the highest, it is that with the lowest cross-entropy.
    By cross-entropy alone, features that say little would get a head that says nothing. Where what matters varies least
    in the features, strong penalties hide it: there a rise of the cross-entropy ends nothing.
    """
    problems = [
        (held_out, _Problem(features[~held_out], targets[~held_out], classes, weights[~held_out]))
        for held_out in _folds(targets.numpy(), seed)
    ]
    if not problems:  # of no class two rows
        return USUAL
    solutions = [problem.zero() for _, problem in problems]
    total = sum(float(weights[held_out].sum()) for held_out, _ in problems)
    found: list[tuple[float, float, float]] = []  # accuracy, cross-entropy, strength
    for strength in STRENGTHS:
        right = loss = 0.0
        for at, (held_out, problem) in enumerate(problems):
            solutions[at] = problem.minimize(strength, solutions[at], ROUGH)
            logits, true = functional.linear(features[held_out], *problem.unscaled(solutions[at])), targets[held_out]
            loss += float((functional.cross_entropy(logits, true, reduction="none") * weights[held_out]).sum())
            right += float(((logits.argmax(dim=1) == true) * weights[held_out]).sum())
        if found and right / total <= max(found)[0] and loss > FAR * min(each[1] for each in found):
            break  # and weaker ones would do worse still
        found.append((right / total, loss, strength))
    highest = max(found)[0]
    rate = (highest * total + 1) / (total + 2)  # of all rows right, none could be wrong
    least = highest - math.sqrt(rate * (1 - rate) / total)
    return min((loss, strength) for accuracy, loss, strength in found if accuracy >= least)[1]


def _folds(targets: NDArray[np.int64], seed: int) -> Iterator[torch.Tensor]:
    """Yield masks of rows to hold out, a third of each class; a class with one row is never held out."""
    rng = np.random.default_rng(seed)
    fold = np.full(len(targets), -1)
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        if len(rows) > 1:
            fold[rng.permutation(rows)] = (np.arange(len(rows)) + rng.integers(FOLDS)) % FOLDS
    for number in range(1 if len(targets) >= ONE_FOLD_FROM else FOLDS):
        if (fold == number).any():
            yield torch.from_numpy(fold == number)


def _weights(targets: torch.Tensor) -> torch.Tensor:
    """Return the weight of each row, float32 [N] with mean 1: each class weighs the same."""
    counts = torch.bincount(targets)
    return len(targets) / ((counts > 0).sum() * counts[targets]).float()


class _Problem:
    """The penalized loss of these rows, features float32 [N, F]; a solution is [W | b], float64 [C, F' + 1].

    Fewer rows than features span as many dimensions as there are rows, and the penalty does not change when they are
    turned: so F' is the lesser of N and F, which makes a problem of few rows quick.
    """

    def __init__(self, features: torch.Tensor, targets: torch.Tensor, classes: int, weights: torch.Tensor) -> None:
        self.targets, self.classes, self.weights = targets, classes, weights.double()
        rows = features.double()
        self.mean, deviation = rows.mean(dim=0), rows.std(dim=0, unbiased=False)
        self.factor = torch.where(deviation > CONSTANT * self.mean.abs(), 1 / deviation, 0.0)
        self.rows = (rows - self.mean) * self.factor
        self.basis: torch.Tensor | None = None
        if len(rows) < rows.shape[1]:
            self.basis, turned = torch.linalg.qr(self.rows.T)
            self.rows = turned.T
        self.spread = self.rows.T @ (self.rows * self.weights[:, None]) / len(rows)
        self.eye = torch.eye(self.rows.shape[1], dtype=torch.float64)

    def zero(self) -> torch.Tensor:
        """Return the start: all classes are equally likely."""
        return torch.zeros(self.classes, self.rows.shape[1] + 1, dtype=torch.float64)

    def minimize(self, strength: float, start: torch.Tensor, tolerance: float) -> torch.Tensor:
        """Return the solution for a strength, by Newton's method with conjugate gradients.

        Rows that are all right make the loss nearly flat in most directions: L-BFGS took 118 to 1250 evaluations of the
        loss there, where this takes 20 to 250 products of the curvature (four sets of 720 to 840 rows, 512 features).
        """
        penalty = 1 / (strength * len(self.rows))
        solution = start
        loss, sure = self._loss(solution, penalty)
        for _ in range(NEWTON_STEPS):
            gradient = self._gradient(solution, sure, penalty)
            step = self._newton_step(gradient, sure, penalty)
            slope = float((gradient * step).sum())
            if -slope <= tolerance:
                break
            length = 1.0
            before = loss
            while True:
                loss, sure = self._loss(solution + length * step, penalty)
                if loss <= before + LEAST_FALL * length * slope or length < tolerance:
                    break
                length /= 2
            solution = solution + length * step
        return solution

    def _loss(self, solution: torch.Tensor, penalty: float) -> tuple[float, torch.Tensor]:
        """Return the mean loss, and the probabilities float64 [N, C]."""
        weight = solution[:, :-1]
        logarithms = torch.log_softmax(functional.linear(self.rows, weight, solution[:, -1]), dim=1)
        losses = -logarithms.gather(1, self.targets[:, None]).squeeze(1)
        mean = float((losses * self.weights).mean() + penalty / 2 * weight.square().sum())
        return mean, logarithms.exp()

    def _gradient(self, solution: torch.Tensor, sure: torch.Tensor, penalty: float) -> torch.Tensor:
        return self._to_rows(sure - functional.one_hot(self.targets, self.classes), solution, penalty)

    def _product(self, along: torch.Tensor, sure: torch.Tensor, penalty: float) -> torch.Tensor:
        """Return the curvature of the loss times a direction."""
        moved = functional.linear(self.rows, along[:, :-1], along[:, -1])
        return self._to_rows(sure * (moved - (sure * moved).sum(dim=1, keepdim=True)), along, penalty)

    def _to_rows(self, logits: torch.Tensor, solution: torch.Tensor, penalty: float) -> torch.Tensor:
        """Carry derivatives by the logits, [N, C], to weights and biases; the penalty is on weights."""
        logits = logits * self.weights[:, None] / len(self.rows)
        return torch.cat([logits.T @ self.rows + penalty * solution[:, :-1], logits.sum(dim=0)[:, None]], dim=1)

    def _newton_step(self, gradient: torch.Tensor, sure: torch.Tensor, penalty: float) -> torch.Tensor:
        """Return about the step to where the gradient vanishes, by preconditioned conjugate gradients.

        The preconditioner takes the same curvature for all classes and rows, their mean.
        """
        curvature = float((sure * (1 - sure)).mean())
        factor = torch.linalg.cholesky(curvature * self.spread + penalty * self.eye)

        def precondition(residual: torch.Tensor) -> torch.Tensor:
            weight = torch.cholesky_solve(residual[:, :-1].T, factor).T
            return torch.cat([weight, residual[:, -1:] / (curvature + TINY)], dim=1)

        step, residual = torch.zeros_like(gradient), -gradient
        along = precondition(residual)
        size = first = float((residual * along).sum())
        for _ in range(PRODUCTS):
            if size <= REST**2 * first:
                break
            product = self._product(along, sure, penalty)
            length = size / float((along * product).sum())
            step, residual = step + length * along, residual - length * product
            turned = precondition(residual)
            size, before = float((residual * turned).sum()), size
            along = turned + size / before * along
        return step

    def unscaled(self, solution: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weights and biases for features as they are, float32."""
        weight, bias = solution[:, :-1], solution[:, -1]
        if self.basis is not None:
            weight = weight @ self.basis.T
        weight = weight * self.factor
        return weight.float(), (bias - weight @ self.mean).float()
