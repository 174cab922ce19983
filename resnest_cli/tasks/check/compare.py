"""Two records of one image: a row, and what the model says now.

In: a row, and a record with all classes. Out: how far they are apart, and whether that is too far. Knows no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnest_cli.types import Failure

if TYPE_CHECKING:
    from resnest_cli.outputs.rows import Row
    from resnest_cli.types import Prediction, Record

# Largest differences of a probability that mean nothing: another engine, batch size or processor sums in another order.
# A probability moves by at most a quarter of what its logit moves against the others. Logits of about 10 move by up to
# 2e-5 in fp32 (`tests/engines/test_engine_contract.py`). bf16 keeps 8 bits, so some roundings move them by 0.1 or so,
# and fp16, with 11 bits, by an eighth of that. Processors round int8 differently too.
TOLERANCES = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.01, "int8": 0.05}


@dataclass(frozen=True)
class Difference:
    """How far a row is from what the model says now.

    Attributes:
        path: the image.
        then: the row's first class with its probability, or its error.
        now: what is there now.
        by: the largest difference of a probability, 0..1; 0 where either has failed.
        holds: it is small enough, or both failed in the same way.
        was_failure: the row is an error.
        file_changed: the image is another than that of the row.
    """

    path: str
    then: str
    now: str
    by: float
    holds: bool
    was_failure: bool = False
    file_changed: bool = False


def compare(row: Row, record: Record, tolerance: float) -> Difference:
    """Compare a row with a record of all classes, by their probabilities per class and per rank.

    The order of the classes may differ only where the tolerance leaves it open.
    """
    then = row["error"]["type"] if "error" in row else _first(row)
    now = record.type if isinstance(record, Failure) else _words(record.predictions[0])
    if "error" in row or isinstance(record, Failure):
        return Difference(row["path"], then, now, 0.0, then == now, "error" in row)
    by = _largest(row, record.predictions)
    renamed = _renamed(row, record.predictions)
    return Difference(row["path"], renamed or then, now, by, by <= tolerance and not renamed)


def tolerance_of(*precisions: str) -> float:
    """Return the largest difference that holds between rows of these precisions; an unknown one is as loose as any."""
    return max(TOLERANCES.get(precision, max(TOLERANCES.values())) for precision in precisions)


def _largest(row: Row, now: tuple[Prediction, ...]) -> float:
    shares = {each.index: each.probability for each in now}
    pairs = [(each["probability"], shares.get(each["index"], 0.0)) for each in row["predictions"]]
    pairs += [(each["probability"], best.probability) for each, best in zip(row["predictions"], now, strict=False)]
    return max((abs(then - now) for then, now in pairs), default=0.0)


def _renamed(row: Row, now: tuple[Prediction, ...]) -> str:
    """Return a class of the row that has another name now, or ""."""
    names = {each.index: each.label for each in now}
    changed = (each for each in row["predictions"] if names.get(each["index"]) != each["label"])
    return next((f"{each['label']} (class {each['index']})" for each in changed), "")


def _first(row: Row) -> str:
    best = next(iter(row["predictions"]), None)
    return f"{best['label']} {best['probability']:.4f}" if best else "no class"


def _words(best: Prediction) -> str:
    return f"{best.label} {best.probability:.4f}"
