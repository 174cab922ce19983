"""Check whether rows still hold: look at all their files, and predict a sample of them again.

In: a file of rows, how large a sample, and how the model runs. Out: a `Checked`. Changes nothing, and does not know the
terminal.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.models import provenance
from resnest_cli.options import Options
from resnest_cli.outputs.reading import Results
from resnest_cli.outputs.state import Files, State
from resnest_cli.tasks.calibrate.chosen import NONE
from resnest_cli.tasks.check.compare import Difference, compare, tolerance_of
from resnest_cli.tasks.predict import Classifier
from resnest_cli.text.json_input import parse
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from os import PathLike

    from typing_extensions import Unpack

    from resnest_cli.options import Keywords
    from resnest_cli.outputs.rows import Row
    from resnest_cli.types import Record

LEAST = 10  # rows of a sample that is a share: one row says little
DEFAULT_SAMPLE = "1%"
_OF_THE_RUN = {"weights", "preprocessing", "engine", "precision", "calibration", "versions"}


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        rows: how many there are.
        files: how many of their files are "same", "changed", "gone" or "unseen" (URLs and the like).
        sample: the rows that were predicted again.
        tolerance: the largest difference of a probability that holds, 0..1.
        then: what made the rows, as far as they say: weights, preprocessing, engine, precision, calibration, versions.
        now: the same of the model that was asked.
    """

    rows: int
    files: Mapping[str, int]
    sample: tuple[Difference, ...]
    tolerance: float
    then: Mapping[str, Any]
    now: Mapping[str, Any]

    @property
    def drifted(self) -> list[Difference]:
        """The rows of the sample that do not hold."""
        return [each for each in self.sample if not each.holds]

    @property
    def largest(self) -> float:
        """The largest difference of a probability."""
        return max((each.by for each in self.sample), default=0.0)

    @property
    def other_model(self) -> bool:
        """Whether the weights or the calibration are others than those of the rows, as far as these say."""
        return any(name.startswith(("weights", "calibration")) for name in self.changes)

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """What is not as it was when the rows were made, by name: then, now."""
        then, now = _flat(self.then), _flat(self.now)
        return {name: (then[name], now.get(name)) for name in then if then[name] != now.get(name)}

    @property
    def exit_code(self) -> ExitCode:
        """`SOME_FAILED` unless everything that was looked at holds."""
        holds = not (self.drifted or self.other_model or self.files["changed"] or self.files["gone"])
        return ExitCode.OK if holds else ExitCode.SOME_FAILED


def check(
    rows: str | PathLike[str],
    model: str | Options = "",
    *,
    sample: int | str = DEFAULT_SAMPLE,
    seed: int = 0,
    follow: Callable[[Iterable[Record], int], Iterable[Record]] = lambda records, _: records,
    **changes: Unpack[Keywords],
) -> Checked:
    """Check whether the rows of a file still hold.

    >>> check("answers.csv", sample=100).exit_code
    <ExitCode.OK: 0>

    Args:
        rows: what `predict` wrote, in any format; its paths are relative to this folder, as they were then.
        model: the model that made the rows, where they do not say it, or where it is now; or `Options`.
        sample: how many rows are predicted again: a number, or a share as "5%", of at least ten rows.
        seed: chooses them.
        follow: sees the records pass, and knows their number.
        **changes: fields of `Options`, such as `device="cpu"`.

    Raises:
        UsageError: the rows cannot be read, or do not say which model or calibration made them.
        WeightsUnavailable, BadCheckpoint, DeviceError: the model cannot be opened.
    """
    found = Results(Path(rows))
    found.require_here()
    size = sample_size(sample)
    options = _options(found, Options.of(model, changes))
    files, states = Files(found), Counter[str]()
    there: dict[int, State] = {}  # the numbers of rows that can be predicted again
    for number, row in enumerate(found.rows()):
        state = files.state(row)
        states[state.value] += 1
        if state in {State.SAME, State.CHANGED}:
            there[number] = state
    chosen = {*random.Random(seed).sample([*there], size(len(there)))}  # noqa: S311 - no secret

    def picked() -> Iterator[tuple[Row, State]]:
        return ((row, there[number]) for number, row in enumerate(found.rows()) if number in chosen)

    with Classifier(options, many=True) as classifier:
        if found.about.is_calibrated and not classifier.calibrated:
            raise UsageError(f"{found.path}: its answers are calibrated; add --calibration FILE.")
        now = _facts(classifier)
        tolerance = tolerance_of(now["precision"], found.about.facts.get("precision", now["precision"]))
        sources = (Source(row["path"]) for row, _ in picked())
        records = follow(classifier.classify(sources, topk=classifier.spec.num_classes), len(chosen))
        differences = tuple(
            replace(compare(row, record, tolerance), file_changed=state is State.CHANGED)
            for (row, state), record in zip(picked(), records, strict=True)
        )
    counts = {state.value: states[state.value] for state in State}
    return Checked(states.total(), counts, differences, tolerance, found.about.facts, now)


def _facts(classifier: Classifier) -> dict[str, Any]:
    """Return what would be said of rows that the model makes now, as JSON has it."""
    facts = provenance.predictions(classifier.spec, classifier.options, classifier.engine)
    facts |= classifier.calibrated.facts if classifier.calibrated else {}
    found: dict[str, Any] = parse(json.dumps(facts).encode())
    return found


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row depends on, and versions, each by one name."""
    found: dict[str, Any] = {}
    for name in facts.keys() & _OF_THE_RUN:
        value = facts[name]
        found |= {f"{name}: {key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return dict(sorted(found.items()))


def sample_size(given: int | str) -> Callable[[int], int]:
    """Return what says how many of a number of rows are a sample.

    Raises:
        UsageError: it is neither a number from 1 on nor a share above 0%, up to 100%.
    """
    text = str(given)
    try:
        if text.endswith("%") and 0 < (share := float(text[:-1])) <= 100:  # noqa: PLR2004 - percent
            return lambda count: min(count, max(LEAST, math.ceil(count * share / 100)))
        if (number := int(text)) > 0:
            return lambda count: min(count, number)
    except ValueError:
        pass
    raise UsageError(f"--sample {text}: give a number of rows, as 100, or a share, as 5%.")


def _options(found: Results, now: Options) -> Options:
    """Return the options that run the model of the rows as it ran then.

    Raises:
        UsageError: nothing says which model that is.
    """
    facts = dict(found.about.facts)
    options = replace(now, model=now.model)
    if "model" in facts:
        options = provenance.options_of_predictions(facts, now)
    elif not now.model:
        raise UsageError(f"{found.path} does not say which model made its rows: name it with --model.")
    if not found.about.is_calibrated:
        return replace(options, calibration=NONE)
    known = facts.get("calibration", {})
    return replace(options, **{name: known[name] for name in ("coverage", "max_strangeness") if name in known})
