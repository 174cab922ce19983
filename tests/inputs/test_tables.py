"""Tables as spreadsheets and label tools write them: the same rows, however they are spelled."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from class_folders import load
from conftest import SAMPLES
from hub_stub import Page, Stub
from PIL import Image, ImageChops

from resnest_cli.errors import ExitCode, UnreadableInput
from resnest_cli.inputs import tables
from resnest_cli.inputs.tables import Example

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest

SPELLINGS = {
    "plain": b"path,label\na/1.png,one\nb 2.png,zw\xc3\xb6lf\n",
    "semicolons": "path;label\r\na/1.png;one\r\nb 2.png;zw\u00f6lf\r\n".encode(),
    "tabs": "path\tlabel\na/1.png\tone\nb 2.png\tzw\u00f6lf\n".encode(),
    "in capitals": "Path,LABEL\na/1.png,one\nb 2.png,zw\u00f6lf\n".encode(),
    "other names": "id,File Name,class\n1,a/1.png,one\n2,b 2.png,zw\u00f6lf\n".encode(),
    "blanks": " path , label \na/1.png, one\nb 2.png,  zw\u00f6lf \n".encode(),
    "blanks and quotes": '"path", "label"\n"a/1.png", "one"\n"b 2.png", "zw\u00f6lf"\n'.encode(),
    "UTF-8 with a mark": "path,label\na/1.png,one\nb 2.png,zw\u00f6lf\n".encode("utf-8-sig"),
    "UTF-16": "path\tlabel\r\na/1.png\tone\r\nb 2.png\tzw\u00f6lf\r\n".encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + "path;label\na/1.png;one\nb 2.png;zw\u00f6lf\n".encode("utf-16-be"),
    "blank rows": "\npath;label\n;\na/1.png;one\n\n ; \nb 2.png;zw\u00f6lf\n;;\n".encode(),
    "Excel's hint": "sep=;\npath;label\na/1.png;one\nb 2.png;zw\u00f6lf\n".encode(),
    "an empty column more": "path,label\na/1.png,one,\nb 2.png,zw\u00f6lf,,\n".encode(),
    "line ends of old": "path,label\ra/1.png,one\rb 2.png,zw\u00f6lf\r".encode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_rows_are_the_same_however_they_are_spelled(spelling: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(SPELLINGS[spelling])
    found = [(row.path, row.label) for row in tables.read(tmp_path / "list.csv")]
    assert found == [("a/1.png", "one"), ("b 2.png", "zw\u00f6lf")]


def test_the_number_of_a_row_is_that_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("sep=,\n\npath,label,split\n\na.png,one,Valid\n")
    (row,) = tables.read(tmp_path / "list.csv")
    assert (row, row.number) == (Example("a.png", "one", "val"), 5)


def test_bytes_that_are_no_utf8_stay(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"path,label\n\xff.png,one\n")
    (row,) = tables.read(tmp_path / "list.csv")
    assert os.fsencode(row.path) == b"\xff.png"


def test_utf16_without_its_mark_is_said(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("path,label\na.png,one\n".encode("utf-16-le"))
    with pytest.raises(UnreadableInput, match=r"list\.csv cannot be read as a table: it is no text, or UTF-16"):
        list(tables.read(tmp_path / "list.csv"))


@pytest.mark.parametrize(
    ("typed", "there"),
    [
        ("a\\b\\x.png", "a/b/x.png"),
        (".\\a\\x.png", "a/x.png"),
        ("a/x.png ", "a/x.png"),
        ("a\\x.png", "a\\x.png"),
        ("x.png ", "x.png "),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="back slashes part folders there")
def test_back_slashes_and_blanks_are_looked_behind_only_where_no_file_has_them(
    typed: str, there: str, tmp_path: Path
) -> None:
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).touch()
    assert os.path.samefile(tables.source(tmp_path / "list.csv", typed).path, tmp_path / there)  # noqa: PTH121 - of text


def test_what_is_nowhere_keeps_its_name(tmp_path: Path) -> None:
    assert tables.source(tmp_path / "list.csv", "a\\x.png").path == f"{tmp_path}/a\\x.png"
    assert tables.source(tmp_path / "list.csv", " s3://bucket/x.png").path == "s3://bucket/x.png"
    web = tables.source(tmp_path / "list.csv", "https://me:secret@host/x.png")
    assert (web.path, web.url) == ("https://***@host/x.png", "https://me:secret@host/x.png")


def test_validate_and_finetune_read_the_same_table(resnest: Resnest, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    lines = ["File;Class"]
    for name in ("seven", "two"):
        for i in range(4):
            picture = Image.open(next(SAMPLES.glob(f"{name}*.png")))
            ImageChops.offset(picture, i, 0).save(tmp_path / "pictures" / f"{name} {i}.png")
            lines.append(f"pictures\\{name} {i}.png;{name}")
    table = tmp_path / "list.txt"
    table.write_bytes("\r\n".join(lines).encode("utf-16"))
    ended = resnest("validate", table, "-m", "digits", "-f", "json")
    assert ended.exit_code == ExitCode.OK, ended.output
    assert (json.loads(ended.stdout)["n"], json.loads(ended.stdout)["top1"]) == (8, 100)
    data = load(table)
    assert data.classes == ("seven", "two")
    assert data.counts("train") == {"seven": 3, "two": 3}


def test_urls_in_a_table_are_fetched_where_that_is_allowed(resnest: Resnest, tmp_path: Path) -> None:
    with Stub({"/x.png": Page((SAMPLES / "seven_0081.png").read_bytes())}) as site:
        (tmp_path / "list.csv").write_text(f"path;label\n{site.url}/x.png;seven\n")
        refused = resnest("validate", tmp_path / "list.csv", "-m", "digits", "-f", "json")
        assert refused.exit_code == ExitCode.SOME_FAILED
        assert "add --allow-private-urls" in refused.stderr
        ended = resnest("validate", tmp_path / "list.csv", "-m", "digits", "-f", "json", "--allow-private-urls")
    assert ended.exit_code == ExitCode.OK, ended.output
    assert (json.loads(ended.stdout)["n"], json.loads(ended.stdout)["top1"]) == (1, 100)


def test_objects_in_a_table_are_read_from_their_store(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (SAMPLES / "seven_0081.png").read_bytes()
    monkeypatch.setattr(
        "resnest_cli.inputs.buckets.read", lambda path, _: content if path == "s3://bucket/x.png" else b""
    )
    (tmp_path / "list.csv").write_text("path,label\ns3://bucket/x.png,seven\n")
    ended = resnest("validate", tmp_path / "list.csv", "-m", "digits", "-f", "json", "-j", "0")
    assert ended.exit_code == ExitCode.OK, ended.output
    assert (json.loads(ended.stdout)["n"], json.loads(ended.stdout)["top1"]) == (1, 100)
