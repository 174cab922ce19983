"""How often sets hold the true class, over many seeded splits of labeled images; and the calibration error.

In: a model and labeled images that it was not trained on. Out: for each coverage the share of covered images and the
mean set size as a table in Markdown: of RAPS as `resnest calibrate` makes them, and of APS (the same without
regularization) with u = 0 as ours, with the random u of the paper, and with u = 1, as libraries have it without
randomness. Logits are computed once, and kept in --logits.

    python scripts/measure/calibration.py MODEL DIR --logits logits.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from resnest_cli import Classifier
from resnest_cli.inputs.labelled.dataset import Dataset, Labelled
from resnest_cli.pipeline.stream import Row
from resnest_cli.tasks.calibrate import judging, scores, sets, temperature
from resnest_cli.tasks.calibrate.judging import COVERAGES, Logits
from resnest_cli.tasks.labelled import rows, scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnest_cli.tasks.calibrate.file import Fit
    from resnest_cli.tasks.calibrate.sets import Ranked

    Placed: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int64]]  # scores by rank [N, C], the true class's rank

RAPS = "RAPS, u = 0"


class Split(NamedTuple):
    """What one split shows: calibration error before and after, and {coverage: {form: (covered, size)}}."""

    before: float
    after: float
    sets: dict[float, dict[str, tuple[float, float]]]


def read(model: str, data: Path) -> Logits:
    """Return the logits of all images in a labeled folder."""
    with Classifier(model) as opened:
        dataset = Dataset(data, opened.labels, "all")
        with scratch(dataset) as folder:
            pairs = [
                (row.values, image.truth)
                for image, row in rows(opened.trunk, dataset, folder)
                if isinstance(row, Row) and isinstance(image, Labelled)
            ]
    logits, truth = zip(*pairs, strict=True)
    return Logits(np.stack(logits), np.array(truth))


def split(images: Logits, seed: int) -> Split:
    """Return what one split shows. One half chooses, a quarter gives limits, the last quarter is judged."""
    choosing, scoring = images.halves(seed)
    found = judging.fit(choosing, scoring)
    shares = [temperature.softmax(scoring.logits, degree) for degree in (1.0, found.temperature)]
    one, other = (np.argsort(-share, axis=1, kind="stable") for share in shares)
    if not np.array_equal(one, other):
        sys.exit(f"seed {seed}: the temperature changes the order of classes")
    before, after = (error(share, scoring.truth) for share in shares)
    return Split(before, after, compared(scoring, found, seed))


def error(shares: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Return the calibration error."""
    return scores.calibration_error(shares.max(axis=1), shares.argmax(axis=1) == truth)


def compared(scoring: Logits, found: Fit, seed: int) -> dict[float, dict[str, tuple[float, float]]]:
    """Return, for each coverage that there are enough images for, the covered share and the mean size of each form."""
    limiting, judged = (half.ranked(found.temperature) for half in scoring.halves(seed))
    count, random = len(limiting.place), np.random.default_rng(seed)
    draws = [random.random((len(half.place), 1)) for half in (limiting, judged)]
    forms = {
        RAPS: [sets.by_rank(half.descending, found.rule) for half in (limiting, judged)],
        "APS, u = 0": [sets.by_rank(half.descending, sets.NONE) for half in (limiting, judged)],
        "APS, u drawn": [aps(half, u) for half, u in zip((limiting, judged), draws, strict=True)],
        "APS, u = 1": [aps(half, np.ones(1)) for half in (limiting, judged)],
    }
    return {
        coverage: {
            name: of_sets((one, limiting.place), (other, judged.place), sets.rank(count, coverage))
            for name, (one, other) in forms.items()
        }
        for coverage in COVERAGES
        if sets.least(coverage) <= count
    }


def aps(images: Ranked, u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scores of adaptive prediction sets with this u, by rank [N, C]."""
    return sets.by_rank(images.descending, sets.NONE) + u * images.descending


def of_sets(limiting: Placed, judged: Placed, rank: int) -> tuple[float, float]:
    """Return the covered share and the mean size: the limit is the score of a rank in the one, the other is judged."""
    costs, place = limiting
    limit = np.sort(costs[np.arange(len(place)), place])[rank - 1]
    costs, place = judged
    members = costs <= limit
    return float(members[np.arange(len(place)), place].mean()), float(members.sum(axis=1).mean())


def line(coverage: float, found: list[Split]) -> str:
    """Return the row of a coverage."""
    cells = [f"{coverage:.0%}"]
    for name in found[0].sets[coverage]:
        covered, sizes = zip(*(each.sets[coverage][name] for each in found), strict=True)
        low, high = np.quantile(covered, (0.05, 0.95))
        shares = f"{np.mean(covered):.1%}" + f" ({low:.1%} to {high:.1%})" * (name == RAPS)
        cells.append(f"{shares}, {np.mean(sizes):.2f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Coverage and set sizes over seeded splits.")
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--logits", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=100)
    given = parser.parse_args()
    if not given.logits.exists():
        images = read(given.model, given.data)
        np.savez(given.logits, logits=images.logits, truth=images.truth)
    kept = np.load(given.logits)
    images = Logits(kept["logits"], kept["truth"])
    found = [split(images, seed) for seed in range(given.splits)]
    right = float((images.logits.argmax(axis=1) == images.truth).mean())
    errors = [np.array([getattr(each, name) for each in found]) for name in ("before", "after")]
    print(f"{len(images)} images, top-1 {right:.2%}, {given.splits} splits")
    for name, values in zip(("before", "after"), errors, strict=True):
        print(f"calibration error {name}: mean {values.mean():.4f}, 95% below {np.quantile(values, 0.95):.4f}")
    forms = [*found[0].sets[COVERAGES[0]]]
    print(f"| asked | {' | '.join(f'{name}: covers, size' for name in forms)} |\n|{' --- |' * (len(forms) + 1)}")
    for coverage in found[0].sets:
        print(line(coverage, found))


if __name__ == "__main__":
    main()
