"""Every labelled file, read and decoded once, in worker processes that can be killed.

In: examples. Out: the same examples, each with the sha256 of its file, or left out for a reason; the fingerprints of
their pictures; and on the way, how many are done. A file that hangs or crashes its decoder, or takes all memory, costs
itself only.
"""

from __future__ import annotations

import os
import re
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from resnest_cli.errors import ImageError, as_image_error
from resnest_cli.inputs import loading
from resnest_cli.inputs.loading import Check, Checked
from resnest_cli.inputs.splits import LEFT_OUT
from resnest_cli.options import Options
from resnest_cli.system import machine
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from resnest_cli.inputs.tables import Example

TIMEOUT_S = Options.timeout  # per file
FILES_PER_WORKER = 32  # that are worth the start of a process
AHEAD = 8  # files that a worker is given at a time


class Scanning(NamedTuple):
    """So many files are checked, out of all."""

    done: int
    total: int


def check(examples: list[Example]) -> Generator[Scanning, None, tuple[list[Example], dict[str, bytes]]]:
    """Return the examples with their hashes, and the fingerprint of each hash; yield the progress, from 0.

    Files that do not decode become left out.
    """
    found = [Source(example.path) for example in examples if example.split != LEFT_OUT]
    yield Scanning(0, len(found))
    answers = _in_processes(found) if os.name == "posix" else (_answer(partial(Check(), each)) for each in found)
    done, fingerprints, judged = 0, {}, list(examples)
    for at, example in enumerate(examples):
        if example.split != LEFT_OUT:
            answer = next(answers)
            judged[at] = _judged(example, answer)
            if isinstance(answer, Checked):
                fingerprints[answer.sha256] = answer.fingerprint
            done += 1
            yield Scanning(done, len(found))
    return judged, fingerprints


def _in_processes(found: list[Source]) -> Iterator[Checked | ImageError]:
    if not found:
        return
    workers = min(machine.usable_cores(), -(-len(found) // FILES_PER_WORKER))
    waiting: deque[Callable[[], Checked]] = deque()
    with loading.start(Check(), workers, TIMEOUT_S) as pool:
        for source in found:
            waiting.append(partial(pool.result, pool.submit(source)))
            if len(waiting) == workers * AHEAD:
                yield _answer(waiting.popleft())
        while waiting:
            yield _answer(waiting.popleft())


def _answer(check: Callable[[], Checked]) -> Checked | ImageError:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - see `as_image_error`
        return as_image_error(error)


def _judged(example: Example, answer: Checked | ImageError) -> Example:
    if isinstance(answer, ImageError):
        return replace(example, split=LEFT_OUT, reason=f"{type(answer).__name__}: {without_options(answer.message)}")
    return replace(example, sha256=answer.sha256)


def without_options(message: str) -> str:
    """Return the message of a reader without options of `predict`, which `finetune` and `train` do not have."""
    message = message.replace("; --timeout sets the limit", "")
    return re.sub(r"--max-pixels sets the limit \(([\d,]+)\)", r"the limit is \1", message)
