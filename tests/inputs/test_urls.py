"""Images from the web: who may be asked, how long, how much, and what is never written."""

from __future__ import annotations

import gzip
import ipaddress
import json
import pickle
import socket
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SAMPLES
from hub_stub import Page, Stub, closed_port

from resnest_cli.errors import DownloadFailed, UrlRefused
from resnest_cli.inputs import urls
from resnest_cli.inputs.find import find_sources
from resnest_cli.inputs.read import read_source
from resnest_cli.net import connection
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Resnest

SEVEN = SAMPLES / "seven_0081.png"
PATH = "/seven.png"
SECRET_NAMES = (
    *("sig", "Signature", "key", "apikey", "api_key", "auth", "Authorization", "password", "pwd", "api-Key"),
    *("session", "credential", "X-Amz-Security-Token", "X-Goog-Signature", "Policy", "Key-Pair-Id", "AWSAccessKeyId"),
    *("GoogleAccessId", "sas", "x-ms-token", "tempauth", "rlkey", "resourcekey", "hm", "sign", "token[]", "user[pass]"),
    *("auth_key", "X-Api-Key", "PHPSESSION_ID", "\uff54oken", "Ocp-Apim-Subscription-Key", "hdnts", "bearer", "p%61ss"),
)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Serve an image on loopback, and be asked with little patience."""
    monkeypatch.setattr(urls, "DEADLINE_S", 1.0)
    monkeypatch.setattr(connection, "READ_S", 0.3)
    with Stub({PATH: Page(SEVEN.read_bytes())}) as stub:
        yield stub


@pytest.fixture
def _loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count 127.0.0.1 as a public address, and no other."""
    monkeypatch.setattr(urls, "_is_public", lambda address: str(address) == "127.0.0.1")


