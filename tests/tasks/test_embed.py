"""Features are plain timm's, files have a row for every input and go on after a kill, neighbours are the nearest."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from conftest import SAMPLES
from lively import IS_FULL, finetuned, save_pictures, to_input
from pyarrow import parquet
from sklearn.cluster import AgglomerativeClustering
from sklearn.neighbors import NearestNeighbors

from resnest_cli import Options, list_models
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.inputs.find import find_sources
from resnest_cli.models.catalog import DIGITS
from resnest_cli.outputs import features
from resnest_cli.outputs import index as index_file
from resnest_cli.outputs.rows import About
from resnest_cli.tasks import cosine
from resnest_cli.tasks.embed import Embedder, normalized
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conftest import Resnest, Shell
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

pytestmark = pytest.mark.usefixtures("decode_here")

SEVEN, NINE = SAMPLES / "seven_0081.png", SAMPLES / "nine_0037.png"
FORMATS = (".npy", ".parquet", ".jsonl", ".csv")
# Conversion takes seconds; the torch engine is held to OpenVINO elsewhere.
CONVERTED = {spec.name for spec in list_models()} if IS_FULL else {"resnest50d_4s2x40d"}


def rows_of(options: Options, inputs: Sequence[Path], *, normalize: bool = False) -> Rows:
    with Embedder(options, normalize=normalize) as embedder:
        rows = [row for row in embedder.embed(find_sources(inputs)) if not isinstance(row, Failure)]
    assert [row.path for row in rows] == [str(path) for path in inputs]
    return np.stack([row.values for row in rows])


# --- the numbers


@pytest.mark.parametrize("name", [spec.name for spec in list_models()])
def test_features_of_every_variant_are_those_of_timm_without_classes(name: str, tmp_path: Path) -> None:
    network: Any = finetuned(name, tmp_path / "model")
    paths = save_pictures(tmp_path / "pictures", 3)
    network.reset_classifier(0)
    with torch.inference_mode():
        expected = network(to_input(paths)).numpy()
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
    engine = "openvino" if name in CONVERTED else "torch"
    found = rows_of(Options(str(tmp_path / "model"), device="cpu", engine=engine, workers=0, crop_pct=1.0), paths)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    shutil.rmtree(tmp_path / "model")  # pytest keeps what is in its folders


def test_normalized_rows_have_length_one_and_point_the_same_way() -> None:
    plain = rows_of(Options("digits"), [SEVEN, NINE])
    unit = rows_of(Options("digits"), [SEVEN, NINE], normalize=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)
    assert not normalized(np.zeros((1, 3), np.float32)).any()


# --- files


def embed(resnest: Resnest, output: Path, *words: str | Path) -> Any:  # noqa: ANN401 - click's result
    return resnest("embed", *words, "-m", "digits", "-q", "-o", output)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_has_a_row_for_every_input_in_order(suffix: str, resnest: Resnest, tmp_path: Path) -> None:
    output = tmp_path / f"f{suffix}"
    lost = tmp_path / "lost.png"
    assert embed(resnest, output, SEVEN, lost, NINE).exit_code == ExitCode.SOME_FAILED
    known = index_file.read(output)
    assert known.paths == [str(SEVEN), str(lost), str(NINE)]
    assert (known.values.dtype.name, known.values.shape) == ("float32", (3, 512))
    np.testing.assert_array_equal(known.values[[0, 2]], rows_of(Options("digits"), [SEVEN, NINE]))
    assert np.isnan(known.values[1]).all()
    assert (known.facts["model"], known.facts["width"], known.facts["normalized"]) == ("digits", 512, False)


def test_npy_is_numpys_and_its_paths_are_beside_it(resnest: Resnest, tmp_path: Path) -> None:
    embed(resnest, tmp_path / "f.npy", SEVEN, "lost.png")
    values = np.load(tmp_path / "f.npy")
    assert (values.dtype, values.shape, values.flags.c_contiguous) == (np.float32, (2, 512), True)
    lines = [json.loads(line) for line in (tmp_path / "f.paths.jsonl").read_text().splitlines()]
    error = {"type": "UnreadableInput", "message": "no such file."}
    assert lines == [{"path": str(SEVEN), "status": "ok"}, {"path": "lost.png", "status": "error", "error": error}]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".f.npy.done.json",
        "f.npy",
        "f.npy.json",
        "f.paths.jsonl",
    ]


def test_parquet_has_its_columns_and_the_facts_in_its_metadata(resnest: Resnest, tmp_path: Path) -> None:
    embed(resnest, tmp_path / "f.parquet", SEVEN, "lost.png", "--normalize")
    table = parquet.read_table(tmp_path / "f.parquet")
    assert [f"{field.name} {field.type}" for field in table.schema] == [
        "path string",
        "status string",
        "embedding fixed_size_list<element: float>[512]",
        "error_type string",
        "error_message string",
    ]
    assert table["status"].to_pylist() == ["ok", "error"]
    assert table["error_type"].to_pylist() == [None, "UnreadableInput"]
    assert np.linalg.norm(table["embedding"][0].as_py()) == pytest.approx(1, abs=1e-6)
    assert table["embedding"][1].as_py() is None
    assert json.loads(table.schema.metadata[b"resnest"])["normalized"] is True
    assert sorted(path.name for path in tmp_path.iterdir()) == [".f.parquet.done.json", "f.parquet"]


def test_csv_has_a_column_for_each_feature_and_reads_back_exactly(resnest: Resnest, tmp_path: Path) -> None:
    odd = tmp_path / 'odd, "name"\n.png'
    shutil.copy(NINE, odd)
    words = (SEVEN, "=lost, and gone.png", odd)
    for name in ("f.csv", "f.npy"):
        embed(resnest, tmp_path / name, *words)
    header, good, bad, other = csv.reader((tmp_path / "f.csv").read_text().splitlines(keepends=True))
    assert header == ["path", "status", *(f"feature_{i}" for i in range(512)), "error_type", "error_message"]
    array = index_file.read(tmp_path / "f.npy")
    np.testing.assert_array_equal(np.array([good[2:-2], other[2:-2]]).astype(np.float32), array.values[[0, 2]])
    assert [[*row[:2], *row[-2:]] for row in (good, other)] == [[str(SEVEN), "ok", "", ""], [str(odd), "ok", "", ""]]
    assert bad == ["'=lost, and gone.png", "error", *[""] * 512, "UnreadableInput", "no such file."]
    known = index_file.read(tmp_path / "f.csv")
    np.testing.assert_array_equal(known.values, array.values)
    assert (known.paths, known.facts) == (array.paths, array.facts)
    similar = ("similar", SEVEN, "-q", "-k", "3", "--index")
    assert resnest(*similar, tmp_path / "f.csv").stdout == resnest(*similar, tmp_path / "f.npy").stdout


def test_csv_is_what_numpy_reads(resnest: Resnest, tmp_path: Path) -> None:
    embed(resnest, tmp_path / "f.csv", SEVEN, "lost.png", NINE)
    values = np.genfromtxt(tmp_path / "f.csv", np.float32, delimiter=",", skip_header=1, usecols=range(2, 514))
    np.testing.assert_array_equal(values, index_file.read(tmp_path / "f.csv").values)


@pytest.mark.parametrize("bits", ["00000001", "007fffff", "00800000", "7f7fffff", "3dcccccd", "33d6bf95", "80000000"])
def test_any_float32_reads_back_from_csv(bits: str, tmp_path: Path) -> None:
    values = np.frombuffer(bytes.fromhex(bits)[::-1], np.float32)
    with (tmp_path / "x.csv").open("wb") as out:
        features.CSV.write([{"path": "x", "status": "ok", "embedding": values}], out, About(0, {"width": 1}))
    (tmp_path / "x.csv.json").write_text('{"width": 1}')
    assert index_file.read(tmp_path / "x.csv").values.tobytes() == values.tobytes()


def test_more_inputs_come_from_a_list(resnest: Resnest, tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(b"lost.png\0" + str(NINE).encode() + b"\0")
    assert (
        embed(resnest, tmp_path / "f.npy", SEVEN, "--files-from", tmp_path / "names", "-0").exit_code
        == ExitCode.SOME_FAILED
    )
    known = index_file.read(tmp_path / "f.npy")
    assert known.paths == [str(SEVEN), "lost.png", str(NINE)]
    np.testing.assert_array_equal(known.values[[0, 2]], rows_of(Options("digits"), [SEVEN, NINE]))


def test_json_lines_on_stdout_read_back_exactly(resnest: Resnest) -> None:
    ended = resnest("embed", SEVEN, "lost.png", "-m", "digits", "-q")
    good, bad = map(json.loads, ended.stdout.splitlines())
    assert list(good) == ["path", "status", "embedding"]
    np.testing.assert_array_equal(np.array([good["embedding"]], np.float32), rows_of(Options("digits"), [SEVEN]))
    assert (bad["embedding"], bad["error"]["type"], ended.exit_code) == (None, "UnreadableInput", ExitCode.SOME_FAILED)


def test_a_path_that_is_not_utf8_keeps_its_bytes(resnest: Resnest, tmp_path: Path) -> None:
    odd = tmp_path / b"\xff.png".decode("utf-8", "surrogateescape")
    shutil.copy(SEVEN, odd)
    for suffix in (".npy", ".jsonl", ".csv"):
        embed(resnest, tmp_path / f"f{suffix}", str(odd))
        assert index_file.read(tmp_path / f"f{suffix}").paths == [str(odd)]
    embed(resnest, tmp_path / "f.parquet", str(odd))  # which knows valid UTF-8 only
    assert index_file.read(tmp_path / "f.parquet").paths == [str(odd).replace("\udcff", "\\udcff")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "f.txt"], "error: -o f.txt: its suffix names no format; use one of .npy, .parquet, .jsonl, .csv.\n"),
        (
            ["--resume"],
            "error: --resume: standard output cannot be continued; it goes with -o FILE.\n",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], message: str, resnest: Resnest) -> None:
    ended = resnest("embed", SEVEN, "-m", "digits", "-q", *words)
    assert (ended.exit_code, ended.stderr) == (2, message)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_finished_file_is_replaced_only_if_asked(suffix: str, resnest: Resnest, tmp_path: Path) -> None:
    output = tmp_path / f"f{suffix}"
    embed(resnest, output, SEVEN)
    before = output.read_bytes()
    ended = embed(resnest, output, NINE)
    assert ended.exit_code == 1
    assert f"{output} exists; add --overwrite to replace it" in ended.stderr
    assert output.read_bytes() == before
    assert embed(resnest, output, NINE, "--overwrite").exit_code == 0
    assert index_file.read(output).paths == [str(NINE)]


# --- interrupted

PROGRAM = """
from resnest_cli import cli
from resnest_cli.engines.fake import FakeEngine
from resnest_cli.pipeline import trunk
trunk.open_engine = lambda spec, options, want: FakeEngine(spec)
cli.main()
"""
ONE_BY_ONE = ("-m", "digits", "-q", "--workers", "0", "--batch", "1")
MORE_THAN_A_PIPE_HOLDS = bytes(1 << 20)
FIVE = (SEVEN, "lost.png", NINE, "-", NINE)


def run(shell: Shell, *words: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return shell(sys.executable, "-c", PROGRAM, "embed", *words, *ONE_BY_ONE, stdin=stdin)


def killed_at_fourth_of_five(output: Path) -> None:
    """Kill a job that has written three rows, while it reads the picture on standard input."""
    words = ["embed", *map(str, FIVE), "-o", str(output), *ONE_BY_ONE]
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(MORE_THAN_A_PIPE_HOLDS)  # returns when the job reads it
        process.stdin.flush()
        process.kill()
        process.stdin.close()


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(suffix: str, shell: Shell, tmp_path: Path) -> None:
    whole, output = tmp_path / f"whole{suffix}", tmp_path / f"f{suffix}"
    picture = SEVEN.read_bytes()
    assert run(shell, *FIVE, "-o", whole, stdin=picture).returncode == ExitCode.SOME_FAILED
    killed_at_fourth_of_five(output)
    assert output.exists() == (suffix in features.GROWING)
    begun = output if suffix in features.GROWING else tmp_path / f"f{suffix}.part"
    assert len(begun.read_bytes().splitlines()) == 3 + (suffix == ".csv")
    with begun.open("ab") as rows:  # and as if it had been torn in the middle of its fourth row
        rows.write(b'{"pa')
    said = shell("resnest", "similar", SEVEN, "--index", output).stderr.decode()
    assert said.startswith(f"error: --index {output}: it is not finished; the same `resnest embed` with --resume ")
    assert b"add --resume to continue" in run(shell, *FIVE, "-o", output, stdin=picture).stderr
    assert (
        run(shell, *FIVE, "-o", output, "--resume", stdin=picture).returncode == ExitCode.SOME_FAILED
    )  # one of the first three failed
    left = {path.name: path.read_bytes() for path in tmp_path.glob("f.*")}
    assert left == {path.name.replace("whole", "f"): path.read_bytes() for path in tmp_path.glob("whole.*")}


def test_an_array_is_never_beside_the_paths_of_another(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "f.npy"
    embed(resnest, output, SEVEN)
    output.chmod(0o640)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(features, "_write_facts", killed)  # after the paths, before the array
        assert embed(resnest, output, NINE, "--overwrite").exit_code == 128 + signal.SIGINT
    with pytest.raises(UsageError, match="it is not finished"):
        index_file.read(output)
    assert embed(resnest, output, NINE, "--resume").exit_code == 0
    assert index_file.read(output).paths == [str(NINE)]

    embed(resnest, output, SEVEN, "--overwrite")
    output.chmod(0o640)
    embed(resnest, output, NINE, "--overwrite")
    assert stat.S_IMODE(output.stat().st_mode) == 0o640


def test_what_was_begun_is_neither_lost_nor_mixed_with_something_else(shell: Shell, tmp_path: Path) -> None:
    output = tmp_path / "f.npy"
    killed_at_fourth_of_five(output)
    ended = run(shell, *FIVE, "-o", output)
    assert ended.stderr.decode() == (
        f"error: {output} was begun and not finished: add --resume to continue, or --overwrite to start anew.\n"
    )
    ended = run(shell, *FIVE, "-o", output, "--resume", "--normalize")
    assert ended.stderr.decode().startswith(
        f"error: {output} was begun with other settings: normalized False, now True. "
    )
    ended = run(shell, NINE, *FIVE[1:], "-o", output, "--resume")
    assert ended.stderr.decode().startswith(
        f"error: {output} was begun with another input set: row 1 is of '{SEVEN}', where there is now '{NINE}'. "
    )
    assert ended.returncode == 1
    assert run(shell, NINE, "-o", output, "--overwrite").returncode == 0
    assert np.load(output).shape == (1, 10)


def test_the_header_of_a_npy_file_is_as_long_for_any_number_of_rows() -> None:
    assert len({len(features._header(10**power, 2048)) for power in range(13)}) == 1  # noqa: SLF001 - written twice


# --- neighbours


def points(count: int, seed: int) -> Rows:
    return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)


def test_neighbours_are_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosine, "BLOCK", 7)
    values, queries = points(60, 0), points(5, 1)
    distances, rows = NearestNeighbors(n_neighbors=9, metric="cosine").fit(values).kneighbors(queries)
    found = cosine.nearest(values, queries, 9)
    assert [[near.row for near in answer] for answer in found] == rows.tolist()
    np.testing.assert_allclose([[near.similarity for near in answer] for answer in found], 1 - distances, atol=1e-6)


def test_failed_inputs_are_no_neighbours_and_equal_ones_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosine, "BLOCK", 2)
    values = np.repeat(points(1, 0), 6, axis=0)
    values[[0, 3]] = np.nan
    (found,) = cosine.nearest(values, values[1:2], 10)
    assert [near.row for near in found] == [1, 2, 4, 5]
    assert cosine.nearest(values, [], 3) == []


def test_pairs_and_groups_are_those_of_all_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosine, "BLOCK", 7)
    values = points(60, 2)
    values[11] = np.nan
    values[40] = 3 * values[5]
    cosines = normalized(values) @ normalized(values).T
    firsts, seconds = np.nonzero(np.triu(cosines >= 0.7, k=1))
    found = list(cosine.pairs(values, 0.7))
    assert sorted((pair.first, pair.second) for pair in found) == [*zip(firsts.tolist(), seconds.tolist(), strict=True)]
    assert (5, 40) in {(pair.first, pair.second) for pair in cosine.pairs(values, 1.0)}
    known = np.delete(np.arange(60), 11)
    clusters = AgglomerativeClustering(None, metric="precomputed", linkage="complete", distance_threshold=0.3)
    labels = clusters.fit_predict(1 - cosines[np.ix_(known, known)])
    expected = {frozenset(known[labels == label].tolist()) for label in labels if (labels == label).sum() > 1}
    groups = cosine.groups(iter(found))
    assert {frozenset(row for pair in group for row in (pair.first, pair.second)) for group in groups} == expected
    assert max(map(len, expected)) > 2


def at(*degrees: float) -> NDArray[np.float32]:
    """Return points of the plane, each by its angle."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("degrees", "together"),
    [
        ((0, 20, 40, 60), [[0, 1], [2, 3]]),  # a chain, of which 40 degrees between the ends are too many
        ((0, 12, 22), [[1, 2]]),  # the middle goes with the nearer one
        ((22, 12, 0, 90, 91, 180), [[0, 1], [3, 4]]),
        ((0, 10, 20, 100, 120), [[0, 1, 2], [3, 4]]),  # 20 degrees are the limit, and allowed
        ((0, 0, 25, 25, 8, 15), [[0, 1, 4, 5], [2, 3]]),  # 8 and 15 go where the farthest is nearer
        ((0, 30, 60), []),
    ],
)
def test_any_two_of_a_group_are_as_alike_as_asked(degrees: tuple[float, ...], together: list[list[int]]) -> None:
    found = cosine.groups(cosine.pairs(at(*degrees), float(np.cos(np.radians(20)))))
    assert [sorted({row for pair in group for row in (pair.first, pair.second)}) for group in found] == together
    for group, rows in zip(found, together, strict=True):
        assert len(group) == len(rows) * (len(rows) - 1) / 2  # all its pairs are given


