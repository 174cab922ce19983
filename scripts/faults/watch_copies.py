"""Copy images into a watched folder as people and programs do, and count what `predict --watch` makes of them.

    python scripts/faults/watch_copies.py --count 10000

In: how many, and a seed. A third is written in pieces, some with pauses longer than a watcher waits; a third is renamed
into place; a third is deleted again, and half of these come back. Half-way the watcher is killed, and started again.
Out: counts on stdout, and the share of a core that the watcher takes while nothing happens. The exit code is 1 if a
file has no good row, or another number of rows than one, or if a row failed.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from resnest_cli.models.catalog import DIGITS

WATCH = [sys.executable, "-m", "resnest_cli", "predict", "-m", "digits", "--watch", "--quiet"]
THREADS = 64
IDLE_S = 60
LIMIT_S = 900  # for the last rows
PAUSES = (0.01, 0.1, 0.5, 1.5, 4.0)  # seconds; a file is at rest for the watcher after 1


def copy(number: int, folder: Path, images: list[bytes], seed: int) -> Path | None:
    """Bring an image into the folder in some way; return its path, or None where it is gone again."""
    draw = random.Random(f"{seed} {number}")  # noqa: S311 - no secret
    content, path = draw.choice(images), folder / f"{number % 100:02d}" / f"{number}.png"
    path.parent.mkdir(exist_ok=True)
    way = number % 3
    target = path.with_suffix(".part") if way == 1 else path
    with target.open("wb") as file:
        cuts = sorted(draw.sample(range(1, len(content)), draw.randint(1, 4)))
        for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            file.write(content[begin:end])
            file.flush()
            if end < len(content):
                time.sleep(draw.choices(PAUSES, (40, 40, 15, 4, 1))[0])
    if way == 1:
        target.rename(path)
    if way == 2:  # noqa: PLR2004 - the last third
        time.sleep(draw.choice(PAUSES[:4]))
        path.unlink()
        if draw.random() < 0.5:  # noqa: PLR2004 - half of them
            return None
        path.write_bytes(content)
    return path


def watch(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start a watcher."""
    return subprocess.Popen([*WATCH, str(folder), "-o", str(out)])  # noqa: S603 - ours


def rows(out: Path) -> list[dict[str, object]]:
    """Return the whole rows of a file that grows."""
    text = out.read_bytes() if out.exists() else b""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]


def cpu_seconds(process: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    """Copy, watch, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    images = [path.read_bytes() for path in sorted((DIGITS / "samples").iterdir())]
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary, "in"), Path(temporary, "rows.jsonl")
        folder.mkdir()
        begun, watcher = time.monotonic(), watch(folder, out)
        left: set[str] = set()
        with ThreadPoolExecutor(THREADS) as threads:
            for half in (range(args.count // 2), range(args.count // 2, args.count)):
                made = threads.map(lambda number: copy(number, folder, images, args.seed), half)
                left |= {str(path) for path in made if path}
                if half.start == 0:
                    watcher.kill()
                    watcher.wait()
                    watcher = watch(folder, out)
        while len({row["path"] for row in rows(out)} & left) < len(left) and time.monotonic() < begun + LIMIT_S:
            time.sleep(1)
        seconds, before = time.monotonic() - begun, cpu_seconds(watcher.pid)
        time.sleep(IDLE_S)
        idle = (cpu_seconds(watcher.pid) - before) / IDLE_S
        watcher.send_signal(signal.SIGTERM)
        code = watcher.wait()
        found = rows(out)
    counts = Counter(row["path"] for row in found if row["path"] in left)
    failed = [row["path"] for row in found if row["status"] != "ok"]
    print(f"{args.count:,} files in {seconds:.0f} s, {len(left):,} of them stayed; the watcher ended with {code}")
    print(f"rows: {len(found):,}; of the files that stayed {len(counts):,} have one, {len(failed)} failed, "
          f"{sum(count > 1 for count in counts.values())} have more than one")  # fmt: skip
    print(f"idle: {idle:.2%} of a core")
    sys.exit(bool(failed) or counts != Counter(left))


if __name__ == "__main__":
    main()
