"""The content of the result files: the table of classes, the confusion matrix, and the page of the worst mistakes.

In: a `Validation`. Out: CSV, HTML or PNG. Does not know where a file goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.outputs import mistakes, plots
from resnest_cli.outputs.lettering import drawable
from resnest_cli.text import cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnest_cli.tasks.validate.result import Mistake, Validation

CLASS_COLUMNS = (
    *("index", "wnid", "label", "n", "right", "right_in_5", "top1", "top5", "predicted", "precision"),
    *("mistaken_for_index", "mistaken_for_label", "mistaken_for_n"),
)


@dataclass(frozen=True)
class ClassRow:
    """One class; shares are in percent, and None without images.

    `top1` and `top5` are shares of its own `n` images (top-1 is the recall), `precision` of the images `predicted` as
    it. `mistaken_for` is the class that its images are most often taken for, and how often.
    """

    index: int
    n: int
    right: int
    right_in_5: int
    predicted: int
    mistaken_for: tuple[int, int] | None

    @property
    def top1(self) -> float | None:
        """Accuracy on its images."""
        return _share(self.right, self.n)

    @property
    def top5(self) -> float | None:
        """Share of its images with it among the best five."""
        return _share(self.right_in_5, self.n)

    @property
    def precision(self) -> float | None:
        """Share of the images predicted as it that are it."""
        return _share(self.right, self.predicted)


def class_rows(found: Validation) -> list[ClassRow]:
    """Return every class that was scored, in the order of indices, with or without images."""
    return [_class_row(found, index) for index in found.among.tolist()]


def classes_csv(found: Validation) -> str:
    """Return the table of classes."""
    return cells.table(
        [CLASS_COLUMNS, *(map(cells.escape_surrogates, _class_cells(found, row)) for row in class_rows(found))]
    )


def confusion_csv(found: Validation) -> str:
    """Return the confusion matrix: a row per true class, a column per predicted class (by index), counts of images."""
    among = found.among.tolist()
    counts = found.tally.confusion[np.ix_(found.among, found.among)].tolist()
    named = [[i, found.labels.wnids[i] or "", cells.escape_surrogates(found.labels.names[i])] for i in among]
    rows = [[*name, *values] for name, values in zip(named, counts, strict=True)]
    return cells.table([["index", "wnid", "label", *among], *rows])


def confusion_png(found: Validation) -> bytes:
    """Return the picture of the confusion matrix, see `plots.confusion_png`."""
    title = f"{drawable(found.spec.name)}, {found.tally.images} images"
    return plots.confusion_png(*confusion(found), title)


def confusion(found: Validation) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], dict[int, str]]:
    """Return true classes, predicted classes and their images, each int64 [M], and the names of the scored classes."""
    true, predicted = np.nonzero(found.tally.confusion)
    names = {index: found.labels.names[index] for index in found.among.tolist()}
    return true, predicted, found.tally.confusion[true, predicted], names


def mistakes_html(found: Validation) -> str:
    """Return a page of the worst mistakes, the highest loss first, with their thumbnails inside."""
    wrong = found.tally.images - found.tally.right
    title = f"{found.spec.name}: {len(found.worst)} worst of {wrong} mistakes in {found.tally.images} images"
    return mistakes.page(title, (_item(found, mistake) for mistake in found.worst))


def _class_row(found: Validation, index: int) -> ClassRow:
    row = found.tally.confusion[index].copy()
    n, right = int(row.sum()), int(row[index])
    row[index] = 0
    most = int(row.argmax())
    return ClassRow(
        index,
        n,
        right,
        int(found.tally.top5[index]),
        predicted=int(found.tally.confusion[:, index].sum()),
        mistaken_for=(most, int(row[most])) if row[most] else None,
    )


def _class_cells(found: Validation, row: ClassRow) -> list[Any]:
    names, wnids = found.labels.names, found.labels.wnids
    other = (row.mistaken_for[0], names[row.mistaken_for[0]], row.mistaken_for[1]) if row.mistaken_for else ("", "", "")
    counts = (row.n, row.right, row.right_in_5)
    return [
        row.index,
        wnids[row.index],
        names[row.index],
        *counts,
        row.top1,
        row.top5,
        row.predicted,
        row.precision,
        *other,
    ]


def _item(found: Validation, mistake: Mistake) -> mistakes.Item:
    names, answer = found.labels.names, mistake.answer
    facts = (
        ("is", f"{names[answer.truth]} ({answer.truth})"),
        ("taken for", f"{names[answer.best[0]]} ({answer.best[0]}), {answer.confidence:.1%}"),
        ("then", ", ".join(names[i] for i in answer.best[1:])),
        ("loss", f"{answer.loss:.2f}"),
    )
    return mistakes.Item(mistake.path, mistake.thumbnail, facts)


def _share(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 4) if whole else None
