"""What a person sees: the commands on a terminal that is both stdout and stderr."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from conftest import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def lines(*args: str | Path) -> list[str]:
    """Run `resnest` on a terminal; give what it writes, without colours and movements of the cursor."""
    screen, terminal = pty.openpty()
    command = [sys.executable, "-m", "resnest_cli", *map(str, args)]
    env = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, env=env):
        os.close(terminal)
        written = bytearray()
        while part := _read(screen):
            written += part
    os.close(screen)
    return CONTROL.sub("", written.decode()).splitlines()


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 1 << 16)
    except OSError:  # Linux's end of a terminal that nobody holds any more
        return b""


def test_a_table_of_speeds_stands_below_where_the_bar_was() -> None:
    found = lines("bench", "-m", "digits", "--engine", "torch", "--precision", "fp32,bf16", "--seconds", "0")
    begin = next(number for number, line in enumerate(found) if "images/s  p50 ms" in line)
    assert found[begin].startswith("precision ")
    assert [line.split()[0] for line in found[begin + 1 : begin + 3]] == ["fp32", "bf16"]
    assert any("measuring" in line for line in found[:begin])
    assert not any("measuring" in line for line in found[begin:])


def test_rows_on_the_screen_have_no_bar_among_them() -> None:
    for command in (
        ("predict", SAMPLES, "-m", "digits", "-f", "jsonl"),
        ("embed", SAMPLES, "-m", "digits"),
        ("bench", "-m", "digits", "--engine", "torch", "--precision", "fp32,bf16", "--seconds", "0", "-f", "jsonl"),
    ):
        found = lines(*command)
        rows = [json.loads(line) for line in found if line.startswith("{")]
        assert len(rows) == (2 if command[0] == "bench" else 12)
        assert not any("━" in line for line in found)


def test_a_bar_is_drawn_beside_a_table_of_answers_and_a_file(tmp_path: Path) -> None:
    assert any("classifying" in line for line in lines("predict", SAMPLES, "-m", "digits"))
    to = tmp_path / "answers.jsonl"
    assert any("classifying" in line for line in lines("predict", SAMPLES, "-m", "digits", "-o", to))
