"""Lists of names as people, editors and other systems write them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SAMPLES

from resnest_cli.errors import ExitCode, ResnestError, UsageError
from resnest_cli.inputs.lists import listed
from resnest_cli.inputs.named import Inputs

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest

TWO, SIX = SAMPLES / "two_0051.png", SAMPLES / "six_0034.png"
DIGITS = ("-m", "digits", "-j", "0")


class Slowly(io.RawIOBase):
    """Gives one byte at a time, as a pipe that somebody types into."""

    def __init__(self, content: bytes) -> None:
        self.left = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - as io has it
        now, self.left = self.left[:1], self.left[1:]
        buffer[: len(now)] = now
        return len(now)


def names(content: bytes, *, null: bool = False) -> list[str]:
    at_once = list(listed(io.BufferedReader(io.BytesIO(content)), null=null))
    assert list(listed(io.BufferedReader(Slowly(content)), null=null)) == at_once
    return at_once


def rows(stdout: bytes) -> list[tuple[str, str]]:
    found = [json.loads(line) for line in stdout.splitlines()]
    return [(row["path"], row["error"]["type"] if "error" in row else row["predictions"][0]["label"]) for row in found]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_is_read_however_it_is_written(encoding: str, end: str) -> None:
    mark = "\ufeff" if encoding[-3:] in {"-le", "-be"} else ""
    text = mark + end.join(["a.png", "", "bä/日本.png", "-", "c d.png"])
    for content in (text, text + end):
        assert names(content.encode(encoding)) == ["a.png", "bä/日本.png", "./-", "c d.png"]


def test_a_carriage_return_within_lines_is_part_of_a_name() -> None:
    assert names(b"a.png\nIcon\r\nx\ry.png\n") == ["a.png", "Icon", "x\ry.png"]
    assert names(b"\xff\xe9.png\n") == [os.fsdecode(b"\xff\xe9.png")]
    assert names(b"x\r\ny\0", null=True) == ["x\r\ny"]
    assert names(b"") == names(b"\n\n") == names(b"\xef\xbb\xbf") == names(b"\xff\xfe") == []
    assert names(b"\xef\n") == [os.fsdecode(b"\xef")]


@pytest.mark.parametrize("null", [True, False])
def test_a_list_in_which_no_name_ends_is_refused_at_once(null: bool) -> None:  # noqa: FBT001 - a parameter of the test
    content = 200_000 * b"a"  # a table of ten times the size, without the -0 it needs, took minutes
    begun = time.process_time()
    with pytest.raises(UsageError, match="a name has more than 65,536 bytes: this is no list of names"):
        names(content, null=null)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfea\0b", "is not the UTF-16 that its first bytes promise"),
        (b"a.png\0b.png\0", "names that end with one are read with -0"),
    ],
)
def test_a_list_that_is_none_says_what_it_is(content: bytes, words: str, resnest: Resnest) -> None:
    with pytest.raises(ResnestError, match=words):
        names(content)
    done = resnest("predict", "--files-from", "-", *DIGITS, stdin=content)
    assert (done.exit_code != ExitCode.OK, words in done.stderr) == (True, True)


def test_a_list_without_names_is_a_failed_input_as_an_empty_folder_is(resnest: Resnest, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b"\n")
    done = resnest("predict", TWO, "--files-from", empty, *DIGITS)
    assert rows(done.stdout_bytes) == [(str(TWO), "two"), (str(empty), "NoImages")]
    assert done.exit_code == ExitCode.SOME_FAILED
    done = resnest("predict", "--files-from", "-", *DIGITS)
    assert json.loads(done.stdout)["error"] == {"type": "NoImages", "message": "the list of inputs names nothing."}


def test_a_file_named_dash_does_not_let_standard_input_be_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").write_bytes(TWO.read_bytes())
    assert Inputs((), "-").count()() is None
    command = [sys.executable, "-m", "resnest_cli", "predict", "--files-from", "-", *DIGITS, "-o", "rows.jsonl"]
    given = b"".join(os.fsencode(path) + b"\n" for path in [str(TWO), "-", str(SIX)] * 20)
    done = subprocess.run(command, input=given, capture_output=True, timeout=120, check=False)
    written = rows((tmp_path / "rows.jsonl").read_bytes())
    assert written == [(str(TWO), "two"), ("./-", "two"), (str(SIX), "six")] * 20
    assert done.returncode == ExitCode.OK


def test_what_is_called_dash_is_not_taken_for_standard_input_nor_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resnest: Resnest
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").write_bytes(SIX.read_bytes())
    done = resnest("predict", "-", "?", "./-", "-", *DIGITS, stdin=TWO.read_bytes())
    assert rows(done.stdout_bytes) == [("-", "two"), ("./-", "six"), ("./-", "six"), ("-", "UnreadableInput")]
    (tmp_path / "-").unlink()
    (tmp_path / "-").mkdir()
    (tmp_path / "-" / "six.png").write_bytes(SIX.read_bytes())
    done = resnest("predict", "-", "./-", *DIGITS, stdin=TWO.read_bytes())
    assert rows(done.stdout_bytes) == [("-", "two"), ("./-/six.png", "six")]


# --- Standard input that is not one image


def test_names_where_an_image_is_expected_are_told_from_one(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b.png").write_bytes(TWO.read_bytes())
    (tmp_path / "P2").write_bytes(b"")
    words = "this is a list of names, not an image: --files-from - reads one (-0 where NUL bytes end them)."
    for given in (b"a b.png\nc.png\n", b"a b.png\r\n", b"a b.png\0c.png\0", b"http://127.0.0.1/a.png\n"):
        done = resnest("predict", "-", *DIGITS, stdin=given)
        assert json.loads(done.stdout)["error"] == {"type": "NotAnImage", "message": words}
    done = resnest("predict", "-", *DIGITS, stdin=b"P2\n2 2\n255\n0 0 0 0\n")
    assert rows(done.stdout_bytes)[0][1] != "NotAnImage"
    done = resnest("predict", "-", *DIGITS, stdin=b"lost.png\n")
    assert json.loads(done.stdout)["error"]["message"] == "this is a text file, not an image."


def test_a_second_image_on_standard_input_is_not_lost_without_a_word(resnest: Resnest) -> None:
    done = resnest("predict", "-", *DIGITS, stdin=TWO.read_bytes() + SIX.read_bytes())
    assert rows(done.stdout_bytes) == [("-", "two")]
    assert "standard input holds more than one image, and only the first is looked at" in done.stderr
    done = resnest("predict", "-", *DIGITS, stdin=TWO.read_bytes())
    assert "more than one" not in done.stderr
