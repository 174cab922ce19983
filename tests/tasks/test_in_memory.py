"""Images in memory, from Python: the rows of their files, in their places; one image is one call."""

from __future__ import annotations

import io
import json
import re
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from conftest import SAMPLES
from odd_files import bare_png
from PIL import ExifTags, Image, ImageOps

from resnest_cli import Classifier, Embedder, Failure, FakeEngine, Result
from resnest_cli.cluster.trunk import RayTrunk
from resnest_cli.errors import NoImages, NotAnImage, OutputError, TruncatedImage, UnreadableInput, UsageError
from resnest_cli.inputs.decode import images
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEVEN, NINE = SAMPLES / "seven_0081.png", SAMPLES / "nine_0037.png"


@pytest.fixture(scope="module")
def model() -> Iterator[Classifier]:
    with Classifier("digits", workers=0) as opened:
        yield opened


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Classifier]:
    """Open a classifier that answers by brightness; it could not start a process."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with Classifier("digits", engine=FakeEngine(), workers=2) as opened:
        yield opened


def gray(value: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((30, 40, 3), value, np.uint8)


def write_pictures(folder: Path) -> list[Path]:
    """Write a digit in several formats, and return their paths."""
    digit = Image.open(SEVEN).convert("RGB").resize((70, 90))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    alpha = digit.convert("RGBA")
    alpha.putalpha(digit.convert("L"))
    made: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "turned.jpg": (digit, {"exif": exif}),
        "alpha.png": (alpha, {}),
        "palette.png": (digit.quantize(11), {}),
        "deep.png": (Image.fromarray(np.asarray(digit.convert("L")).astype(np.uint16) * 200), {}),
        "gray.jpg": (digit.convert("L"), {}),
        "inks.jpg": (ImageOps.invert(digit).convert("CMYK"), {}),
    }
    for name, (picture, how) in made.items():
        picture.save(folder / name, **how)
    return [folder / name for name in made]


def forms(path: Path) -> list[Any]:
    """Return an image as all that a program may have in its hands."""
    content = path.read_bytes()
    array = np.array(images.decode(content))
    picture = Image.open(io.BytesIO(content))
    return [path, content, io.BytesIO(content), picture, picture.copy(), array, torch.from_numpy(array)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_the_row_of_an_image_is_the_same_in_whatever_form(workers: int, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path)
    inputs = [form for path in paths for form in forms(path)]
    each = len(inputs) // len(paths)
    with Classifier("digits", workers=workers, batch=1) as model, Embedder("digits", workers=workers, batch=1) as other:
        records = [record.predictions for record in model.predict(inputs, topk=10)]
        rows = [row.values for row in other.embed(inputs) if not isinstance(row, Failure)]
    assert len(set(records)) == len(paths)
    assert records == [records[each * number] for number in range(len(paths)) for _ in range(each)]
    expected = np.repeat(rows[::each], each, axis=0)
    np.testing.assert_array_equal(rows, expected)


MIXED: list[Any] = [
    *(SEVEN, SEVEN.read_bytes(), SEVEN.read_bytes()[:100], gray(255), bare_png(65536, 65536), gray(0) / 255),
    *("lost.png", Image.new("RGB", (0, 9)), Image.fromarray(gray(128)), b"no image", io.BytesIO(NINE.read_bytes())),
]


@pytest.mark.parametrize("workers", [0, 2])
def test_one_record_an_input_in_memory_or_not_in_order(workers: int) -> None:
    with Classifier("digits", engine=FakeEngine(), workers=workers, batch=3) as fake:
        records = list(fake.predict(MIXED))
    assert [(record.path, record.top1.label if record.ok else record.type) for record in records] == [
        *((str(SEVEN), "three"), ("#1", "three"), ("#2", "TruncatedImage"), ("#3", "nine"), ("#4", "ImageTooLarge")),
        *(("#5", "NotAnImage"), ("lost.png", "UnreadableInput"), ("#7", "NotAnImage"), ("#8", "five")),
        *(("#9", "NotAnImage"), ("#10", "three")),
    ]


def test_decoded_pictures_need_no_process(fake: Classifier) -> None:
    records = list(fake.predict([gray(255), Image.fromarray(gray(0)), torch.from_numpy(gray(128))]))
    assert [record.top1.label for record in records] == ["nine", "zero", "five"]


def test_a_lone_image_is_one_input(fake: Classifier) -> None:
    content = SEVEN.read_bytes()
    for image in (content, io.BytesIO(content), Image.open(io.BytesIO(content)), gray(0), torch.from_numpy(gray(0))):
        assert [(record.path, record.ok) for record in fake.predict(image)] == [("#0", True)]
    assert [record.path for record in fake.predict(gray(0)[None].repeat(2, axis=0))] == ["#0", "#1"]


def test_answers_come_while_images_are_still_being_made(fake: Classifier) -> None:
    assert len(list(islice(fake.predict(gray(value) for value in repeat(255)), 20))) == 20


def test_the_limits_of_files_are_those_of_images_in_memory() -> None:
    with Classifier("digits", engine=FakeEngine(), max_pixels=100, workers=0) as fake:
        words = {record.message for record in fake.predict([gray(0), Image.fromarray(gray(0))]) if not record.ok}
        (file,) = fake.predict(io.BytesIO(bytes(401)))
    assert words == {"the image has 40 x 30 = 1,200 pixels; --max-pixels sets the limit (100)."}
    assert isinstance(file, Failure)
    assert file.message == "the file has more than 400 bytes, which is the limit (401); see --max-pixels."


# --- one image, one call


def test_a_model_called_with_an_image_answers_or_raises(model: Classifier) -> None:
    (record,) = model.predict([SEVEN], topk=3, threshold=0.01)
    for image in forms(SEVEN):
        result = model(image, topk=3, threshold=0.01)
        assert isinstance(result, Result)
        assert result.predictions == record.predictions
    with pytest.raises(TruncatedImage, match=r"^#0: the file ends before the image does"):
        model(SEVEN.read_bytes()[:100])
    with pytest.raises(NotAnImage, match=r"^#0: uint8 0\.\.255 is needed, not float64"):
        model(gray(0) / 255)
    with pytest.raises(UnreadableInput, match=r"^lost\.png: no such file\.$"):
        model("lost.png")
    with pytest.raises(UsageError, match="at least 1"):
        model(SEVEN, topk=0)


def test_a_call_takes_one_image_only(model: Classifier, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"samples: it names more than one image: predict, embed and write take many\.$"
    ):
        model(SAMPLES)
    with pytest.raises(UsageError, match=r"^input 0 is of type list: give a path, a URL, or an image"):
        model([SEVEN])  # type: ignore[arg-type]
    with pytest.raises(NoImages):
        model(tmp_path)
    (tmp_path / "seven.png").write_bytes(SEVEN.read_bytes())
    assert model(tmp_path).top1.label == "seven"


def test_an_embedder_called_with_an_image_gives_its_features() -> None:
    with Embedder("digits", workers=0) as embedder:
        (row,) = embedder.embed(SEVEN)
        assert not isinstance(row, Failure)
        for image in forms(SEVEN):
            features = embedder(image)
            assert (str(features.dtype), *features.shape) == ("float32", embedder.width)
            np.testing.assert_array_equal(features, row.values)
        with pytest.raises(UnreadableInput):
            embedder("lost.png")


# --- jobs


def test_a_job_takes_images_in_memory(model: Classifier, tmp_path: Path) -> None:
    summary = model.write([SEVEN, SEVEN.read_bytes(), gray(0)[0]], tmp_path / "x.jsonl", topk=1)
    assert (summary.ok, summary.failures) == (3, {})
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [(row["path"], row["status"]) for row in rows] == [(str(SEVEN), "ok"), ("#1", "ok"), ("#2", "ok")]
    assert rows[0]["predictions"] == rows[1]["predictions"]
    assert [*rows[0]] == ["path", "status", "predictions"]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_images_without_a_name_cannot_be_resumed(fake: Classifier, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    words = (
        r"input #0 is an image in memory without a name, so a stopped job cannot resume: hand in paths or open files"
    )
    with pytest.raises(UsageError, match=words):
        fake.write([gray(0)], path, resume=True)
    assert list(tmp_path.iterdir()) == []
    fake.write([gray(0)], path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=words):
        fake.write([gray(255)], path, resume=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert fake.write([gray(255)], path, overwrite=True).ok == 1
    assert "nine" in path.read_text()


def test_images_with_a_name_resume_as_paths_do(model: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"

    def stopped() -> Iterator[Any]:
        with SEVEN.open("rb") as file:
            yield file
        yield gray(0)

    with pytest.raises(UsageError, match="input #1 is an image in memory without a name"):
        model.write(stopped(), path, resume=True)
    with SEVEN.open("rb") as seven, NINE.open("rb") as nine:
        model.write([seven, nine], path, resume=True)
        assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == [str(SEVEN), str(NINE)]
        assert model.write([seven, NINE], path, resume=True).complete
        with pytest.raises(OutputError, match="the inputs are others"):
            model.write([nine, seven], path, resume=True)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Source("#1", content=b"image"), "#1: an image in memory is on this machine only; give a cluster its path."),
        (Source("-"), "-: standard input is on this machine only; leave out ray."),
    ],
)
def test_a_cluster_is_refused_what_is_here_only(source: Source, words: str) -> None:
    trunk = object.__new__(RayTrunk)  # a cluster is not asked
    with pytest.raises(UsageError, match=re.escape(words)):
        list(trunk.rows([Source(str(SEVEN)), source]))