def test_more_pairs_than_memory_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosine, "MAX_PAIRS", 5)
    assert len(cosine.groups(cosine.pairs(at(0, 0, 0, 90), 0.9))[0]) == 3
    with pytest.raises(UsageError, match=r"^more than 5 pairs are so alike: give duplicates a higher threshold\.$"):
        cosine.groups(cosine.pairs(at(0, 0, 0, 0), 0.9))


def test_a_photographs_nearest_neighbour_is_itself_and_digits_have_their_class_for_neighbour(
    held_out_digits: list[Any],
    tmp_path: Path,
) -> None:
    files = [tmp_path / f"{digit.row:04d}.png" for digit in held_out_digits]
    for path, digit in zip(files, held_out_digits, strict=True):
        digit.image.save(path)
    classes = np.array([digit.label for digit in held_out_digits])
    values = rows_of(Options("digits", batch=60), files)
    found = np.array([[near.row for near in answer] for answer in cosine.nearest(values, values, 6)])
    assert (found[:, 0] == np.arange(len(files))).all()
    shared = classes[found[:, 1:]] == classes[:, None]
    assert shared[:, 0].mean() >= 0.95
    assert shared.mean() >= 0.95


@pytest.fixture
def index(resnest: Resnest, tmp_path: Path) -> Path:
    """Make an index of two digits, one of them twice, and a failure."""
    embed(resnest, tmp_path / "index.npy", SEVEN, "lost.png", NINE, SEVEN)
    return tmp_path / "index.npy"


