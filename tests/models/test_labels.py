"""Class names: the order of choice, a list that is fetched once and checked, and a cache that is written whole."""

from __future__ import annotations

import gzip
import hashlib
import os
import runpy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hub_stub import Page, Stub, closed_port

from resnest_cli.errors import LabelsError
from resnest_cli.models import labels
from resnest_cli.models.catalog import DATA, find_model
from resnest_cli.system import atomic, cache

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = tuple(f"name {i}" for i in range(1000))
LIST = "\n".join(NAMES).encode()
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PATH = "/imagenet_classes.txt"
IMAGENET = find_model("resnest14d")
DIGITS = find_model("digits")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Serve `LIST` on loopback, with requests allowed."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with Stub({PATH: Page(LIST)}) as stub:
        yield stub


def fetch(site: Stub, content: bytes = LIST) -> tuple[str, ...]:
    """Ask for the names at the site, expecting the hash of `content`."""
    return labels.imagenet_names(site.url + PATH, hashlib.sha256(content).hexdigest())


def cached_files() -> list[Path]:
    return [path for path in cache.folder().rglob("*") if path.is_file()]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# The download


def test_the_list_is_downloaded_once(site: Stub) -> None:
    assert fetch(site) == NAMES
    assert fetch(site) == NAMES
    assert site.log == [f"GET {PATH}"]


