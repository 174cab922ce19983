"""How many inputs of a job may fail before it stops.

In: a limit as a person types it, and counts as rows pass. Out: an error when there are too many. Standard library only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnest_cli.errors import TooManyFailures, UsageError

if TYPE_CHECKING:
    from collections import Counter

LEAST_ROWS = 100  # before a share is judged: the first few inputs say little


@dataclass(frozen=True)
class MaxFailures:
    """The most that may fail: a number of inputs, and a share (0..1) of those that have a row.

    A share is judged from `LEAST_ROWS` rows on, and at the end.
    """

    text: str = ""
    number: float = math.inf
    share: float = 1.0

    @classmethod
    def of(cls, given: MaxFailures | int | str | None) -> MaxFailures:
        """Read a number N or a share "P%"; None sets no limit.

        Raises:
            UsageError: it is neither.
        """
        if given is None or isinstance(given, cls):
            return given or cls()
        text = str(given)
        number = text.removesuffix("%")
        try:
            if text.endswith("%") and 0 <= float(number) <= 100:  # noqa: PLR2004 - percent
                return cls(text, share=float(number) / 100)
            return cls(text, number=_natural(number if number == text else ""))
        except ValueError as error:
            message = f"--max-failures {text}: give a number of inputs, as 100, or a share, as 5%."
            raise UsageError(message) from error

    def check(self, ok: int, failures: Counter[str], *, at_end: bool = False) -> None:
        """Stop the job if too many have failed.

        Raises:
            TooManyFailures: more have failed than may.
        """
        failed = failures.total()
        is_judged = at_end or ok + failed >= LEAST_ROWS
        if failed > self.number or (is_judged and failed > self.share * (ok + failed)):
            types = ", ".join(f"{kind} {count:,}" for kind, count in failures.most_common())
            message = (
                f"{failed:,} of {ok + failed:,} inputs failed, more than --max-failures {self.text} allows: {types}. "
                "Raise the limit to go on."
            )
            raise TooManyFailures(message)


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value
