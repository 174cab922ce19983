"""POST /predict: the rows of predict, and for every fault its status."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SAMPLES
from odd_files import bare_png, many_scans
from servers import LIMIT_S, Gated, Served, multipart, serving

from resnest_cli import FakeEngine
from resnest_cli.errors import DeviceError
from resnest_cli.inputs import pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from conftest import Resnest
    from numpy.typing import NDArray

SEVEN = (SAMPLES / "seven_0081.png").read_bytes()
TWO = (SAMPLES / "two_0051.png").read_bytes()


@pytest.fixture(scope="module")
def fake() -> Iterator[Served]:
    with serving(FakeEngine(), max_bytes=100_000) as found:
        yield found


def test_the_row_is_that_of_predict_byte_for_byte(served: Served, resnest: Resnest) -> None:
    """Only the path differs: a body has no name."""
    for path in sorted(SAMPLES.iterdir()):
        row = resnest("predict", path, "-m", "digits", "-j", "0", "-k", "3", "-f", "jsonl").stdout
        said = served.predict(path.read_bytes(), "?topk=3")
        assert (said.status, said.headers["content-type"]) == (200, "application/json")
        assert said.body.decode().replace('"path": "#0"', f'"path": {json.dumps(str(path))}') == row


def test_several_images_are_the_array_of_predict(served: Served, resnest: Resnest) -> None:
    paths = [*sorted(SAMPLES.iterdir()), SAMPLES.parent / "config.json"]
    body, kind = multipart(*((str(path), path.read_bytes()) for path in paths))
    said = served.ask("POST", "/predict", body, {"Content-Type": kind})
    assert said.status == 200
    expected = resnest("predict", *paths, "-m", "digits", "-j", "0", "-b", "1", "-f", "json").stdout
    assert said.body.decode() == expected
    assert said.json[-1]["error"]["type"] == "NotAnImage"


def test_one_part_is_one_image_and_parts_without_a_name_have_their_position(fake: Served) -> None:
    body, kind = multipart(("", SEVEN))
    assert fake.ask("POST", "/predict", body, {"Content-Type": kind}).json["path"] == "#0"
    body, kind = multipart(("a", SEVEN), ("", TWO), ("http://u:hush@h/b", TWO))
    rows = fake.ask("POST", "/predict", body, {"Content-Type": kind}).json
    assert [row["path"] for row in rows] == ["a", "#1", "http://***@h/b"]


def test_threshold_and_model_are_parameters(served: Served) -> None:
    said = served.predict(SEVEN, "?threshold=0.5&model=digits")
    assert [answer["label"] for answer in said.json["predictions"]] == ["seven"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("?topk=0", (400, "topk=0 threshold=0.0: use at least 1, and a probability from 0 to 1.")),
        ("?threshold=nan", (400, "topk=5 threshold=nan: use at least 1, and a probability from 0 to 1.")),
        ("?topk=many", (400, "topk=many: it is not a number.")),
        ("?top=3", (400, "top: no such parameter; there are topk, threshold, model.")),
        ("?topk=3&topk=4", (400, "topk: it is there twice.")),
        ("?model=cat", (404, "cat: no such model here; there are digits.")),
    ],
)
def test_parameters_that_cannot_be_meant(fake: Served, query: str, problem: tuple[int, str]) -> None:
    assert fake.predict(SEVEN, query).problem == problem


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "the request has no image"),
        (b"no image", 415, "NotAnImage: this is a text file, not an image."),
        (SEVEN[:100], 422, "TruncatedImage: the file ends before the image does"),
        (bare_png(65536, 65536), 413, "ImageTooLarge: the image has 65536 x 65536 = 4,294,967,296 pixels"),
        (bytes(100_001), 413, "the request has more than 100,000 bytes"),
    ],
)
def test_bodies_without_an_answer(fake: Served, body: bytes, status: int, words: str) -> None:
    found, detail = fake.predict(body).problem
    assert (found, detail[: len(words)]) == (status, words)


def test_a_body_that_does_not_say_how_long_it_is_is_limited_while_it_comes(fake: Served) -> None:
    connection = fake.connect()
    connection.request("POST", "/predict", iter([bytes(60_000), bytes(60_000)]))
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/predict", 405), ("POST", "/", 405), ("GET", "/nothing", 404)]
)
def test_what_there_is_not(fake: Served, method: str, path: str, status: int) -> None:
    assert fake.ask(method, path).problem[0] == status


def test_compressed_bodies_are_refused(fake: Served) -> None:
    assert fake.predict(SEVEN, **{"Content-Encoding": "gzip"}).problem[0] == 415


WHOLE, KIND = multipart(("a.png", SEVEN), ("b.png", TWO))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (WHOLE[:-8], KIND),
        (WHOLE[:200], KIND),
        (WHOLE, "multipart/form-data"),
        (WHOLE, "multipart/form-data; boundary=other"),
        (WHOLE, f"multipart/form-data; boundary={'x' * 1000}"),
        (WHOLE.replace(b"Content-Disposition", b"Content Disposition"), KIND),
        (WHOLE.replace(b"Content-Disposition", b"X" * 10_000), KIND),
        (b"", KIND),
    ],
)
def test_malformed_multipart(fake: Served, body: bytes, kind: str) -> None:
    status, detail = fake.ask("POST", "/predict", body, {"Content-Type": kind}).problem
    assert (status, detail.startswith("the multipart body is malformed")) == (400, True)


def test_too_many_parts(fake: Served) -> None:
    body, kind = multipart(*[("a", b"")] * 257)
    said = fake.ask("POST", "/predict", body, {"Content-Type": kind})
    assert said.problem == (413, "a request has at most 256 images.")


def test_a_full_queue_is_said_and_none_of_the_request_runs() -> None:
    engine = Gated()
    with serving(engine, queue=3) as served, ThreadPoolExecutor() as threads:
        engine.shut()
        first = threads.submit(served.predict, SEVEN)
        assert engine.begun.acquire(timeout=LIMIT_S)
        body, kind = multipart(*[("a", SEVEN)] * 20)
        refused = served.ask("POST", "/predict", body, {"Content-Type": kind})
        assert (refused.problem[0], refused.headers["retry-after"]) == (503, "1")
        engine.gate.set()
        assert first.result(LIMIT_S).status == 200
        assert served.predict(SEVEN).status == 200
    assert engine.batch_sizes == [1, 1, 1]  # the warm-up and two answers


def test_a_deadline_that_passes_is_said_and_the_next_request_is_fine() -> None:
    engine = Gated()
    with serving(engine, timeout=0.3) as served:
        engine.shut()
        assert served.predict(SEVEN).problem == (504, "DeadlineExceeded: not answered within 0.3 s.")
        engine.gate.set()
        assert served.predict(SEVEN).status == 200


def test_the_work_of_a_client_that_leaves_is_dropped() -> None:
    engine = Gated()
    with serving(engine) as served, ThreadPoolExecutor() as threads:
        engine.shut()
        first = threads.submit(served.predict, SEVEN)
        assert engine.begun.acquire(timeout=LIMIT_S)
        leaving = served.connect()
        leaving.request("POST", "/predict", TWO)
        leaving.close()
        while not any(" 499 " in line for line in served.lines):
            served.ask("GET", "/")
        engine.gate.set()
        assert first.result(LIMIT_S).status == 200
        assert served.predict(SEVEN).status == 200
    assert engine.batch_sizes == [1, 1, 1]  # the warm-up and two answers


class Broken(FakeEngine):
    """Fails after the first batch, which warms it up."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fail."""
        if self.batch_sizes:
            raise self.error
        return super().answer(batch)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (DeviceError("the device is gone."), (500, "the device is gone.")),
        (KeyError("inside"), (500, "a bug of this server; its log names the error.")),
        (MemoryError("1 GB"), (503, "there is not enough memory on cpu for one image (1 GB): try a smaller img_size.")),
    ],
)
def test_what_the_engine_raises(error: Exception, problem: tuple[int, str]) -> None:
    with serving(Broken(error)) as served:
        said = served.predict(SEVEN)
        assert said.problem[0] == problem[0]
        assert "Traceback" not in said.body.decode()
        assert said.problem == problem


