"""What a person sees: the commands on a terminal that is both stdout and stderr."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from class_folders import fill
from conftest import SAMPLES
from rates import PROGRAM

if TYPE_CHECKING:
    from conftest import Shell

pytestmark = pytest.mark.usefixtures("decode_here")

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def lines(*args: str | Path) -> list[str]:
    """Run `resnest` on a terminal; return what it writes, without colors and movements of the cursor."""
    return CONTROL.sub("", written(*args).decode()).splitlines()


def written(*args: str | Path) -> bytes:
    """Run `resnest` on a terminal; return all that it writes."""
    screen, terminal = pty.openpty()
    program = ("-c", PROGRAM) if args[0] == "bench" else ("-m", "resnest_cli")
    command = [sys.executable, *program, *map(str, args)]
    env = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, env=env):
        os.close(terminal)
        written = bytearray()
        while part := _read(screen):
            written += part
    os.close(screen)
    return bytes(written)


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 1 << 16)
    except OSError:  # Linux's end of a terminal that nobody holds any more
        return b""


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "html"])
def test_what_programs_read_moves_no_cursor_where_a_person_sees_it(format: str, tmp_path: Path, shell: Shell) -> None:
    name, label = b"\x1b]0;\xc2\x9b\xe2\x80\xae\xff\t.png", "\x1b[2J\x9b{}"
    Path(os.fsdecode(bytes(tmp_path / "six") + name)).write_bytes((SAMPLES / "six_0034.png").read_bytes())
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(map(label.format, range(10))), encoding="utf-8")
    words = ("predict", tmp_path, "-m", "digits", "-k", "1", "-q", "--labels", labels, "-f", format)
    screen = written(*words).replace(b"\r\n", b"\n").decode()
    assert "[2J" in screen
    assert screen.replace("\n", "").replace("\t", "").isprintable()
    piped = shell("resnest", *words).stdout
    assert (name in piped and label.format(6).encode() in piped) is (format in {"csv", "tsv"})  # as the contract says


def test_tables_for_programs_move_no_cursor_either(tmp_path: Path) -> None:
    model = tmp_path / "\x1b[2J\x9b"
    shutil.copytree(SAMPLES.parent, model, ignore=shutil.ignore_patterns("samples"))
    for words in (("show", model, "-f", "csv"), ("bench", "-m", model, "--seconds", "0", "-q", "-f", "csv")):
        screen = written(*words).replace(b"\r\n", b"\n").decode()
        assert "[2J" in screen
        assert screen.replace("\n", "").isprintable()


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


@pytest.mark.slow
def test_finetune_shows_how_many_files_are_checked(tmp_path: Path) -> None:
    images = fill(tmp_path / "images", {"a": 3, "b": 3})
    shown = lines("train", images, "-m", "digits", "-o", tmp_path / "out", "--batch", "3", "--device", "cpu")
    assert any(re.search(r"checking \S+ 6/6 ", line) for line in shown)
    assert shown[-1].startswith("error: --batch 3: ")


def test_a_folder_has_a_line_for_each_image_and_at_its_end_how_many_of_each_class() -> None:
    shown = lines("predict", SAMPLES, SAMPLES / "gone.png", "-m", "digits", "-k", "1", "--no-progress")
    begin = next(i for i, line in enumerate(shown) if line.startswith("digits on "))
    # What stands before a name is the checkout's folder, and cut in front where it is long.
    rows = [line.rstrip()[line.index("/samples/") + 9 :].split() for line in shown[begin + 1 : begin + 14]]
    assert rows == [line.split() for line in GOLDEN_LINES.splitlines()]
    assert {line.index("%") for line in shown[begin + 1 : begin + 13]} == {119}
    assert shown[begin + 14].startswith("13 inputs in ")
    assert shown[begin + 15 :] == GOLDEN_CLASSES.splitlines()


GOLDEN_LINES = """\
eight_0028.png                   eight                            95.98%
five_0035.png                    five                             83.10%
four_0024.png                    four                             81.86%
nine_0037.png                    nine                             72.44%
nine_0039.png                    nine                             90.49%
one_0021.png                     one                              89.05%
one_0042.png                     one                              94.28%
seven_0081.png                   seven                            90.71%
six_0034.png                     six                              84.80%
three_0045.png                   three                            95.43%
two_0051.png                     two                              83.15%
zero_0078.png                    zero                             93.01%
gone.png                         UnreadableInput: no such file.
"""
GOLDEN_CLASSES = """\
1 of 13 inputs failed: UnreadableInput 1.
12 images, by first class:
  2  nine
  2  one
  1  eight
  1  five
  1  four
  5  in 5 more classes
"""
