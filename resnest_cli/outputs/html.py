"""Rows as one page to look through, which needs nothing but itself: pictures, bars, search, filters and order.

In: rows: of predictions, of images that are like one another ("images", with or without a "path" of their own), or with
a "heat" map; a small picture is a `data:` URI under "thumbnail". Pictures that several rows show come once, by their
path. Out: the template `data/report.html` with the rows inside. They stand in blocks of JSON in which no tag can begin,
the page's own script puts them on the screen as text only, and the policy in the page allows that one script and that
one style by their hashes, and no request at all. A picture leads to its original by a "link" that is made here, and
never taken from a row.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING

from resnest_cli.errors import NoImages, UnreadableInput
from resnest_cli.outputs import links
from resnest_cli.outputs.rows import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resnest_cli.outputs.rows import About, Row

NOT_THERE = {NoImages.__name__, UnreadableInput.__name__}  # errors of inputs that nothing can be opened of
TEMPLATE = Path(__file__).parents[1] / "data" / "report.html"


def write(
    rows: Iterable[Row], out: IO[bytes], about: About, page: Path | None = None, pictures: Iterable[Row] = ()
) -> None:
    """Write the page, row by row.

    Args:
        rows: what is shown.
        out: where the page goes.
        about: what holds for all rows.
        page: where the page will lie, if that is known.
        pictures: the path and the thumbnail of each image that rows have under "images"; asked for after the rows.
    """
    head, *parts = re.split(r"@ABOUT@|@ROWS@|@PICTURES@", _template())
    out.write(head.encode() + _harmless(json.dumps(dict(about.facts)).encode()))
    for part, items in zip(parts, (rows, pictures, ()), strict=True):
        out.write(part.encode())
        _write_list(items, out, page)


def _write_list(rows: Iterable[Row], out: IO[bytes], page: Path | None) -> None:
    separator = b"\n"
    for row in rows:
        out.write(separator + _harmless(to_json(_linked(row, page))))
        separator = b",\n"
    out.write(b"\n")  # each row is a line: so they are read again


def _linked(row: Row, page: Path | None) -> Row:
    if "path" not in row:  # a group
        return row
    is_there = row.get("error", {}).get("type") not in NOT_THERE
    return row | {"link": links.of(row["path"], page) if is_there else ""}


def _template() -> str:
    """Read the page, with the hashes of its style and its script in its policy."""
    page = TEMPLATE.read_text(encoding="utf-8")
    for tag in ("style", "script"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        code = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        page = page.replace(f"@{tag.upper()}@", f"'sha256-{code}'")
    return page


def _harmless(text: bytes) -> bytes:
    """Escape `<` in JSON, so that no tag can begin or end in it."""
    return text.replace(b"<", b"\\u003c")