@pytest.mark.slow
def test_an_image_that_hangs_or_kills_its_worker_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = many_scans(2000, 20_000)
    receive, deadly = pool.Worker._receive, [False]  # noqa: SLF001 - the fault is a signal at the right time

    def received(worker: pool.Worker) -> Any:  # noqa: ANN401 - as it returns
        if deadly[0] and worker._ready:  # noqa: SLF001 - as above
            worker._process.kill()  # noqa: SLF001 - as above
        return receive(worker)

    monkeypatch.setattr(pool.Worker, "_receive", received)
    monkeypatch.setattr(pool, "MAX_DEATHS", 1)
    with serving(FakeEngine(), workers=1, timeout=3) as served:
        assert served.predict(SEVEN).status == 200
        assert served.predict(slow).problem[0] == 504
        assert served.predict(SEVEN).status == 200
        deadly[0] = True
        assert served.predict(slow).problem[0] == 422  # slow: the worker has no answer yet when it is killed
        deadly[0] = False
        assert served.predict(SEVEN).status == 200
        assert b"\nresnest_decoders_replaced_total 2.0\n" in served.ask("GET", "/metrics").body


def test_bytes_that_are_no_http_end_the_connection_and_nothing_else(fake: Served) -> None:
    with socket.create_connection(("127.0.0.1", fake.port), LIMIT_S) as raw:
        raw.sendall(b"\x16\x03\x01 no request\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400 ")
    assert fake.predict(SEVEN).status == 200
