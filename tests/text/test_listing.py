"""Names and counts in a sentence."""

from __future__ import annotations

from resnest_cli.text.listing import few, few_are, files_are


def test_the_first_names_are_listed_and_the_others_counted() -> None:
    assert few(["a"]) == "a"
    assert few(list("abcde")) == "a, b, c, d, e"
    assert few(["a"] * 2_006, 2) == "a, a and 2,004 more"


def test_the_verb_fits_the_number() -> None:
    assert [few_are(names) for names in (["a"], ["a", "b"])] == ["a is", "a, b are"]
    assert [files_are(count) for count in (1, 2_000)] == ["1 file is", "2,000 files are"]