def resolve(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have DNS answer with these addresses, one after the other; return the names that are asked for."""
    asked: list[str] = []

    def look_up(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        addresses = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        kind = socket.SOCK_STREAM
        return [(family, kind, 6, "", (ip, port)) for family, ip in zip(families, addresses, strict=True)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def rows(resnest: Resnest, *words: str) -> list[dict[str, Any]]:
    done = resnest("predict", *words, "-m", "digits", "-k", "1", "-f", "jsonl")
    assert done.exit_code in {0, 3}, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


# The way through


def test_a_url_gives_the_answer_of_the_file_in_its_place(site: Stub, resnest: Resnest) -> None:
    url = f"{site.url}{PATH}"
    around, here, last = rows(resnest, str(SEVEN), url, str(SEVEN), "--allow-private-urls")
    assert (around["path"], here["path"]) == (str(SEVEN), url)
    assert here["predictions"] == around["predictions"] == last["predictions"]


def test_a_bad_url_is_a_row_and_its_neighbours_stand(site: Stub, resnest: Resnest) -> None:
    site.pages["/page.png"] = Page(b"<!doctype html><title>Hello</title>")
    wanted = [str(SEVEN), f"{site.url}/none.png", f"{site.url}/page.png?x=[1]*", "ftp://127.0.0.1/x.png", str(SEVEN)]
    done = rows(resnest, *wanted, "--allow-private-urls")
    assert [row["path"] for row in done] == wanted
    kinds = [row.get("error", {}).get("type") for row in done]
    assert kinds == [None, "DownloadFailed", "NotAnImage", "UrlRefused", None]
    assert "404" in done[1]["error"]["message"]


def test_a_file_with_the_name_of_a_url_is_a_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401 - a path
    (tmp_path / "http:" / "a").mkdir(parents=True)
    (tmp_path / "http:" / "a" / "b.png").write_bytes(b"here")
    monkeypatch.chdir(tmp_path)
    (found,) = find_sources(["http://a/b.png"])
    assert isinstance(found, Source)
    assert (found.url, read_source(found)) == ("", b"here")


def test_a_source_of_a_url_travels_to_workers(site: Stub) -> None:
    source = pickle.loads(pickle.dumps(urls.source(site.url + PATH)))  # noqa: S301 - our own
    assert read_source(source, allow_private=True) == SEVEN.read_bytes()


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_a_packed_body_is_unpacked(site: Stub, pack: Any) -> None:  # noqa: ANN401 - a function
    name = "gzip" if pack is gzip.compress else "deflate"
    site.pages[PATH] = Page(pack(SEVEN.read_bytes()), headers={"Content-Encoding": name})
    assert urls.read(site.url + PATH, allow_private=True) == SEVEN.read_bytes()


def test_five_redirects_are_followed(site: Stub) -> None:
    for i in range(5):
        site.pages[f"/{i}"] = Page(status=302, headers={"Location": f"/{i + 1}" if i < 4 else PATH})
    assert urls.read(f"{site.url}/0", allow_private=True) == SEVEN.read_bytes()
    site.pages["/before"] = Page(status=302, headers={"Location": "/0"})
    with pytest.raises(UrlRefused, match="more than 5"):
        urls.read(f"{site.url}/before", allow_private=True)


# Who may be asked


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.0.0.2", "localhost"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "0", "user@127.0.0.1"),  # noqa: S104 - hostile on purpose
        "public.example@127.0.0.1",
    ],
)
def test_this_machine_is_not_asked_in_any_spelling(site: Stub, host: str) -> None:
    with pytest.raises(UrlRefused, match="not a public address"):
        urls.read(f"http://{host}:{site.port}{PATH}")
    assert site.log == []


@pytest.mark.parametrize(
    "place",
    [
        *("127.0.0.1:{}#@nowhere.invalid", "127.0.0.1:{}\\@nowhere.invalid", "127.0.0.1:{}%00@nowhere.invalid"),
        *("127.0.0.1:{}?@nowhere.invalid", "127。0。0。1:{}", "①②⑦.⓪.⓪.①:{}", "127.0.0.1%2f:{}"),
    ],
)
def test_two_readings_of_a_url_lead_nowhere(site: Stub, place: str) -> None:
    with pytest.raises((UrlRefused, DownloadFailed)):
        urls.read(f"http://{place.format(site.port)}{PATH}")
    assert site.log == []


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.8", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1", "0.0.0.0"),  # noqa: S104 - an address to refuse
        *("192.0.2.1", "198.18.0.1", "203.0.113.5", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1%eth0", "fec0::1", "fd00::1", "ff02::1", "2001:db8::1", "2001::1", "100::1"),
        *("::ffff:10.0.0.8", "::10.0.0.8", "2002:7f00:1::1", "2002:a00:8::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
        *("64:ff9b:1::808:808", "::ffff:0:127.0.0.1"),
    ],
)
def test_a_name_that_leads_to_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    def connect(*_: object) -> None:
        raise OSError

    asked = resolve(monkeypatch, [address])
    monkeypatch.setattr(socket.socket, "connect", connect)  # were one let through, nobody would be asked
    with pytest.raises(UrlRefused, match="allow_private_urls=True"):
        urls.read("http://pictures.example/a.png")
    assert asked == ["pictures.example"]


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::1", "64:ff9b::808:808"]
)
def test_public_addresses_are_permitted(address: str) -> None:
    urls.refuse_private(address)
    assert ipaddress.ip_address(address)


@pytest.mark.usefixtures("_loopback_is_public")
def test_the_address_that_was_checked_is_the_one_that_is_asked(site: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolve(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])  # a name that changes its mind
    assert urls.read(f"http://pictures.example:{site.port}{PATH}") == SEVEN.read_bytes()
    assert asked == ["pictures.example"]
    assert site.headers[0]["host"] == f"pictures.example:{site.port}"


@pytest.mark.usefixtures("_loopback_is_public")
def test_one_private_address_among_public_ones_is_enough(site: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, ["127.0.0.1", "127.0.0.2"])
    with pytest.raises(UrlRefused, match=r"127\.0\.0\.2"):
        urls.read(f"http://pictures.example:{site.port}{PATH}")
    assert site.log == []


@pytest.mark.usefixtures("_loopback_is_public")
@pytest.mark.parametrize(
    ("place", "said"),
    [
        *((place, "not a public address") for place in ("http://127.0.0.2:{port}/", "http://[::1]:{port}/")),
        *((place, "only http and https") for place in ("file:///etc/passwd", "ftp://127.0.0.1/", "gopher://x")),
    ],
)
def test_every_hop_is_checked(site: Stub, place: str, said: str) -> None:
    site.pages["/0"] = Page(status=301, headers={"Location": "/1"})
    site.pages["/1"] = Page(status=307, headers={"Location": place.format(port=site.port)})
    with pytest.raises(UrlRefused, match=said):
        urls.read(f"{site.url}/0")
    assert site.log == ["GET /0", "GET /1"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "this is a file of this machine: give its path, /etc/passwd"),
        *((url, "only http:// and https:// URLs") for url in ("s3://a/b", "ftp://a/b", "http://", "https:///x")),
        *((url, "URL is malformed") for url in ("http://[/x", "http://a:b/")),
    ],
)
def test_what_is_no_web_address_is_refused(url: str, said: str) -> None:
    for allow_private in (False, True):
        with pytest.raises(UrlRefused, match=said):
            urls.read(url, allow_private=allow_private)


def test_behind_a_proxy_the_target_is_checked_as_far_as_it_is_known(
    site: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", site.url)
    with pytest.raises(UrlRefused):
        urls.read("http://10.0.0.8/a.png")
    assert site.log == []
    site.pages["http://known-to-the-proxy.invalid/a.png"] = Page(b"image")
    assert urls.read("http://known-to-the-proxy.invalid/a.png") == b"image"


# How long, and how much


@pytest.mark.parametrize("fault", ["silence", "slow headers", "slow body", "stall"])
def test_the_whole_transfer_has_a_deadline(site: Stub, fault: str) -> None:
    site.faults["GET"] = fault
    with pytest.raises(DownloadFailed, match=r"silent|longer than 1 s"):
        urls.read(site.url + PATH, allow_private=True)


def test_the_deadline_is_over_when_a_resolver_takes_all_of_it(site: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "DEADLINE_S", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [site.closing.wait()][1:])
    with pytest.raises(DownloadFailed, match=r"longer than 0\.1 s"):
        urls.read("http://slow.example.invalid/x.png")


def test_a_refused_connection_and_an_unknown_name_are_told() -> None:
    with closed_port() as nowhere, pytest.raises(DownloadFailed, match="connection refused"):
        urls.read(nowhere, allow_private=True)
    with pytest.raises(DownloadFailed, match="not known to DNS"):
        urls.read("http://nowhere.invalid/x.png")


def test_a_body_that_is_cut_is_no_image(site: Stub) -> None:
    site.cuts = 1
    with pytest.raises(DownloadFailed, match="cut"):
        urls.read(site.url + PATH, allow_private=True)


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_beyond_the_limit_is_refused(site: Stub, monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:  # noqa: FBT001 - a parameter of a test
    monkeypatch.setattr(urls, "MAX_BYTES", 1000)
    site.pages[PATH] = Page(bytes(10**7), headers={} if announced else {"Content-Length": ""})
    if announced:
        site.faults["GET"] = "slow body"  # nothing of it is waited for
    with pytest.raises(DownloadFailed, match="larger than"):
        urls.read(site.url + PATH, allow_private=True)


def test_a_bomb_is_refused_before_it_is_unpacked(site: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    assert len(bomb) < 200_000
    monkeypatch.setattr(urls, "MAX_BYTES", 1_000_000)
    site.pages[PATH] = Page(bomb, headers={"Content-Encoding": "gzip"})
    site.pages["/moved"] = Page(bomb, status=302, headers={"Content-Encoding": "gzip", "Location": PATH})
    tracemalloc.start()
    with pytest.raises(DownloadFailed, match="larger than 1 MB"):
        urls.read(site.url + "/moved", allow_private=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6_000_000


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_a_packing_that_was_not_requested_is_refused(site: Stub, encoding: str) -> None:
    site.pages[PATH] = Page(b"x", headers={"Content-Encoding": encoding})
    with pytest.raises(DownloadFailed, match="not requested"):
        urls.read(site.url + PATH, allow_private=True)


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(bytes(100))[:-5]], ids=["never", "cut short"])
def test_a_broken_packing_is_told(site: Stub, body: bytes) -> None:
    site.pages[PATH] = Page(body, headers={"Content-Encoding": "gzip"})
    with pytest.raises(DownloadFailed, match=r"unpacked|too early"):
        urls.read(site.url + PATH, allow_private=True)


# What is never written


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@a.example/x.png", "https://***@a.example/x.png"),
        ("https://a.example/x.png?id=7&size=9", "https://a.example/x.png?id=7&size=9"),
        (
            "https://a.example/x?X-Amz-Signature=s1&X-Amz-Credential=s2&v=1",
            "https://a.example/x?X-Amz-Signature=***&X-Amz-Credential=***&v=1",
        ),
        ("https://a.example/x?sv=1&sig=s1", "https://a.example/x?sv=1&sig=***"),
        ("https://a.example/x?access_token=s1;api_key=s2", "https://a.example/x?access_token=***;api_key=***"),
        ("https://me:secret@[broken/x", "https://***@[broken/x"),
        ("https://a.example/x.png#access_token=s1", "https://a.example/x.png#***"),
        ("https://a.example/x?pass=s1&jwt=s1&code=s1", "https://a.example/x?pass=***&jwt=***&code=***"),
        ("https://a.example/x?%74oken=s1&to%256ben=s1", "https://a.example/x?%74oken=***&to%256ben=***"),
        ("https://a.example/x?subscription-key=s1&w=2", "https://a.example/x?subscription-key=***&w=2"),
        # passwords that hold what ends a host, blanks, and signs between parameters
        ("https://me:se/c?r#s1@a.example/x", "https://***@a.example/x"),
        ("https://a.example/x?token=a s1;s1&w=2", "https://a.example/x?token=***&w=2"),
        ("https://a.example/x;jsessionid=s1", "https://a.example/x;jsessionid=***"),
        # a URL in a URL, encoded or not
        ("https://a.example/?u=https%3A%2F%2Fme%3As1%40b%2Fx&w=2", "https://a.example/?u=***&w=2"),
        ("https://a.example/?u=https%253A%252F%252Fb%253Fsig%253Ds1", "https://a.example/?u=***"),
        ("https://a.example/?u=https://b/?sig=s1", "https://a.example/?u=***"),
        # what only looks like a secret
        ("https://a.example:80/a@2x.png?author=me&u=https%3A%2F%2Fb%2F%3Fw%3D2",) * 2,
        ("https://[2001:db8::1]:80/a@2x.png?page=3",) * 2,
        *((f"https://a.example/?{name}=s1", f"https://a.example/?{name}=***") for name in SECRET_NAMES),
    ],
)
def test_secrets_of_a_url_are_not_shown(url: str, shown: str) -> None:
    source = urls.source(url)
    assert source.path == shown
    assert "secret" not in repr(source)
    assert "s1" not in repr(source)


def test_a_password_is_sent_to_its_host_and_written_nowhere(site: Stub, resnest: Resnest) -> None:
    with Stub({PATH: Page(SEVEN.read_bytes())}) as other:
        site.pages["/moved"] = Page(status=302, headers={"Location": other.url.replace("//", "//x:y@") + PATH})
        base = site.url.replace("//", "//me:pass%20word@")
        words = [f"{base}{PATH}?token=abc123", f"{base}/moved", f"{base}/none"]
        done = resnest("predict", *words, "-m", "digits", "-f", "jsonl", "--allow-private-urls", "-v")
        assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["ok", "ok", "error"]
        for secret in ("pass%20word", "pass word", "abc123"):
            assert secret not in done.output
        assert {headers.get("authorization") for headers in site.headers} == {"Basic bWU6cGFzcyB3b3Jk"}
        assert [headers.get("authorization") for headers in other.headers] == [None]
    assert f"GET {PATH}?token=abc123" in site.log
