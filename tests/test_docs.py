"""The pages in `docs/` claim no more than tests hold."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
}
NAMED = re.compile(r"`(test_\w+)`")


def claims(page: Path) -> Iterator[str]:
    """Find the rows of the tables whose second column is "tests"."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.endswith("| tests |"):
            yield from takewhile(lambda row: row.startswith("|"), lines[number + 2 :])


def test_every_claim_names_the_tests_that_hold_it() -> None:
    made = [row for page in PAGES for row in claims(page)]
    assert len(made) > 40
    assert [row for row in made if not NAMED.search(row.split("|")[-2])] == []


def test_every_test_that_a_page_names_is_there() -> None:
    named = {name for page in PAGES for name in NAMED.findall(page.read_text(encoding="utf-8"))}
    assert named - TESTS == set()
