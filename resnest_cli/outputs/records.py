"""What is kept about a job beside its file: how it was begun, and when it is finished, what is in the file.

In: a job's settings, and its rows as they pass. Out: `.FILE.done.json`: by it the same command with --resume finds that
nothing is to be done, and others are refused. It lies beside FILE and not in a cache, since
who runs a command again (a restarted container, a pipeline, another machine on the same disk) has FILE, but maybe not
the cache. It stands only while FILE is whole: a job removes it before the first byte and writes it after the last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import OutputError
from resnest_cli.outputs.rows import About
from resnest_cli.system import atomic, digests, files
from resnest_cli.system.paths import is_bare, working_folder
from resnest_cli.text.json_input import LONGEST_PATH, Entries, parse, shorten
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from resnest_cli.types import Failure, Source


MAX_BYTES = 16 << 20  # of a record: settings and counts
_MOST = 1 << 53  # what a number in JSON holds exactly


class Tally:
    """Counts rows as they pass: how many, what failed, and one hash of all their paths."""

    def __init__(self) -> None:
        self.rows = 0
        self.failures: Counter[str] = Counter()
        self._paths = hashlib.sha256()

    def add(self, path: str, error: str | None = None) -> None:
        """Count the row of an input, and the type of its error."""
        self.rows += 1
        self.failures.update([error] if error else [])
        self._paths.update(json.dumps(path).encode() + b"\n")

    @property
    def inputs(self) -> str:
        """The hash of all paths so far, in their order."""
        return self._paths.hexdigest()


@dataclass(frozen=True)
class Finished:
    """A finished job.

    Attributes:
        settings: what its rows depend on.
        rows: how many there are.
        failures: what failed, by the type of the error.
        inputs: the hash of all their paths.
        checksums: of its files, by name.
        about: what holds for all rows; None in a record of an earlier version.
        folder: in which the job ran, absolute: relative paths begin there; "" in a record of an earlier version.
    """

    settings: dict[str, Any]
    rows: int
    failures: dict[str, int]
    inputs: str
    checksums: dict[str, int]
    about: About | None = None
    folder: str = ""

    def changed(self, path: Path) -> list[Path]:
        """List its files, of which `path` is one, that are not as they were."""
        found = {path.with_name(name): checksum for name, checksum in self.checksums.items()}
        return [file for file, checksum in found.items() if not file.is_file() or digests.crc32(file) != checksum]

    def errors(self) -> Iterator[str | None]:
        """Yield the type of each row's error, None for an answer; not in the order of the rows."""
        yield from Counter(self.failures).elements()
        yield from repeat(None, self.rows - sum(self.failures.values()))

    def refuse_others(self, path: Path, found: Iterator[Source | Failure]) -> None:
        """Check that the inputs are those of the rows in `path`.

        Raises:
            OutputError: the inputs differ.
        """
        tally = Tally()
        for item in islice(found, self.rows):
            tally.add(item.path)
        more = next(found, None)
        if (tally.inputs, tally.rows) == (self.inputs, self.rows) and more is None:
            return
        now = (
            f"the inputs go on with {more.path!r}" if more and tally.inputs == self.inputs else "the inputs are others"
        )
        message = (
            f"{path} is finished: it has {counted(self.rows, 'row')}, and {now}. Give the same "
            "inputs; or another -o for the new ones; or --overwrite in place of --resume to make it anew."
        )
        raise OutputError(message)


def unfinished(path: Path) -> Path:
    """Name the file that stands beside `path` until its job is finished, and says how it was begun."""
    return path.with_name(f"{path.name}.resume.json")


def ledger(path: Path) -> Path:
    """Name the file of stamps beside a file that grows, see `outputs.ledger`."""
    return path.with_name(f".{path.name}.inputs.jsonl")


def again(path: Path) -> str:
    """Return the option that continues an unfinished file."""
    return "--append-new" if ledger(path).exists() else "--resume"


def place(path: Path) -> Path:
    """Name the record of the job that made `path`."""
    return path.with_name(f".{path.name}.done.json")


def write(  # noqa: PLR0913, PLR0917 - what a record holds
    path: Path,
    settings: Mapping[str, Any],
    tally: Tally,
    companions: Iterable[Path],
    about: About,
    folder: str | None = None,
) -> None:
    """Keep what made `path` and its companions, which are all whole; in this folder, or in `folder`.

    Raises:
        OSError: it cannot be written.
    """
    checksums = {file.name: digests.crc32(file) for file in (path, *companions)}
    where = working_folder() if folder is None else folder
    record = Finished(dict(settings), tally.rows, dict(tally.failures), tally.inputs, checksums, about, where)
    atomic.write(place(path), json.dumps(asdict(record), indent=1).encode())


def read(path: Path) -> Finished | None:
    """Return what is known of the job that made `path`; None if nothing is, or if that is no record of ours.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with files.open_own(place(path)) as file:
            return _finished(Entries(parse(file.read(MAX_BYTES))), path)
    except (FileNotFoundError, ValueError):
        return None


def _finished(given: Entries, path: Path) -> Finished:
    """Return a record of `path` from its entries, checked: others may write in the folder.

    Raises:
        ValueError: `write` cannot have written the entries.
    """
    failures, checksums = given.inside("failures"), given.inside("checksums")
    found = Finished(
        given.inside("settings").values,
        given.integer("rows", 0, _MOST),
        {kind: failures.integer(kind, 0, _MOST) for kind in failures.values},
        given.text("inputs"),
        {name: checksums.integer(name, 0, _MOST) for name in checksums.values},
        _about(given.inside("about")),
        given.text("folder", longest=LONGEST_PATH) if "folder" in given.values else "",
    )
    adds_up = sum(found.failures.values()) <= found.rows
    if not (adds_up and path.name in found.checksums and all(map(is_bare, found.checksums))):
        message = "it is of other files, or does not add up"
        raise ValueError(message)
    return found


def _about(given: Entries) -> About | None:
    if not given.values:
        return None
    has_exif = "has_exif" in given.values and given.flag("has_exif")  # records of earlier versions do not say it
    return About(given.integer("topk", 0, _MOST), given.inside("facts").values, given.flag("is_calibrated"), has_exif)


def begun_with(sidecar: Path | str, text: bytes, again: str = "--resume") -> dict[str, Any]:
    """Read how rows were begun.

    Raises:
        OutputError: `sidecar`, which says so, is damaged.
    """
    with contextlib.suppress(ValueError):
        settings = parse(text)
        if isinstance(settings, dict):
            return settings
    message = f"{sidecar} is damaged: add --overwrite in place of {again} to start anew."
    raise OutputError(message)


def compare(
    path: Path | str, before: Mapping[str, Any], fingerprint: Mapping[str, Any], again: str = "--resume"
) -> None:
    """Refuse to go on with rows at `path` that were begun with other settings; `again` is the option that would.

    Raises:
        OutputError: the two differ.
    """
    then, now = _flat(before), _flat(json.loads(json.dumps(fingerprint)))
    changes = [
        f"{shorten(name)} {shorten(then.get(name))}, now {shorten(now.get(name))}"
        for name in then | now
        if then.get(name) != now.get(name)
    ]
    if changes:
        message = (
            f"{path} was begun with other settings: {'; '.join(changes)}. "
            f"Use the same again, or --overwrite in place of {again} to start anew."
        )
        raise OutputError(message)


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Lift the entries of nested mappings, so that a difference is named by the one thing that differs."""
    groups = [value if isinstance(value, dict) else {name: value} for name, value in facts.items()]
    return {name: value for group in groups for name, value in group.items()}
