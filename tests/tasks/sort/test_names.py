"""Names of folders and files that every file system takes, and tells apart."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_cli.tasks.sort.names import FAILED, UNSURE, Class, fold, folders, numbered, safe

WINDOWS = set('<>:"/\\|?*') | {chr(number) for number in range(32)}
# What Windows reserves, written out from its documentation.
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789")}


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Samoyed", "Samoyed"),
        ("golden retriever", "golden retriever"),
        ("a/b\\c:d", "a_b_c_d"),
        ("..", "_"),
        ("", "_"),
        (" . ", "_"),
        ("end. ", "end"),
        (".hidden", "_.hidden"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com¹", "_com¹"),
        ("console", "console"),
        ("cafe\u0301", "café"),
        ("a\nb\x7f\u202ec\ud800", "a_b__c_"),
        ("日" * 60, "日" * 33),
    ],
)
def test_a_label_becomes_a_name_for_every_file_system(label: str, name: str) -> None:
    assert safe(label) == name


@given(st.text(), st.sampled_from(["", "n02012849", "517", "a/b"]))
def test_any_label_becomes_a_name_that_windows_macos_and_linux_take(label: str, suffix: str) -> None:
    name = safe(label, suffix)
    assert name
    assert len(name.encode()) <= 100
    assert not set(name) & WINDOWS
    assert name == name.strip(" ").rstrip(".")
    assert name.partition(".")[0].strip().upper() not in RESERVED
    assert not name.startswith(".")


LABELS = st.text(max_size=8) | st.sampled_from(
    ["Dog", "dog", "dog 7", "\u00e9", "e\u0301", "_unsure", "_Failed", "CON"]
)


@given(
    st.lists(st.builds(Class, LABELS, st.sampled_from(["7", "8", "n02012849"]))),
    st.dictionaries(LABELS, st.booleans()),
)
def test_no_two_classes_share_a_folder_and_none_is_what_is_no_folder(
    classes: list[Class], there: dict[str, bool]
) -> None:
    held = {fold(name): name if is_folder else None for name, is_folder in there.items() if name}
    found = folders(classes, held)
    assert found.keys() == {*classes, UNSURE, FAILED}
    assert len({fold(name) for name in found.values()}) == len(found)
    assert not [name for name in found.values() if held.get(fold(name), name) is None]


def test_a_class_has_its_id_in_the_name_where_another_class_has_its_label() -> None:
    classes = [
        Class("Dog", "3"),
        Class("dog", "7"),
        Class("caf\u00e9", "1"),
        Class("cafe\u0301", "2"),
        Class("cat", "5"),
    ]
    assert {each.id: name for each, name in folders(classes, {}).items() if each.id} == {
        "1": "caf\u00e9 1",
        "2": "caf\u00e9 2",
        "3": "Dog 3",
        "5": "cat",
        "7": "dog 7",
    }


def test_the_two_cranes_of_imagenet_are_told_apart_though_only_one_is_there() -> None:
    """Else the next sort into the folder would put the other cranes with them."""
    crane = Class("crane", "n02012849")
    assert folders([crane], {})[crane] == "crane n02012849"
    own = Class("crane", "3")  # of a model of one's own
    assert folders([own], {})[own] == "crane"


def test_a_folder_that_is_there_keeps_its_spelling_and_a_file_its_name() -> None:
    dog, cat = Class("dog", "1"), Class("cat", "2")
    assert folders([dog, cat], {"dog": "DOG", "cat": None}) == {
        UNSURE: "_unsure",
        FAILED: "_failed",
        dog: "DOG",
        cat: "cat (2)",
    }


def test_a_class_that_is_called_as_the_unsure_ones_has_another_folder() -> None:
    named = Class("_Unsure", "4")
    assert folders([named], {})[named] == "_Unsure 4"


@pytest.mark.parametrize(
    ("name", "stem", "number", "new"),
    [
        ("dog.jpg", "dog", 1, "dog.jpg"),
        ("dog.jpg", "dog", 2, "dog (2).jpg"),
        ("dog.jpg.xmp", "dog", 3, "dog (3).jpg.xmp"),
        ("dog", "dog", 2, "dog (2)"),
        (".jpg", ".jpg", 2, ".jpg (2)"),
        ("x" * 251 + ".jpg", "x" * 251, 10, "x" * 246 + " (10).jpg"),
    ],
)
def test_a_number_stands_behind_the_stem_and_the_name_stays_short_enough(
    name: str, stem: str, number: int, new: str
) -> None:
    assert numbered(name, stem, number) == new
    assert len(os.fsencode(new)) <= 255


@given(st.text())
def test_what_a_file_system_takes_for_one_name_folds_to_one(name: str) -> None:
    alike = [name.upper().lower(), unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name), f"{name}. "]
    assert {fold(each) for each in alike[1:]} == {fold(name)}
    if name.isascii():
        assert fold(alike[0]) == fold(name)