def test_similar_answers_each_query_in_order(resnest: Resnest, index: Path) -> None:
    ended = resnest("similar", SEVEN, "lost.png", "--index", index, "-k", "2", "-f", "json", "-q", "--include-self")
    assert json.loads(ended.stdout) == [
        {
            "path": str(SEVEN),
            "status": "ok",
            "neighbours": [
                {"rank": 1, "path": str(SEVEN), "row": 0, "similarity": pytest.approx(1)},
                {"rank": 2, "path": str(SEVEN), "row": 3, "similarity": pytest.approx(1)},
            ],
        },
        {
            "path": "lost.png",
            "status": "error",
            "neighbours": [],
            "error": {"type": "UnreadableInput", "message": "no such file."},
        },
    ]
    assert ended.exit_code == ExitCode.SOME_FAILED


def test_what_is_said_of_a_group_is_true_of_any_two(resnest: Resnest, tmp_path: Path) -> None:
    paths = [f"{angle}.png" for angle in (0, 20, 40, 60)]
    index = tmp_path / "index.npy"
    np.save(index, at(0, 20, 40, 60))
    (tmp_path / "index.npy.json").write_text('{"model": "digits", "width": 2}')
    (tmp_path / "index.paths.jsonl").write_text("".join(json.dumps({"path": path}) + "\n" for path in paths))
    ended = resnest("similar", "--duplicates", "0.9", "--index", index)
    words = "2 images, 0.9397 or more alike\n    {}.png\n    {}.png\n"
    assert ended.stdout == words.format(0, 20) + words.format(40, 60)


