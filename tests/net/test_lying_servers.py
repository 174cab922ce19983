"""Servers and proxies that lie: whatever comes back, one row and no more, in bounded time and memory."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import threading
import tracemalloc
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from conftest import SAMPLES
from hub_stub import Page, Stub, raw_connections, raw_server
from hypothesis import given, settings
from hypothesis import strategies as st

from resnest_cli.errors import ImageError, ImageTooLarge, LabelsError, UnreadableInput, WeightsUnavailable
from resnest_cli.inputs import buckets, loading, urls
from resnest_cli.inputs.find import find_sources
from resnest_cli.inputs.read import read_source
from resnest_cli.models import hub, labels
from resnest_cli.net import connection, transfer
from resnest_cli.net.errors import ExchangeError
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from conftest import Resnest

SEVEN = SAMPLES / "seven_0081.png"
QUIET = ("-k", "1", "-f", "jsonl", "-q")
DIGITS = ("-m", "digits", *QUIET)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = OK + b"Content-Encoding: gzip\r\n\r\n"
NINES, LONG = b"9" * 5000, b"a" * 60_000


def redirect(place: bytes) -> bytes:
    return b"HTTP/1.1 302 Found\r\nLocation: " + place + b"\r\nContent-Length: 0\r\n\r\n"


def later(when: bytes) -> bytes:
    return b"HTTP/1.1 503 Busy\r\nRetry-After: " + when + b"\r\nContent-Length: 0\r\n\r\n"


def endless(begin: bytes, piece: bytes) -> Iterable[bytes]:
    return chain([begin], repeat(piece))


# What is answered, and what is said of it.
LIES: dict[str, tuple[bytes | Iterable[bytes], str]] = {
    "a length of 5000 digits": (OK + b"Content-Length: " + NINES + b"\r\n\r\nx", "larger than 100 MB"),
    "two lengths": (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", "does not answer in HTTP"),
    "port 99999": (redirect(b"http://127.0.0.1:99999/x"), "a malformed URL: http://127.0.0.1:99999/x"),
    "port of 5000 digits": (redirect(b"http://127.0.0.1:" + NINES + b"/x"), "a malformed URL"),
    "negative port": (redirect(b"http://127.0.0.1:-1/x"), "a malformed URL"),
    "user name and no port": (redirect(b"http://me:hush@a:b/"), r"a malformed URL: http://\*\*\*@a:b/"),
    "NUL in a host": (redirect(b"http://127.0.0.1\0.x/"), "URL is malformed"),
    "bytes in a host": (redirect(b"http://xn--a\xff\xfe..invalid/"), "URL is malformed"),
    "empty label": (redirect(b"http://a..b/x"), "not known to DNS"),
    "long label": (redirect(b"http://" + b"a" * 300 + b".invalid/x"), "not known to DNS"),
    "long zone": (redirect(b"http://[::1%25" + LONG + b"]/x"), r"not known to DNS|\.\.\."),
    "zone": (redirect(b"http://[::1%25no-such]/x"), "not known to DNS"),
    "broken brackets": (redirect(b"http://[::1/x"), "a malformed URL"),
    "future brackets": (redirect(b"http://[v1.x]/x"), "URL is malformed"),
    "long scheme": (redirect(b"ftp://nowhere.invalid/" + LONG), r"only http|\.\.\."),
    "year 10^16": (later(b"Mon, 01 Jan 10000000000000000 00:00:00 GMT"), "503 Busy"),
    "zone of 14 digits": (later(b"Mon, 01 Jan 2020 00:00:00 +99999999999999"), "503 Busy"),
    "a wait of 5000 digits": (later(NINES), "asks to wait 1000000000000000 s"),
    "no date": (later(b","), "503 Busy"),
    "no size": (CHUNKED + b"zz\r\nabc", "cut"),
    "negative size": (endless(CHUNKED + b"-1\r\n", LONG), "does not answer in HTTP"),
    "size of 5000 digits": (CHUNKED + b"f" * 5000 + b"\r\nabc", "cut"),
    "endless size": (endless(CHUNKED + b"3;", LONG), "does not answer in HTTP"),
    "endless trailers": (endless(CHUNKED + b"0\r\n", b"X: " + LONG + b"\r\n"), "longer than"),
    "endless headers": (endless(OK, b"X: y\r\n"), "does not answer in HTTP"),
    "endless header": (endless(OK + b"X: ", LONG), "does not answer in HTTP"),
    "endless status": (endless(b"HTTP/1.1 200 ", LONG), "does not answer in HTTP"),
    "endless 100": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "longer than"),
    "102": (b"HTTP/1.1 102 Processing\r\n\r\n" + OK + b"\r\nabc", "answers 102"),
    "101": (b"HTTP/1.1 101 Switching\r\n\r\n", "answers 101"),
    "HTTP/0.9": (b"\x89PNG\r\n", "does not answer in HTTP"),
    "HTTP/9.9": (b"HTTP/9.9 200 OK\r\n\r\nabc", "does not answer in HTTP"),
    "no status": (b"HTTP/1.1 banana\r\n\r\n", "does not answer in HTTP"),
    "status 99999": (b"HTTP/1.1 99999 OK\r\n\r\n", "does not answer in HTTP"),
    "nothing": (b"", "connection was lost"),
    "long reason": (b"HTTP/1.1 404 " + LONG + b"\r\n\r\n", "answers 404 a{200}"),
    "brotli": (OK + b"Content-Encoding: br\r\n\r\nabc", "not requested"),
    "packed twice": (OK + b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n\r\nabc", "not requested"),
    "long packing": (OK + b"Content-Encoding: " + LONG + b"\r\n\r\nabc", "not requested"),
    "packed and endless": (endless(GZIP + gzip.compress(b"abc"), LONG), "longer than"),
    "endless empty members": (endless(GZIP, gzip.compress(b"") * 1000), "longer than"),
    "endless name in gzip": (endless(GZIP + b"\x1f\x8b\x08\x08\0\0\0\0\0\x03", LONG), "longer than"),
}
# What is odd, and none the less an answer of three bytes.
ODDITIES = {
    "negative length": OK + b"Content-Length: -5\r\n\r\nabc",
    "length with a point": OK + b"Content-Length: 3.5\r\n\r\nabc",
    "length of latin digits": OK + "Content-Length: \xb2\r\n\r\nabc".encode("latin-1"),
    "one length twice": OK + b"Content-Length: 3, 3\r\n\r\nabc",
    "a range that nobody asked for": b"HTTP/1.1 206 OK\r\nContent-Range: bytes " + NINES + b"-1/x\r\n\r\nabc",
    "no colon": OK + b"Nothing here\r\nContent-Length: 3\r\n\r\nabc",
    "control characters": OK + b": \r\n\0\xff: \xfe\r\n folded\r\n\r\nabc",
    "a cookie for ever": OK + b"Set-Cookie: a=b; Max-Age=" + b"9" * 4000 + b"; Domain=com\r\n\r\nabc",
    "a cookie of 10^16": OK + b"Set-Cookie: a=b; expires=Wed, 09 Nov 9999999999999999 23:12:40 GMT\r\n\r\nabc",
    "cookies of odd kinds": OK + b"Set-Cookie2: x; version=" + NINES + b"\r\nSet-Cookie: " + LONG + b"\r\n\r\nabc",
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "DEADLINE_S", 0.5)
    monkeypatch.setattr(hub, "PROBE_S", 0.5)
    monkeypatch.setattr(labels, "DEADLINE_S", 0.5)
    monkeypatch.setattr(transfer, "TOTAL_STALL_S", 0.3)
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(connection, "READ_S", 0.4)


def lie(line: str) -> bytes | Iterable[bytes]:
    """Answer "GET /NUMBER ..." by the lie of that number; "GET / ..." is where one of them leads."""
    number = line.split()[1].strip("/")
    return [*LIES.values()][int(number)][0] if number else b""


@pytest.mark.parametrize(("answer", "said"), LIES.values(), ids=LIES)
def test_a_lie_is_told_in_bounded_time_and_memory(answer: bytes | Iterable[bytes], said: str) -> None:
    with raw_server(lambda _: answer) as (port, _):
        tracemalloc.start()
        with pytest.raises(ImageError, match=said) as caught:
            urls.read(f"http://127.0.0.1:{port}/", allow_private=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10_000_000
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("answer", ODDITIES.values(), ids=ODDITIES)
def test_what_is_only_odd_is_an_answer(answer: bytes, recwarn: pytest.WarningsRecorder) -> None:
    with raw_server(lambda _: answer) as (port, _):
        assert urls.read(f"http://127.0.0.1:{port}/", allow_private=True) == b"abc"
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_lie_is_a_row_and_its_neighbours_stand(resnest: Resnest, tmp_path: Path, workers: str) -> None:
    with raw_server(lie) as (port, _):
        quick = [number for number, (_, said) in enumerate(LIES.values()) if said != "longer than"]
        names = [f"http://127.0.0.1:{port}/{number}" for number in quick]
        names += ["http://***@127.0.0.1/", "http://a/\udcff", "http://127.0.0.1:99999/", "http://[::1%25a\nb]/"]
        given = [str(SEVEN), *chain.from_iterable((name, str(SEVEN)) for name in names)]
        listed = "\0".join(given).replace("***", "\udcff:x")
        (tmp_path / "list").write_bytes(listed.encode("utf-8", "surrogateescape"))
        options = ("--files-from", tmp_path / "list", "-0", "--allow-private-urls", "-j", workers)
        done = resnest("predict", *options, *DIGITS)
    assert (done.exit_code, done.stderr) == (3, "")
    rows = [json.loads(line) for line in done.stdout_bytes.decode("utf-8", "surrogateescape").splitlines()]
    assert [row["path"] for row in rows] == given
    assert {row["predictions"][0]["label"] for row in rows[::2]} == {"seven"}
    assert {row["error"]["type"] for row in rows[1::2]} <= {"DownloadFailed", "UrlRefused"}


@pytest.mark.parametrize(
    "raised", [RecursionError("deep"), MemoryError(), KeyError("x"), OverflowError("\n"), AssertionError()]
)
@pytest.mark.parametrize("place", ["find", "read"])
def test_whatever_a_source_raises_is_its_failure(
    monkeypatch: pytest.MonkeyPatch, resnest: Resnest, place: str, raised: Exception
) -> None:
    def fail(*_: object, **__: object) -> Any:  # noqa: ANN401 - it never returns
        raise raised

    monkeypatch.setattr(urls, "source" if place == "find" else "read", fail)
    done = resnest("predict", SEVEN, "http://a.example/?sig=hush", SEVEN, *DIGITS, "-j", "0")
    before, bad, after = map(json.loads, done.stdout.splitlines())
    assert before == after
    assert bad["path"] == "http://a.example/?sig=***"
    kind = ImageTooLarge if isinstance(raised, MemoryError) else UnreadableInput
    assert (done.exit_code, bad["error"]["type"]) == (3, kind.__name__)
    assert type(raised).__name__ in bad["error"]["message"] or kind is ImageTooLarge


class _Odd(loading.Loader):
    """What loads in a worker, and raises what cannot travel between processes."""

    def __call__(self, source: Source) -> Any:  # noqa: ANN401 - as Load
        class Local(Exception):
            pass

        if source.path == str(SEVEN):
            return super().__call__(source)
        raise Local(source.path)


def test_what_cannot_travel_from_a_worker_travels_as_words(monkeypatch: pytest.MonkeyPatch, resnest: Resnest) -> None:
    monkeypatch.setattr(loading, "Loader", _Odd)
    done = resnest("predict", SEVEN, "none.png", SEVEN, *DIGITS, "-j", "1")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert rows[1]["error"]["message"].endswith("Local: none.png.")


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.sampled_from([*"/:@?#[]%;&=.", "127.0.0.1", "99999", "%00", "\udcff", "\0", "::1", "%25", "xn--", "\u3002"])
    ).map("".join),
)


@given(st.sampled_from(["http://", "https://", "http://127.0.0.1:", "http://[", "s3://", "gs://", "x://"]), HOSTILE)
@settings(max_examples=300, deadline=None)
def test_any_name_with_a_scheme_is_a_source_or_a_failure(begin: str, rest: str) -> None:
    def nobody(*_: object, **__: object) -> Any:  # noqa: ANN401 - it never returns
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", nobody)
        patch.setattr(buckets, "opened", lambda path: buckets._split(path) and nobody())  # noqa: SLF001 - no request
        for found in find_sources([begin + rest]):
            if isinstance(found, Source):
                with pytest.raises(ImageError):
                    read_source(found)


# Of the hub


@pytest.mark.parametrize("answer", [answer for answer, _ in LIES.values()], ids=LIES)
def test_a_hub_that_lies_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: bytes | Iterable[bytes]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    with raw_server(lambda _: answer) as (port, _):
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        with pytest.raises(WeightsUnavailable):
            hub.probe("me/mine", "model.safetensors")
        with pytest.raises(LabelsError):
            labels._download(f"http://127.0.0.1:{port}", "0" * 64)  # noqa: SLF001 - the names have no other way
        remote = transfer.RemoteFile(f"http://127.0.0.1:{port}/", "0" * 64, authorization="hush")
        with pytest.raises(ExchangeError):
            transfer.download(remote, tmp_path / "whole", tmp_path / "part")
    assert not (tmp_path / "whole").exists()


@pytest.mark.parametrize("name", ["X-Linked-Size", "Content-Length"])
def test_a_file_of_5000_digits_finds_no_room(monkeypatch: pytest.MonkeyPatch, name: str, resnest: Resnest) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    facts = {"X-Repo-Commit": "0" * 40, "ETag": "0" * 64, name: NINES.decode()}
    with Stub({"/me/mine/resolve/main/config.json": Page(b"{}", headers=facts)}) as site:
        monkeypatch.setenv("HF_ENDPOINT", site.url)
        done = resnest("predict", SEVEN, "-m", "hf-hub:me/mine", *QUIET)
    assert (done.exit_code, "no space left: 1000000000 MB are needed" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://[::1",
        "hub.example",
        "ftp://x",
        "http://a:99999",
        "http://\udcff",
        "http://me:p@ss@[",
        "http://",
        "://",
        "http://a b",
    ],
)
def test_an_endpoint_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, resnest: Resnest, endpoint: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    for model in ("hf-hub:me/mine", "resnest14d"):
        done = resnest("predict", SEVEN, "-m", model, *QUIET)
        assert done.exit_code == 1, done.output
        assert done.stderr.startswith("error: ")


# Of proxies


def test_a_broken_proxy_setting_is_not_blamed_on_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("http://127.0.0.1:99999", "http://[::1", "http://", "ftp://127.0.0.1", "http://me:hu/sh@127.0.0.1:1"):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        with pytest.raises(ImageError, match="the environment names a malformed proxy"):
            urls.read("http://pictures.example/x.png")


TUNNELS = {
    "407": (b"HTTP/1.1 407 Who are you\r\n\r\n", "the proxy refuses: .*407 Who are you"),
    "a redirect": (redirect(b"https://127.0.0.1/"), "the proxy refuses: .*302"),
    "200 and a page": (endless(OK + b"Content-Length: 5\r\n\r\n", b"hello"), "the secure connection failed"),
    "204": (b"HTTP/1.1 204 No\r\n\r\n", "the proxy refuses: .*204"),
    "100 for ever": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "the proxy refuses: .*100"),
    "a long header": (endless(OK + b"X: ", LONG), "does not answer in HTTP"),
    "a long reason": (b"HTTP/1.1 502 " + LONG + b"\r\n\r\n", r"the proxy refuses: .*502 a+\.\.\."),
    "no HTTP": (b"\0\1\2", "does not answer in HTTP"),
    "nothing": (b"", "connection was lost"),
}


@pytest.mark.parametrize(("answer", "said"), TUNNELS.values(), ids=TUNNELS)
def test_a_proxy_that_answers_connect_oddly_is_told(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | Iterable[bytes], said: str
) -> None:
    with raw_server(lambda _: answer) as (port, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hush@127.0.0.1:{port}")
        with pytest.raises(ImageError, match=said) as caught:
            urls.read("https://known-to-the-proxy.example.invalid/x.png")
    assert asked == ["CONNECT known-to-the-proxy.example.invalid:443 HTTP/1.0"]
    assert "hush" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1.", "127.1..", "2130706433", "0x7F000001.", "[::1]", "[::1%25lo]", "localhost."),
        *("[::ffff:127.0.0.1%25x]", "169.254.169.254", "metadata.google.internal", "printer.local", "x.localhost"),
        *("router.home.arpa", "intranet-of-nobody"),
    ],
)
def test_a_proxy_is_not_asked_for_what_only_it_may_reach(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    def answer(line: str) -> bytes:
        return redirect(f"http://{host}/private".encode()) if "pictures" in line else OK + b"\r\nprivate"

    with raw_server(answer) as (port, asked):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        for first in (f"http://{host}/x", "http://pictures.example.invalid/x"):  # named, and where the proxy leads
            with pytest.raises(ImageError, match="not a public address"):
                urls.read(first)
        assert asked == ["GET http://pictures.example.invalid/x HTTP/1.1"]
        assert urls.read(f"http://{host}/x", allow_private=True) == b"private"


def test_no_proxy_is_no_way_around_the_check_and_hears_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with Stub({"/x": Page(b"private")}) as site, raw_server(lambda _: redirect(f"{site.url}/x".encode())) as (port, _):
        monkeypatch.setenv("HTTP_PROXY", f"http://me:hush@127.0.0.1:{port}")
        for bypassed in ("127.0.0.1", "127.0.0.0/8"):
            monkeypatch.setenv("NO_PROXY", bypassed)
            with pytest.raises(ImageError, match=r"127\.0\.0\.1 is not a public address"):
                urls.read("http://pictures.example.invalid/x")
        assert site.log == []
        assert urls.read("http://pictures.example.invalid/x", allow_private=True) == b"private"
        assert "proxy-authorization" not in site.headers[0]


def test_a_proxy_that_answers_in_the_place_of_a_secure_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("pictures.example").configure_cert(context)
    with Stub({"/x": Page(b"another")}, context) as forger:

        def tunnel(client: socket.socket) -> None:
            """Say that the tunnel is there, and lead to the forger."""
            while not client.recv(1 << 16).endswith(b"\r\n\r\n"):
                pass
            client.sendall(OK + b"\r\n")
            with socket.create_connection(("127.0.0.1", forger.port)) as there:
                threading.Thread(target=_pass_on, args=(client, there), daemon=True).start()
                _pass_on(there, client)

        with raw_connections(tunnel) as port:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            with pytest.raises(ImageError, match=r"the secure connection failed: .*certificate"):
                urls.read("https://pictures.example/x")
    assert forger.log == []


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            to.sendall(piece)
        to.shutdown(socket.SHUT_WR)


def test_the_memory_of_a_proxy_that_sends_another_page_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "MAX_BYTES", 1000)
    with raw_server(lambda _: endless(OK + b"\r\n", LONG)) as (port, _):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        with pytest.raises(ImageError, match="larger than"):
            read_source(Source("http://pictures.example.invalid/x"))
