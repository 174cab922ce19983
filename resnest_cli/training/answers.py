"""What a model says of each validation image, as a table that people and programs read: `validation.csv`.

In: a `Setup` and a `Judgement`. Out: one `Answer` per image, in the order of the validation side; its table, and back.
"""

from __future__ import annotations

import csv
from dataclasses import astuple, dataclass, fields, replace
from typing import TYPE_CHECKING

from resnest_cli.errors import BadDataSet
from resnest_cli.inputs import splits
from resnest_cli.system import atomic, files
from resnest_cli.text import cells
from resnest_cli.training.report import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from resnest_cli.training.judgement import Judgement
    from resnest_cli.training.setup import Setup

FILENAME = "validation.csv"
DIGITS = 6  # after the point


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one image.

    Attributes:
        path: of its file.
        label: its class by name.
        taken_for: the class that the model takes it for.
        probability: that of `taken_for`, 0..1.
        loss: the cross-entropy in nats.
    """

    path: str
    label: str
    taken_for: str
    probability: float
    loss: float

    @property
    def right(self) -> bool:
        """Whether the model says the label."""
        return self.label == self.taken_for


COLUMNS = tuple(item.name for item in fields(Answer))


def of(setup: Setup, judgement: Judgement) -> list[Answer]:
    """Return the answers that a judgement of the validation side holds."""
    names = setup.data.classes
    rows = zip(
        setup.data.side(splits.VAL),
        judgement.predicted.tolist(),
        judgement.confidence.tolist(),
        judgement.losses.tolist(),
        strict=True,
    )
    return [
        Answer(path, names[label], names[taken], round(probability, DIGITS), round(loss, DIGITS))
        for (path, label), taken, probability, loss in rows
    ]


def write(folder: Path, found: Iterable[Answer]) -> None:
    """Write the table. A path that is not UTF-8 keeps its bytes.

    Raises:
        OutputError: the folder cannot be written.
    """
    _write(folder, [COLUMNS, *map(astuple, found)])


def write_folds(folder: Path, found: Sequence[Sequence[Answer]]) -> None:
    """Write the table of the answers of several folds, with a column more: the number of the fold.

    Raises:
        OutputError: the folder cannot be written.
    """
    rows = ((*astuple(answer), number) for number, fold in enumerate(found, 1) for answer in fold)
    _write(folder, [(*COLUMNS, "fold"), *rows])


def _write(folder: Path, rows: Iterable[Iterable[object]]) -> None:
    with files.as_output_error(folder):
        atomic.write(folder / FILENAME, cells.table(rows))


def read(setup: Setup) -> list[Answer]:
    """Return the answers that were written into the folder of a run, with the paths that its images have now.

    Raises:
        BadDataSet: the table is missing or damaged.
    """
    table, images = setup.out / FILENAME, setup.data.side(splits.VAL)
    try:
        with table.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            _, *rows = csv.reader(file)
        found = [_answer(*row) for row in rows]
        return [replace(answer, path=path) for answer, (path, _) in zip(found, images, strict=True)]
    except (OSError, csv.Error, ValueError, TypeError) as error:
        message = (
            f"{table} is not what the run wrote. Remove {setup.out / METRICS} and --resume: the fold is done again."
        )
        raise BadDataSet(message) from error


def _answer(path: str, label: str, taken_for: str, probability: str, loss: str) -> Answer:
    """Return the answer of a row.

    Raises:
        ValueError: a number is none.
    """
    path, label, taken_for = map(cells.unescape, (path, label, taken_for))
    return Answer(path, label, taken_for, float(probability), float(loss))