def test_similar_as_a_person_sees_it(resnest: Resnest, index: Path) -> None:
    ended = resnest("similar", NINE, "--index", index, "-k", "1", "-q", "--include-self")
    assert ended.stdout == f"{NINE}\n  1   1.0000  {NINE}\n"
    ended = resnest("similar", SEVEN, "--index", index, "-q")  # which the index has twice
    assert re.fullmatch(rf"{SEVEN}\n  1  +0\.\d{{4}}  {NINE}\n", ended.stdout)
    ended = resnest("similar", "--duplicates", "0.99", "--index", index)
    assert ended.stdout == f"2 images, 1.0000 or more alike\n    {SEVEN}\n    {SEVEN}\n"
    ended = resnest("similar", "--duplicates", "0.99", "--index", index, "-f", "json")
    pair = {"a": str(SEVEN), "b": str(SEVEN), "similarity": pytest.approx(1)}
    assert json.loads(ended.stdout) == [{"paths": [str(SEVEN), str(SEVEN)], "pairs": [pair]}]
    assert resnest("similar", "--duplicates", "1", "--index", index, "-f", "json").exit_code == 0


def test_a_query_goes_through_the_network_of_the_index(resnest: Resnest, tmp_path: Path) -> None:
    """The index is of a finetuned folder, at another size, and the folder moves; nothing of it is said again."""
    finetuned("resnest14d", tmp_path / "model")
    paths = save_pictures(tmp_path / "pictures", 3)
    index = tmp_path / "index.parquet"
    ended = resnest("embed", *paths, "-m", tmp_path / "model", "--img-size", "96", "--engine", "torch", "-o", index)
    assert ended.exit_code == 0
    (tmp_path / "model").rename(tmp_path / "moved")
    words = (
        "similar",
        paths[1],
        "--index",
        index,
        "-f",
        "json",
        "--engine",
        "torch",
        "-q",
        "-k",
        "1",
        "--include-self",
    )
    ended = resnest(*words)
    assert ended.exit_code == 2
    assert f"there is no model '{tmp_path}/model'" in ended.stderr
    (answer,) = json.loads(resnest(*words, "-m", tmp_path / "moved").stdout)
    (near,) = answer["neighbours"]
    assert (near["row"], near["similarity"]) == (1, pytest.approx(1, abs=1e-6))
    ended = resnest(*words, "-m", DIGITS)
    assert ended.exit_code == 2
    assert ended.stderr.startswith("error: the index was made with another model: its weights_sha256 is ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--index", "f.npy"], "give either images to look for, or --duplicates THRESHOLD."),
        ([str(SEVEN), "--index", "f.npy", "--duplicates", "1"], "give either images to look for"),
        ([str(SEVEN), "--index", "f.txt"], "not a file of features; `resnest embed ... -o FILE.npy` makes one."),
        ([str(SEVEN), "--index", "lost.npy"], "there is no such file; `resnest embed ... -o lost.npy` makes it."),
    ],
)
def test_similar_refuses_what_cannot_be_meant(words: list[str], message: str, resnest: Resnest) -> None:
    ended = resnest("similar", *words)
    assert ended.exit_code == 2
    assert message in ended.stderr


def test_facts_that_are_not_an_embedders_are_refused(resnest: Resnest, index: Path) -> None:
    index.with_name("index.npy.json").write_text("{}")
    ended = resnest("similar", SEVEN, "--index", index)
    assert ended.exit_code == 2
    assert "index.npy.json: width is missing" in ended.stderr


def test_random_weights_are_found_again() -> None:
    from resnest_cli.models.provenance import options_of

    options = Options("resnest14d", random_weights=True, img_size=64, engine="torch", device="cpu")
    with Embedder(options) as embedder:
        again = options_of(embedder.facts, replace(Options(), model="", engine="torch", device="cpu"))
    assert (again.model, again.random_weights, again.img_size) == ("resnest14d", True, 64)
    with pytest.raises(UsageError):
        options_of({}, Options())
