"""Addresses of originals: always a file's, or a URL without secrets, whatever a name says."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_cli.outputs import links

HOST = "https://h.org"


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("-", ""),
        ("#3", ""),
        ("s3://bucket/a.jpg", ""),
        ("gs://bucket/a.jpg", ""),
        ("ftp://h.org/a.jpg", ""),
        ("javascript://h.org/%0aalert(1)", ""),
        ("https:///a.jpg", ""),
        ("https://[/a.jpg", ""),
        (f"{HOST}/a.jpg?size=2&x=%20", f"{HOST}/a.jpg?size=2&x=%20"),
        ("HTTP://h.org/a.jpg", "http://h.org/a.jpg"),
        ("https://user:pa/ss@h.org/a.jpg", f"{HOST}/a.jpg"),
        ("https://***@h.org:8000/a.jpg", f"{HOST}:8000/a.jpg"),
        (f"{HOST}/a.jpg?token=abc", ""),
        (f"{HOST}/a.jpg?token=***", ""),
        (f"{HOST}/a.jpg#token", f"{HOST}/a.jpg"),
        (f"{HOST}/é \"'<>\\`\udcff.jpg", f"{HOST}/%C3%A9%20%22%27%3C%3E%5C%60%ED%B3%BF.jpg"),
    ],
)
def test_what_is_no_file(path: str, link: str) -> None:
    assert links.of(path, None) == links.of(path, Path("x.html")) == link


@pytest.mark.parametrize(
    ("path", "page", "link"),
    [
        ("a.jpg", "x.html", "./a.jpg"),
        ("./b/../a.jpg", "x.html", "./a.jpg"),
        ("photos/a.jpg", "out/x.html", "./../photos/a.jpg"),
        ("photos/a.jpg", "photos/out/deep/x.html", "./../../a.jpg"),
        ("photos/a.jpg", "{}/photos/x.html", "./a.jpg"),
        ("{}/photos/a.jpg", "x.html", "./photos/a.jpg"),
        ("photos/a.jpg", "../x.html", "./{name}/photos/a.jpg"),  # above, which is the tree of both
        ("photos/a.jpg", "../out/x.html", "file://{}/photos/a.jpg"),
        ("../other/a.jpg", "x.html", "file://{parent}/other/a.jpg"),
        ("linked/../a.jpg", "x.html", "file://{parent}/a.jpg"),  # the system goes through the link, a browser would not
        ("photos/a.jpg", None, "file://{}/photos/a.jpg"),
        ("javascript:alert(1)", "x.html", "./javascript%3Aalert%281%29"),
        ("//evil.org/a.jpg", "x.html", "file:///evil.org/a.jpg"),
    ],
)
def test_files(path: str, page: str | None, link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path.resolve() / "here"
    for folder in (here / "photos", tmp_path / "target"):
        folder.mkdir(parents=True)
    (here / "linked").symlink_to(tmp_path / "target")
    monkeypatch.chdir(here)
    names = {"name": here.name, "parent": here.parent}
    found = links.of(path.format(here), None if page is None else Path(page.format(here)))
    assert found == link.format(here, **names)


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).map("x/{}".format))
def test_every_name_leads_to_its_file(path: str) -> None:
    for page in (Path("page #?%.html"), Path("deep") / "page.html", Path("/x.html"), None):
        base = "file:///elsewhere/x.html" if page is None else page.absolute().as_uri()
        parts = urlsplit(urljoin(base, links.of(path, page)))
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("file", "", "", "")
        expected = os.path.realpath(path) if path == "x/.." else os.path.abspath(path)  # noqa: PTH100 - as the module does
        assert unquote_to_bytes(parts.path) == os.fsencode(expected)
