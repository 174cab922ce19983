"""Secrets of URLs: in no row, message, page, record of a job or log, wherever they come from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from conftest import SAMPLES
from hub_stub import Page, Stub, closed_port
from hypothesis import given
from hypothesis import strategies as st

from resnest_cli.text import redact

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest, Shell

pytestmark = pytest.mark.usefixtures("decode_here")

SECRETS = ("hush1", "hush2", "hush3", "hush4", "hush5", "hush6")
DIGITS = ("-m", "digits", "-k", "1")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Max retries with url: /x.png?token=hush1 (Caused by", "Max retries with url: /x.png?token=*** (Caused by"),
        ("'https://me:hush1@a/x?sig=hush2&w=3' and more", "'https://***@a/x?sig=***&w=3' and more"),
        ("Authorization: Bearer hf_hush123", "Authorization: Bearer ***"),
        ("--weights https:/me:hush1@a/x.pth: no such file", "--weights https:/***@a/x.pth: no such file"),
        ("http://a/x?pat=hush1&private=hush2", "http://a/x?pat=***&private=***"),
        ("s3://KEY:hush/1+@bucket/a@2x.jpg: no", "s3://***@2x.jpg: no"),
        *((text, text) for text in ("photos//me@home/a;b.jpg, key=3", "http://a:80/x@2?w=3: 404", "basic mathematics")),
    ],
)  # fmt: skip
def test_a_message_is_shown_without_the_secrets_that_it_quotes(text: str, shown: str) -> None:
    assert redact.message(text) == shown


@pytest.mark.parametrize("piece", ["?a=", "&a=1", ";a", "%25", "://", "://a:x", "?a=%3Fa%3D", "bearer ", "=", ":", "@"])
def test_a_long_name_made_of_signs_is_no_burden(piece: str) -> None:
    long = piece * (60_000 // len(piece))
    for text in (f"http://a/?b={long}", f"@{long}"):
        redact.url(text)  # a name that is looked at by steps within steps ends in a RecursionError, or in minutes
        redact.message(text)
    assert redact.url(f"http://a/?token=hush{long}").startswith("http://a/?token=***")


@given(st.text())
def test_any_text_is_shown(text: str) -> None:
    assert "hush" not in redact.url(f"http://me:hush@a/{text.replace('hush', '')}")
    assert "hush" not in redact.url(f"http://a/?token=hush#{text.replace('hush', '')}")
    redact.message(text)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_job_writes_no_secret_down(tmp_path: Path, shell: Shell, workers: str) -> None:
    seven = (SAMPLES / "seven_0081.png").read_bytes()
    with Stub({"/seven": Page(seven), "/odd": Page(seven, headers={"no colon": ""})}) as site, closed_port() as nowhere:
        echo = f"not for {site.url}/?jwt=hush1"
        site.pages |= {
            "/echo": Page(status=403, headers={"X-Error-Message": echo}),
            "/away": Page(status=302, headers={"Location": f"ftp://me:hush2@a/?key=hush3#{SECRETS[3]}"}),
            "/nobody": Page(status=302, headers={"Location": "https://me:hush2@[/?key=hush3"}),
        }
        host = site.url.replace("//", "//me:hush5@")
        names = [f"{host}/{page}?pass=hush6#hush4" for page in ("seven", "odd", "echo", "away", "nobody", "none")]
        names += [f"{nowhere}/?%74oken=hush1", "https://me:hush2@[/", "s3://KEY:hush3@b/x", "ftp://a/?code=hush6"]
        names.append("https://unknown.invalid/?sig=hush6")
        (tmp_path / "list.txt").write_text("\n".join(names))
        for output in ("rows.jsonl", "report.html", "rows.csv"):
            done = shell(
                *("resnest", "predict", "--files-from", tmp_path / "list.txt", *DIGITS, "-v", "-j", workers),
                *("-o", tmp_path / output, "--allow-private-urls"),
                HTTPS_PROXY=nowhere.replace("//", "//me:hush4@"),
            )
            (tmp_path / f"{output}.err").write_bytes(done.stdout + done.stderr)
            assert b"Traceback" not in done.stderr
            assert (done.returncode, len(names)) == (3, 11), done.stderr
    (tmp_path / "list.txt").unlink()
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(written) == 9
    assert [(name, secret) for name, text in written.items() for secret in SECRETS if secret in text] == []
    messages = [row.get("error", {}).get("message", "") for row in map(json.loads, written["rows.jsonl"].splitlines())]
    assert messages[2].endswith(f"the server answers 403 not for {site.url}/?jwt=***")
    assert messages[3] == "it redirects to ftp://***@a/?key=***#***: only http and https are followed."
    assert messages[10].startswith("the proxy 127.0.0.1 port ")


def test_the_chain_of_an_error_that_v_shows_has_no_secret(resnest: Resnest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with closed_port() as nowhere, Stub() as site:
        for place, cause in ((nowhere, "connection refused"), (site.url, "404"), ("http://a:b", "URL is malformed")):
            monkeypatch.setenv("HF_ENDPOINT", place.replace("//", "//me:hush1@") + "/?apikey=hush2&x=")
            done = resnest("predict", SAMPLES / "seven_0081.png", "-m", "hf-hub:me/mine", "-v")
            assert done.exit_code == 1
            assert cause in done.stderr
            assert "Traceback (most recent call last)" in done.stderr
            assert "hush" not in done.output


def test_resume_goes_on_where_urls_differ_only_in_what_is_not_shown(tmp_path: Path, resnest: Resnest) -> None:
    to, images = tmp_path / "rows.jsonl", [SAMPLES / f"{name}.png" for name in ("seven_0081", "two_0051", "zero_0078")]
    with Stub({f"/?token=hush{i}": Page(image.read_bytes()) for i, image in enumerate(images)}) as site:
        names = [site.url + path for path in site.pages]
        command: tuple[str | Path, ...] = ("predict", *names, *DIGITS, "-b", "1", "--allow-private-urls", "-o", to)
        assert resnest(*command).exit_code == 0
        whole = to.read_bytes()
        finished = tmp_path / f".{to.name}.done.json"
        begun = json.loads(finished.read_text())["settings"]
        finished.unlink()  # as it is after a kill
        to.write_bytes(whole.splitlines(keepends=True)[0])
        (tmp_path / f"{to.name}.resume.json").write_text(json.dumps(begun))
        site.log.clear()
        assert resnest(*command, "--resume").exit_code == 0
        assert to.read_bytes() == whole
        assert [row["predictions"][0]["label"] for row in map(json.loads, whole.splitlines())] == [
            "seven",
            "two",
            "zero",
        ]
        assert {row["path"] for row in map(json.loads, whole.splitlines())} == {f"{site.url}/?token=***"}
        assert sorted(site.log) == ["GET /?token=hush1", "GET /?token=hush2"]
        assert "complete: 3 rows" in resnest(*command, "--resume").output
