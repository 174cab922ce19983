"""What a validation is asked for, as one frozen value.

In: options of the command line, or keyword arguments. Out: the values, unchecked. Standard library only: the command
line takes texts and defaults from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Results:
    """The files that a validation writes.

    The first line of a value is its help on the command line.

    Attributes:
        output: Write the numbers there too, as JSON; - is -f json.
        per_class: Write the table of classes.
            It is CSV.
        confusion: Write the confusion matrix: .csv or .png.
        mistakes: Write a page of the worst mistakes.
            It is HTML.
        overwrite: Replace files that exist.
    """

    output: Path | None = None
    per_class: Path | None = None
    confusion: tuple[Path, ...] = ()
    mistakes: Path | None = None
    overwrite: bool = False
