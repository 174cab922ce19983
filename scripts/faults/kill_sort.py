"""Kill `resnest sort` and `resnest sort --undo` again and again; print where, and whether the tree came back.

A run makes a tree of odd files, sorts it in a process that is killed (SIGKILL), undoes that in processes of which some
are killed too, and compares the tree byte for byte with its beginning: names, bytes, permissions, times. After each
kill every content must still be somewhere. Most processes are killed before a random call or return in the modules that
touch files; every tenth run uses the command line and a random time. Every third run sorts to another disk (/dev/shm).

    python scripts/faults/kill_sort.py --runs 200
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli import sort, undo_sort

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[[], Any]

OTHER_DISK = Path("/dev/shm")  # noqa: S108 - a new folder in it
WATCHED = ("tasks/sort/carry.py", "tasks/sort/journal.py", "tasks/sort/undo.py", "system/transfer.py")
NAMES = [
    "dog.jpg",
    "Dog.jpg",
    "dog.JPG",
    "dog.cr2",
    "dog.xmp",
    "dog.jpg.json",
    "caf\u00e9.png",
    "cafe\u0301.png",
    "a b",
]
LABELS = ["dog", "Dog", "crane", "CON", "_unsure", "a/b"]
ANSWERED = 0.9
HOW = ["copy", "link", "hardlink", "move", "move", "move"]
COMMAND = [sys.executable, "-m", "resnest_cli", "sort"]


@dataclass
class Trial:
    """One tree, where it is sorted to, and how."""

    chance: random.Random
    place: Path
    to: Path
    how: str

    @property
    def rows(self) -> Path:
        """The results file."""
        return self.place / "rows.jsonl"

    def sort(self) -> None:
        """Sort the tree."""
        sort(self.rows, self.to, how=self.how, apply=True, min=0.3, failed=True, with_sidecars=True)

    def undo(self) -> None:
        """Undo what was sorted."""
        for journal in self.journals():
            undo_sort(journal)

    def journals(self) -> list[Path]:
        """Return the journals there are."""
        return [*self.place.rglob(".resnest-sort-*"), *self.to.parent.glob(".resnest-sort-*")][:1]

    def snapshot(self) -> dict[str, tuple[Any, ...]]:
        """Return all that is there, by name."""
        return {str(path): look(path) for root in {self.place, self.to.parent} for path in root.rglob("*")}


def main() -> int:
    """Run; return 1 if a tree did not come back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    begun, found = time.perf_counter(), Counter[str]()
    faults = []
    for seed in range(args.seed, args.seed + args.runs):
        kills, fault = trial(seed)
        found.update(kills)
        if fault:
            faults.append(f"seed {seed}: {fault}")
    print(f"runs     {args.runs} in {time.perf_counter() - begun:.0f} s")
    for where, count in sorted(found.items()):
        print(f"killed   {count:4} {where}")
    print("faults  ", *(faults or ["none"]), sep="\n         " if faults else " ")
    return int(bool(faults))


