"""How many inputs of a job may fail before it is stopped.

In: what a person typed, and counts as rows pass. Out: an error when there are too many. Standard library only.
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
    def of(cls, text: str) -> MaxFailures:
        """Read N or P%.

        Raises:
            UsageError: it is neither.
        """
        number = text.removesuffix("%")
        try:
            if text.endswith("%") and 0 <= float(number) <= 100:  # noqa: PLR2004 - percent
                return cls(text, share=float(number) / 100)
            return cls(text, number=_natural(number if number == text else ""))
        except ValueError as error:
            message = f"--max-failures {text}: give a number of inputs, as 100, or a share, as 5%."
            raise UsageError(message) from error

    def check(self, ok: int, failures: Counter[str], *, at_end: bool = False) -> None:
        """See whether the job may go on.

        Raises:
            TooManyFailures: it may not.
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
