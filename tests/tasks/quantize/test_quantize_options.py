"""The options of a quantization are checked where they are declared."""

from __future__ import annotations

from typing import Any

import pytest

from resnest_cli.errors import UsageError
from resnest_cli.tasks.quantize.options import QuantizeOptions


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"samples": 0}, "--samples 0: use a whole number from 1."),
        ({"min_agreement": 1.1}, "--min-agreement 1.1: use a number from 0 to 1."),
        ({"min_agreement": float("nan")}, "--min-agreement nan: use a number from 0 to 1."),
    ],
)
def test_a_value_out_of_range_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        QuantizeOptions(**changes)
    assert refused.value.message == words