def trial(seed: int, *, by_time: bool | None = None) -> tuple[list[str], str]:
    """Make, sort, kill and undo one tree; return where processes were killed, and what is wrong, "" for nothing."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    by_time = seed % 10 == 0 if by_time is None else by_time
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory(dir=other_disk()) as other:
        to = Path(other, "new") if seed % 3 == 0 else Path(place, chance.choice(["tree", "tree/new", "sorted"]))
        case = Trial(chance, Path(place), to, chance.choice(HOW))
        make(case, 400 if by_time else 25)
        return killed_by_time(case) if by_time else killed_by_step(case)


def killed_by_step(case: Trial) -> tuple[list[str], str]:
    """Kill a sort, and its undoing up to twice, before a random step."""
    before, held = case.snapshot(), contents(case)
    steps = in_process(case.sort, 0)
    in_process(case.undo, 0)
    if case.snapshot() != before:
        return [], "undone without a kill, the tree differs"
    in_process(case.sort, case.chance.randint(1, steps))
    kills = [f"{case.how}, sorting"]
    for _ in range(case.chance.randint(0, 2)):
        if not contents(case) >= held:
            return kills, "a file is lost"
        if in_process(case.undo, case.chance.randint(1, steps)) < 0:
            kills.append(f"{case.how}, undoing")
    if not contents(case) >= held:
        return kills, "a file is lost"
    in_process(case.undo, 0)
    return kills, differences(before, case.snapshot())


def killed_by_time(case: Trial) -> tuple[list[str], str]:
    """Kill the command that sorts at a random time, and the one that undoes it."""
    before, held = case.snapshot(), contents(case)
    words = [str(case.rows), "--to", str(case.to), f"--{case.how}", "--apply", "--failed", "--with-sidecars"]
    kills = []
    begun = time.perf_counter()
    subprocess.run([*COMMAND, *words[:3]], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
    dry = time.perf_counter() - begun
    if case.snapshot() != before:
        return [], "a dry run changed something"
    if kill_after([*COMMAND, *words], dry * case.chance.uniform(0.6, 1.6)):
        kills.append(f"{case.how}, sorting, by time")
    if not contents(case) >= held:
        return kills, "a file is lost"
    for journal in case.journals():
        undo = [*COMMAND, "--undo", str(journal)]
        if kill_after(undo, dry * case.chance.uniform(0.6, 1.2)):
            kills.append(f"{case.how}, undoing, by time")
        if journal.exists():
            subprocess.run(undo, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own
    return kills, differences(before, case.snapshot())


def make(case: Trial, count: int) -> None:
    """Write a tree of files and the rows that name them."""
    rows = []
    tree = case.place / "tree"
    for number in range(count):
        path = tree / f"{number % (count // 4)}" / case.chance.choice(NAMES)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            continue
        path.write_bytes(case.chance.randbytes(case.chance.choice([0, 10, 100_000])))
        path.chmod(case.chance.choice([0o644, 0o444, 0o600]))
        os.utime(path, ns=(10**18, 10**18 + case.chance.randrange(10**18)))
        is_ok = case.chance.random() < ANSWERED
        one = {
            "rank": 1,
            "index": 1,
            "wnid": None,
            "label": case.chance.choice(LABELS),
            "probability": case.chance.random(),
        }
        status = {"status": "ok", "predictions": [one]} if is_ok else {"status": "error", "predictions": []}
        error = {} if is_ok else {"error": {"type": "BrokenImage", "message": ""}}
        rows.append({"path": str(path), **status, **error})
    case.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))


def in_process(command: Command, stop: int) -> int:
    """Run a command in a process that is killed before its step `stop`; return its steps, -1 if it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        watched_run(command, stop, writer)
    os.close(writer)
    with os.fdopen(reader) as said:
        steps = said.read()
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return -1
    if os.WEXITSTATUS(ended):
        raise RuntimeError("the command failed, see above")
    return int(steps)


def watched_run(command: Command, stop: int, writer: int) -> None:
    """Run a command and leave the process; kill it before the call or return number `stop` of the watched modules."""
    steps = 0

    def count(frame: Any, _event: str, _arg: object) -> None:  # noqa: ANN401 - as Python calls it
        nonlocal steps
        if frame.f_code.co_filename.endswith(WATCHED):
            steps += 1
            if steps == stop:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.setprofile(count)
        command()
        sys.setprofile(None)
        os.write(writer, str(steps).encode())
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a fork that returned would go on with the script
        sys.setprofile(None)
        import traceback  # noqa: PLC0415 - for this end only

        traceback.print_exc()
        os._exit(1)


def kill_after(command: list[str], seconds: float) -> bool:
    """Start a process and kill it after a time; return whether it still ran."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False


def contents(case: Trial) -> Counter[bytes]:
    """Return the bytes of all files, each name once."""
    return Counter(what[3] for what in case.snapshot().values() if what[0] == "file")


def look(path: Path) -> tuple[Any, ...]:
    """Return what a name stands for: its kind, permissions; of files time and bytes, of links the target."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return ("link", str(path.readlink()))
    if stat.S_ISDIR(status.st_mode):
        return ("folder", status.st_mode)
    return ("file", status.st_mode, status.st_mtime_ns, path.read_bytes())


def differences(before: dict[str, tuple[Any, ...]], after: dict[str, tuple[Any, ...]]) -> str:
    """Return the names that differ, "" if none does."""
    return ", ".join(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))[:3])


def other_disk() -> Path | None:
    """Return a folder on another disk than that of temporary files, if there is one."""
    return OTHER_DISK if OTHER_DISK.is_dir() and shutil.disk_usage(OTHER_DISK).free else None


if __name__ == "__main__":
    sys.exit(main())
