"""Who may ask, and what is logged: Host, token, slow senders, log lines."""

from __future__ import annotations

import json
import re
import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SAMPLES
from servers import LIMIT_S, Served, serving

from resnest_cli import FakeEngine
from resnest_cli.errors import UsageError
from resnest_cli.serve import bodies, connections, server
from resnest_cli.serve.guard import is_own, token
from resnest_cli.serve.options import ServeOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEVEN = (SAMPLES / "seven_0081.png").read_bytes()
TOKEN = "correct-horse-battery"  # noqa: S105 - of tests


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(f"{TOKEN}\n")
    with serving(FakeEngine(), token_file=file) as found:
        yield found


@pytest.mark.parametrize("given", ["", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"bearer  {TOKEN}", "Bearer \xe9"])
def test_without_the_token_there_is_no_answer(locked: Served, given: str) -> None:
    for method, path in (("POST", "/predict"), ("GET", "/models"), ("GET", "/nothing")):
        said = locked.ask(method, path, SEVEN, {"Authorization": given} if given else {})
        assert said.problem == (401, "a token is needed: send Authorization: Bearer TOKEN.")
        assert said.headers["www-authenticate"] == "Bearer"


def test_with_the_token_there_is_and_no_log_line_has_it(locked: Served) -> None:
    assert locked.predict(SEVEN, Authorization=f"Bearer {TOKEN}").status == 200
    assert not any(TOKEN in line for line in locked.lines)


@pytest.mark.parametrize(
    ("host", "header", "own"),
    [
        ("127.0.0.1", "127.0.0.1:8000", True),
        ("127.0.0.1", "LOCALHOST", True),
        ("127.0.0.1", "[::1]:8000", True),
        ("127.0.0.1", "evil.example:8000", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "10.0.0.7", False),
        ("127.0.0.1", "", False),
        ("10.0.0.7", "10.0.0.7:8000", True),
        ("10.0.0.7", "10.0.0.8:8000", False),
        ("0.0.0.0", "10.0.0.7:8000", True),  # noqa: S104 - nobody listens there
        ("0.0.0.0", f"{socket.gethostname()}:8000", True),  # noqa: S104 - as above
        ("0.0.0.0", "evil.example", False),  # noqa: S104 - as above
        ("::", "[fe80::1]:8000", True),
    ],
)
def test_hosts(host: str, header: str, own: bool) -> None:  # noqa: FBT001 - of a table
    assert is_own(header, host) is own


def test_a_name_that_is_pointed_here_is_refused() -> None:
    with serving(FakeEngine()) as served:
        assert served.predict(SEVEN, Host=f"evil.example:{served.port}").problem[0] == 421
        assert served.predict(SEVEN, Host=f"localhost:{served.port}").status == 200
        headers = served.predict(SEVEN, Origin="http://evil.example").headers
    assert "access-control-allow-origin" not in headers
    assert (headers["x-content-type-options"], headers["cache-control"], headers["server"]) == (
        *("nosniff", "no-store"),
        None,
    )


@pytest.mark.parametrize("changes", [{"host": "0.0.0.0"}, {"host": "192.168.0.7"}, {"host": "example.org"}])  # noqa: S104 - nobody listens there
def test_other_addresses_need_a_token(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="others reach this address: add token_file=FILE"):
        ServeOptions(**changes)
    assert ServeOptions(**changes, token_file=tmp_path / "token").token_file


@pytest.mark.parametrize("content", [b"", b"short", b"two words of a token", "sixteen letters\u00e9".encode(), None])
def test_token_files_without_a_token(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(UsageError, match="token_file="):
        token(tmp_path / "token")


@pytest.mark.parametrize(
    "changes",
    [{"port": 70_000}, {"queue": 0}, {"timeout": float("nan")}, {"max_bytes": 0}, {"max_wait_ms": -1}],
)
def test_values_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="use a number from"):
        ServeOptions(**changes)


def test_a_line_per_request() -> None:
    with serving(FakeEngine()) as served:
        served.predict(SEVEN)
        served.ask("GET", "/%1b%5b31m%0aGET")
    assert [re.sub(r"[\d.]+ ms", "T ms", line) for line in served.lines] == [
        "POST /predict 200 T ms, 1 images",
        r"GET /\x1b[31m\nGET 404 T ms, 0 images",
    ]


def test_a_line_per_request_in_json() -> None:
    with serving(FakeEngine(), log="json") as served:
        served.predict(SEVEN)
        served.ask("GET", "/%7f%0a")
    first, second = map(json.loads, served.lines)
    assert {**first, "ms": 0} == {"method": "POST", "path": "/predict", "status": 200, "ms": 0, "images": 1}
    assert (second["path"], second["status"], "\n" in served.lines[1]) == ("/\x7f\n", 404, False)


def test_a_body_that_comes_too_slowly_is_cut() -> None:
    with serving(FakeEngine(), timeout=0.3) as served, raw(served) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nslow")
        said = everything(slow)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert said.endswith(b'"error":"the request has not arrived within 0.3 s."}')
        assert served.predict(SEVEN).status == 200


def test_bodies_that_are_too_much_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_HELD", 1000)
    with serving(FakeEngine(), max_bytes=1000) as served, raw(served) as first:
        first.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\nExpect: 100-continue\r\n\r\n"
        )
        assert first.recv(100).startswith(b"HTTP/1.1 100 ")
        first.sendall(bytes(899))
        while (refused := served.predict(bytes(200))).status != 503:  # until the server has read the first
            assert refused.status == 415
        first.sendall(b"\0")
        assert first.recv(100).startswith(b"HTTP/1.1 415 ")
        assert served.predict(bytes(200)).status == 415


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
def test_a_head_that_comes_too_slowly_is_cut(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    with serving(FakeEngine()) as served:
        with raw(served) as slow:
            slow.sendall(head)
            assert everything(slow) == b""
        with raw(served) as slow:  # also after an answer
            slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT")
            assert everything(slow).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_is_too_large_is_refused() -> None:
    with serving(FakeEngine()) as served, raw(served) as large:
        large.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000)
        assert everything(large).startswith(b"HTTP/1.1 400 ")


def test_too_many_connections_are_refused_and_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(connections, "MAX_OPEN", 4)
    with serving(FakeEngine()) as served, ExitStack() as stack:
        first, second = (stack.enter_context(closing(served.connect())) for _ in range(2))
        for client in (first, second):
            client.request("GET", "/models")
            assert client.getresponse().read()
        third = served.predict(SEVEN)
        assert third.problem == (503, "there are too many connections: retry later.")
        assert (third.headers["retry-after"], third.headers["connection"]) == ("1", "close")
        assert served.ask("GET", "/v2/health/live").status == 200
        idle = [stack.enter_context(raw(served)) for _ in range(2)]
        with raw(served) as fifth:
            assert everything(fifth) == b""
        for one in idle:
            one.close()
        first.close()
        while served.predict(SEVEN).status == 503:  # until the server has seen that they are closed
            pass
        assert served.predict(SEVEN).status == 200


def raw(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), LIMIT_S)


def everything(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    said = b""
    while more := connection.recv(65_536):
        said += more
    return said