def test_a_cached_list_serves_without_network(site: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(site)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(site) == NAMES
    assert len(site.log) == 1


def test_a_changed_list_is_refused_and_not_cached(site: Stub) -> None:
    site.pages[PATH] = Page(LIST.replace(b"name 7\n", b"name seven\n"))
    with pytest.raises(LabelsError, match="sha256") as caught:
        fetch(site)
    assert site.url in str(caught.value)
    assert cached_files() == []


def test_a_damaged_cache_file_is_fetched_again_and_mended(site: Stub) -> None:
    fetch(site)
    (path,) = cached_files()
    path.write_bytes(LIST[:-1])
    assert fetch(site) == NAMES
    assert path.read_bytes() == LIST
    assert len(site.log) == 2


def test_a_body_beyond_the_limit_is_refused_though_its_hash_is_right(site: Stub) -> None:
    huge = LIST + b"\n" * labels.MAX_BYTES
    site.pages[PATH] = Page(huge)
    with pytest.raises(LabelsError, match="larger than"):
        fetch(site, huge)
    assert cached_files() == []


def test_a_compressed_answer_is_unpacked(site: Stub) -> None:
    site.pages[PATH] = Page(gzip.compress(LIST), headers={"Content-Encoding": "gzip"})
    assert fetch(site) == NAMES


@pytest.mark.parametrize("status", [404, 403, 500])
def test_an_error_of_the_site_names_the_url(site: Stub, status: int) -> None:
    site.pages[PATH] = Page(LIST, status=status)
    with pytest.raises(LabelsError) as caught:
        fetch(site)
    assert site.url + PATH in str(caught.value)
    assert cached_files() == []


def test_a_refused_connection_names_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with closed_port() as url, pytest.raises(LabelsError) as caught:
        labels.imagenet_names(url + PATH)
    assert url + PATH in str(caught.value)


@pytest.mark.parametrize("how", ["cut off", "not gzip"])
def test_a_broken_body_names_the_url(site: Stub, how: str) -> None:
    if how == "cut off":
        site.cuts = 1
    else:
        site.pages[PATH] = Page(LIST, headers={"Content-Encoding": "gzip"})
    with pytest.raises(LabelsError) as caught:
        fetch(site)
    assert site.url + PATH in str(caught.value)


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_offline_forbids_the_request(site: Stub, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(LabelsError, match="HF_HUB_OFFLINE"):
        fetch(site)
    assert site.log == []


def test_a_cache_that_cannot_be_written_does_not_cost_the_answer(
    site: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESNEST_CACHE", str(write(tmp_path / "a file", b"") / "folder"))
    assert fetch(site) == NAMES


# The order of choice


def test_a_chosen_file_comes_before_everything(site: Stub, tmp_path: Path) -> None:
    chosen = write(tmp_path / "mine.txt", "\n".join(f"mine {i} ü" for i in range(10)).encode())
    loaded = labels.load(DIGITS, chosen)
    assert loaded.names[3] == "mine 3 ü"
    assert loaded.source == str(chosen)
    chosen = write(tmp_path / "mine.txt", "\n".join(f"mine {i}" for i in range(1000)).encode())
    assert labels.load(IMAGENET, chosen).names[258] == "mine 258"
    assert site.log == []


def test_a_chosen_file_keeps_the_wordnet_ids(tmp_path: Path) -> None:
    assert labels.load(IMAGENET, write(tmp_path / "mine.txt", LIST)).wnids[258] == "n02111889"


def test_the_models_own_names_come_before_a_download(site: Stub) -> None:
    loaded = labels.load(DIGITS)
    assert loaded.names == DIGIT_NAMES
    assert loaded.wnids == (None,) * 10
    own = replace(IMAGENET, label_names=tuple(f"own {i}" for i in range(1000)))
    assert labels.load(own).names[:2] == ("own 0", "own 1")
    assert labels.load(own).wnids[258] is None  # a thousand classes of one's own are not ImageNet's
    assert site.log == []


def test_a_list_that_was_fetched_comes_before_the_packaged_names(site: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(site)
    monkeypatch.setattr(labels, "IMAGENET_SHA256", hashlib.sha256(LIST).hexdigest())
    loaded = labels.load(IMAGENET)
    assert loaded.names == NAMES
    assert loaded.wnids[258] == "n02111889"


def test_no_answer_waits_for_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not where the network is silent: the package has the same words, so no request is made."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a request is made")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("resnest_cli.net.exchange.request", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    assert labels.load(IMAGENET).names[258] == "Samoyed"


def test_the_packaged_names_are_word_for_word_the_published_list() -> None:
    loaded = labels.load(IMAGENET)
    assert loaded.source == "ImageNet's, packaged with resnest"
    assert len(loaded.names) == len(loaded.wnids) == 1000
    digest = hashlib.sha256("\n".join(loaded.names).encode()).hexdigest()
    assert digest == "1f386e0d1cb6e28b9c2dac651c3dea6801e98ad1b41a14ce6bb1a093d72069f5" == labels.IMAGENET_SHA256


def test_the_packaged_list_is_what_its_script_makes_of_timm() -> None:
    script = Path(__file__).parents[2] / "scripts" / "data" / "imagenet.py"
    made = runpy.run_path(str(script))["table"]()
    assert (DATA / "imagenet.tsv").read_text(encoding="utf-8") == made


@pytest.mark.parametrize(
    ("index", "wnid", "name"),
    [
        (0, "n01440764", "tench"),
        (134, "n02012849", "crane"),  # the bird
        (258, "n02111889", "Samoyed"),
        (517, "n03126707", "crane"),  # the machine: two classes, one name
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_facts_of_imagenet(index: int, wnid: str, name: str) -> None:
    loaded = labels.load(IMAGENET)
    assert (loaded.wnids[index], loaded.names[index]) == (wnid, name)


def test_classes_without_names_are_numbered() -> None:
    loaded = labels.load(replace(DIGITS, label_names=()))
    assert loaded.names[3] == "class 3"
    assert len(loaded.names) == 10
    assert loaded.wnids == (None,) * 10


# Files of the user


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(DIGIT_NAMES[:9]).encode(),
        "\n".join([*DIGIT_NAMES, "ten"]).encode(),
        "\n".join(DIGIT_NAMES).replace("five", "").encode(),
        "\n".join(DIGIT_NAMES).replace("five", " \t").encode(),
        "\n".join(DIGIT_NAMES).replace("five", "f\xfcnf").encode("latin-1"),
        b"",
    ],
    ids=["nine", "eleven", "empty line", "blank line", "latin-1", "empty"],
)
def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "names of mine.txt", content)
    with pytest.raises(LabelsError, match="names of mine"):
        labels.load(DIGITS, path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="nowhere"):
        labels.load(DIGITS, tmp_path / "nowhere.txt")


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["no newline", "newline", "DOS"])
def test_the_end_of_the_last_line_does_not_matter(tmp_path: Path, end: str) -> None:
    path = write(tmp_path / "names.txt", ((end or "\n").join(DIGIT_NAMES) + end).encode())
    assert labels.load(DIGITS, path).names == DIGIT_NAMES


# The cache


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESNEST_CACHE", str(tmp_path / "here"))
    assert cache.folder() == tmp_path / "here"
    monkeypatch.delenv("RESNEST_CACHE")
    assert cache.folder().name == "resnest"


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    atomic.write(tmp_path / "a" / "b" / "file", b"new")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"new"


def test_a_file_is_for_those_that_any_new_file_is_for(tmp_path: Path) -> None:
    atomic.write(tmp_path / "ours", b"")
    (tmp_path / "any").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "any").stat().st_mode


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("before", [b"old", None], ids=["replacing", "fresh"])
def test_a_failed_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bytes | None
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)

    def fail(*_: object) -> None:
        message = "disk full"
        raise OSError(message)

    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="disk full"):
        atomic.write(path, b"new content")
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == ({"file": before} if before else {})


def test_an_interrupted_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write(tmp_path / "file", b"new content")
    assert list(tmp_path.iterdir()) == []
