"""The Python interface: what a program gets, with a fake engine and with the real digits model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import SAMPLES
from PIL import Image

from resnest_cli import Classifier, Embedder, Failure, FakeEngine, Options, Prediction, Result, find_model
from resnest_cli.errors import LabelsError, TruncatedImage, UnreadableInput, UsageError
from resnest_cli.pipeline.stream import Row
from resnest_cli.tasks import predict
from resnest_cli.tasks.explain.heatmap import Explainer
from resnest_cli.tasks.ranking import softmax

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.tasks.opened import Closable

SEVEN = SAMPLES / "seven_0081.png"


@pytest.fixture
def fake() -> Classifier:
    """Make a classifier that answers by brightness."""
    return Classifier("digits", engine=FakeEngine())


def gray(path: Path, value: int) -> Path:
    Image.new("L", (40, 30), value).save(path)
    return path


def test_one_record_an_input_in_order(fake: Classifier, tmp_path: Path) -> None:
    dark, light = gray(tmp_path / "b.png", 0), gray(tmp_path / "a.png", 255)
    (tmp_path / "c.png").write_bytes(dark.read_bytes()[:50])
    records = list(fake.predict([light, tmp_path, "missing.png", dark]))
    assert [record.path for record in records] == [
        *map(str, [light, light, dark, tmp_path / "c.png"]),
        "missing.png",
        str(dark),
    ]
    assert [r.top1.label if isinstance(r, Result) else r.type for r in records] == [
        *("nine", "nine", "zero", "TruncatedImage", "UnreadableInput", "zero")
    ]


def test_a_failure_raises_its_own_error_where_an_answer_is_asked(fake: Classifier, tmp_path: Path) -> None:
    broken = tmp_path / "c.png"
    broken.write_bytes(SEVEN.read_bytes()[:100])
    missing, cut = fake.predict(["missing.png", broken])
    assert isinstance(missing, Failure)
    assert missing.predictions == ()
    with pytest.raises(UnreadableInput, match=r"missing\.png: no such file\."):
        _ = missing.top1
    with pytest.raises(TruncatedImage):
        _ = cut.top1


def test_topk_and_threshold(fake: Classifier, tmp_path: Path) -> None:
    (record,) = fake.predict([gray(tmp_path / "x.png", 128)], topk=3)
    sure, rest = np.exp(20) / (np.exp(20) + 9), 1 / (np.exp(20) + 9)
    assert [(p.rank, p.index, p.label) for p in record.predictions] == [(1, 5, "five"), (2, 0, "zero"), (3, 1, "one")]
    assert [p.probability for p in record.predictions] == pytest.approx([sure, rest, rest], rel=1e-6)
    (all_of_them,) = fake.predict([tmp_path / "x.png"], topk=99)
    assert (len(all_of_them.predictions), fake.columns(99)) == (10, 10)
    (one,) = fake.predict([tmp_path / "x.png"], threshold=0.5)
    assert len(one.predictions) == 1
    with pytest.raises(UsageError, match="use at least 1"):
        fake.predict([], topk=0)
    with pytest.raises(UsageError, match="from 0 to 1"):
        fake.predict([], threshold=1.5)


def test_a_single_path_is_taken_as_one_input(fake: Classifier) -> None:
    assert [record.path for record in fake.predict(str(SEVEN))] == [str(SEVEN)]
    assert [record.path for record in fake.predict(SEVEN)] == [str(SEVEN)]


def test_answers_come_while_inputs_are_still_being_named(fake: Classifier) -> None:
    endless = repeat(SEVEN)
    assert len(list(islice(fake.predict(endless), 20))) == 20


def test_the_real_network_says_seven() -> None:
    with Classifier("digits", device="cpu") as model:
        (record,) = model.predict([SEVEN])
        assert isinstance(record, Result)
        assert record.top1 == Prediction(1, 7, None, "seven", record.top1.probability)
        assert sum(p.probability for p in next(iter(model.predict([SEVEN], topk=10))).predictions) == pytest.approx(1)


def test_a_batch_mixed_with_bad_files_changes_no_answer(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"not an image")
    images = sorted(SAMPLES.iterdir())
    mixed = [path for image in images for path in (image, tmp_path / "bad.png")]
    with Classifier("digits", batch=5) as model:
        labels = [r.top1.label for r in model.predict(mixed) if isinstance(r, Result)]
        only_bad = list(model.predict([tmp_path / "bad.png"] * 70))
    assert labels == [image.name.split("_")[0] for image in images]
    assert [record.status for record in only_bad] == ["error"] * 70


def test_labels_of_ones_own_name_the_classes(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("null\neins\nzwei\ndrei\nvier\nfünf\nsechs\nsieben\nacht\nneun\n", encoding="utf-8")
    with Classifier("digits", labels=names) as model:
        (record,) = model.predict([SEVEN], topk=1)
    assert record.top1.label == "sieben"
    names.write_text("too\nfew\n")
    with pytest.raises(LabelsError, match=r"names\.txt must hold one name per line for 10 classes; it has 2 lines\."):
        Classifier("digits", labels=names, engine=FakeEngine())


def test_imagenet_answers_carry_index_and_wnid(tmp_path: Path) -> None:
    model = Classifier("resnest14d", engine=FakeEngine(find_model("resnest14d")))
    (record,) = model.predict([gray(tmp_path / "x.png", 0)], topk=2)
    assert record.predictions[0] == Prediction(1, 0, "n01440764", "tench", record.top1.probability)


def test_options_may_be_given_whole_or_in_parts() -> None:
    engine = FakeEngine()
    assert Classifier(Options(model="digits", batch=3), engine=engine).options.batch == 3
    assert Classifier("digits", batch=3, engine=engine).options == Options(model="digits", batch=3)
    with pytest.raises(TypeError, match="color"):
        Classifier("digits", engine=engine, color="red")  # type: ignore[call-arg]


def test_it_says_what_runs_where_and_why(fake: Classifier) -> None:
    assert fake.words("answers") == "digits on cpu (asked for), fake fp32"
    random = Classifier("digits", engine=FakeEngine(), random_weights=True)
    assert "random weights (the answers mean nothing)" in random.words("answers")


def test_features_and_explanations_come_from_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Closable] = []
    closed: list[Closable] = []
    for kind in (Embedder, Explainer):
        monkeypatch.setattr(predict, kind.__name__, partial(watched, kind, opened, closed))
    options = Options("digits", workers=0, img_size=48)
    with Classifier(options) as model:
        model(SEVEN)
        assert opened == []
        rows = list(model.embed([SEVEN, "lost.png"]))
        said = model.explain(SEVEN)
        three = model.explain(Image.open(SEVEN).convert("RGB"), "three")
        assert (said.label, three.label, model.explain(SEVEN, 3).index) == ("seven", "three", 3)
        assert said.probability == pytest.approx(model(SEVEN).top1.probability)
        assert said.pixels.shape == (48, 48, 3)
        assert [type(each) for each in opened] == [Embedder, Explainer]
        assert closed == []
        with pytest.raises(UsageError, match="'eleven'"):
            model.explain(SEVEN, "eleven")
        with pytest.raises(UnreadableInput, match="no such file"):
            model.explain("lost.png")
    assert closed == opened
    with Embedder(options) as embedder:
        assert isinstance(rows[0], Row)
        np.testing.assert_array_equal(rows[0].values, embedder(SEVEN))
    assert rows[1] == Failure("lost.png", "UnreadableInput", "no such file.")
    with pytest.raises(UsageError, match="closed"):
        model.embed([SEVEN])


def watched(kind: type[Any], opened: list[Closable], closed: list[Closable], *given: Any, **named: Any) -> Any:  # noqa: ANN401 - of `kind`
    made = kind(*given, **named)
    real = made.close

    def close() -> None:
        closed.append(made)
        real()

    opened.append(made)
    made.close = close
    return made


def test_several_threads_open_it_once_and_get_their_own_answers() -> None:
    paths = sorted(SAMPLES.iterdir())
    with Classifier("digits", workers=0) as model, ThreadPoolExecutor(4) as threads:
        said = list(threads.map(model.explain, paths * 2))
        assert [one.label for one in said] == [model(path).top1.label for path in paths * 2]
        assert [one.path for one in said] == [str(path) for path in paths * 2]
        alone = model.explain(paths[0])
        np.testing.assert_array_equal(said[0].heat, alone.heat)


def test_an_engine_of_ones_own_has_no_features(fake: Classifier) -> None:
    for ask in (fake.embed, fake.explain):
        with pytest.raises(UsageError, match="an engine of your own gives logits only"):
            ask(SEVEN)


def test_softmax_is_exact_where_exponentials_overflow() -> None:
    values = np.array([1000, 1000, -1000], np.float32)
    assert softmax(values).tolist() == [0.5, 0.5, 0]
    assert softmax(values).dtype == np.float32
