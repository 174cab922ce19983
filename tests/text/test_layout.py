"""Tables and facts as lines: whole at a width, never wider than the screen, whole words and addresses in a pipe."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from resnest_cli.text import layout
from resnest_cli.text.layout import KEPT, Screen, columns, put_facts, wrap

ADDRESS = "https://example.org/" + 80 * "x"
ROWS = [("model", "MB", "taken for"), ("resnest50d", "110", "a class with a long name"), ("digits", "1", "")]


def test_a_table_gives_the_widest_text_less_room_and_numbers_all() -> None:
    assert list(layout.table(ROWS, Screen(35), {1})) == [
        "model        MB  taken for",
        "resnest50d  110  a class with a",
        "                 long name",
        "digits        1",
    ]


def test_a_table_on_a_narrow_screen_is_a_list() -> None:
    assert list(layout.table(ROWS, Screen(24), {1})) == [
        *("resnest50d", "  MB", "    110", "  taken for", "    a class with a long", "    name"),
        *("digits", "  MB  1"),
    ]


def test_styles_take_no_room() -> None:
    (line,) = layout.facts([("name", "value")], Screen(80, color=True))
    assert line == "\x1b[1mname\x1b[0m  value"


@pytest.mark.parametrize("width", [1, 7, 20])
@given(text=st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_no_line_is_wider_than_the_screen_and_no_word_is_lost(width: int, text: str) -> None:
    lines = wrap(text, width)
    assert all(columns(line) <= width or len(line) == 1 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "").replace(KEPT, "")


def test_a_line_breaks_between_words_but_not_at_a_kept_blank() -> None:
    assert wrap(f"lr{KEPT}0.1, momentum{KEPT}0.9", 15) == ["lr 0.1,", "momentum 0.9"]
    assert wrap("see https://example.org", 12) == ["see", "https://exam", "ple.org"]


@pytest.mark.parametrize("text", ["plain", "犬é😀", "e\u0301", "한글", "ไทย"])
def test_widths_are_those_of_rich(text: str) -> None:
    assert columns(text) == cell_len(text)


def test_in_a_pipe_an_address_is_whole_unless_a_width_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, expected in (("40", 4), ("", 1)):
        monkeypatch.setenv("COLUMNS", asked)
        pipe = io.StringIO()
        put_facts([("checkpoint", ADDRESS)], pipe)
        assert len(pipe.getvalue().splitlines()) == expected


def test_text_from_outside_is_harmless_in_every_cell() -> None:
    evil = "\x1b[2J\u202e\n"
    screen = Screen(encoding="ascii")
    lines = [*layout.table([(evil, evil), (evil, evil)], screen, set()), *layout.facts([(evil, evil)], screen)]
    assert lines == ["\\x1b[2J\\u202e\\n  \\x1b[2J\\u202e\\n"] * 3
