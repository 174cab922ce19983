"""Every labelled file, read and decoded once, in worker processes that can be killed.

In: examples. Out: the same examples, each with the sha256 of its file, or left out for a reason. A file that hangs or
crashes its decoder, or takes all memory, costs itself only.
"""

from __future__ import annotations

import os
import re
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from resnest_cli.errors import ImageError, as_image_error
from resnest_cli.inputs import loading
from resnest_cli.inputs.loading import Check
from resnest_cli.inputs.splits import LEFT_OUT
from resnest_cli.options import Options
from resnest_cli.system import machine
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resnest_cli.inputs.tables import Example

TIMEOUT_S = Options.timeout  # per file
FILES_PER_WORKER = 32  # that are worth the start of a process
AHEAD = 8  # files that a worker is given at a time


def check(examples: list[Example]) -> list[Example]:
    """Return the examples with their hashes; files that do not decode become left out."""
    found = [Source(example.path) for example in examples if example.split != LEFT_OUT]
    answers = _in_processes(found) if os.name == "posix" else (_answer(partial(Check(), each)) for each in found)
    return [example if example.split == LEFT_OUT else _checked(example, next(answers)) for example in examples]


def _in_processes(found: list[Source]) -> Iterator[str | ImageError]:
    if not found:
        return
    workers = min(machine.usable_cores(), -(-len(found) // FILES_PER_WORKER))
    waiting: deque[Callable[[], str]] = deque()
    with loading.start(Check(), workers, TIMEOUT_S) as pool:
        for source in found:
            waiting.append(partial(pool.result, pool.submit(source)))
            if len(waiting) == workers * AHEAD:
                yield _answer(waiting.popleft())
        while waiting:
            yield _answer(waiting.popleft())


def _answer(check: Callable[[], str]) -> str | ImageError:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - see `as_image_error`
        return as_image_error(error)


def _checked(example: Example, answer: str | ImageError) -> Example:
    if isinstance(answer, ImageError):
        return replace(example, split=LEFT_OUT, reason=f"{type(answer).__name__}: {_without_options(str(answer))}")
    return replace(example, sha256=answer)


def _without_options(message: str) -> str:
    """Return the message of a reader without options of `predict`, which `finetune` and `train` do not have."""
    message = message.replace("; --timeout sets the limit", "")
    return re.sub(r"--max-pixels sets the limit \(([\d,]+)\)", r"the limit is \1", message)
