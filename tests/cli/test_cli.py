"""What a person and a program see: whole outputs at 80 columns, formats, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import SAMPLES

from resnest_cli.errors import ExitCode
from resnest_cli.models.catalog import DIGITS, list_models
from resnest_cli.outputs import answers
from resnest_cli.outputs.summary import Summary
from resnest_cli.system import machine
from resnest_cli.text.layout import Screen
from resnest_cli.text.terminal import one_line, printable
from resnest_cli.types import Failure, Prediction, Result, Stages

if TYPE_CHECKING:
    from conftest import Resnest, Shell

SEVEN = SAMPLES / "seven_0081.png"
SAMOYED = Result(
    "photos/dog.jpg",
    (
        Prediction(1, 258, "n02111889", "Samoyed", 0.8846),
        Prediction(2, 261, "n02112350", "keeshond", 0.0458),
        Prediction(3, 831, "n04258138", "a class with a name far too long for one row of eighty", 0.0004),
    ),
)
HOSTILE = Failure("photos/\x1b[31m\u202egpj.exe\n.jpg", "NotAnImage", "this is an HTML page, [bold]not an image[/].")


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_exit_codes_are_the_contract() -> None:
    codes = {code.name: code.value for code in ExitCode}
    assert codes == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "SOME_FAILED": 3,
        "HANGUP": 129,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }


def test_table_of_answers() -> None:
    shown = [answers.lines(record, Screen()) for record in (SAMOYED, HOSTILE, Result("none.jpg", ()))]
    assert list(chain.from_iterable(shown)) == GOLDEN_ANSWERS.splitlines()


GOLDEN_ANSWERS = """\
photos/dog.jpg
  1  Samoyed                            n02111889   88.46%  █████████████████▋
  2  keeshond                           n02112350    4.58%  ▉
  3  a class with a name far too long   n04258138    0.04%
     for one row of eighty
photos/\\x1b[31m\\u202egpj.exe\\n.jpg
    NotAnImage: this is an HTML page, [bold]not an image[/].
none.jpg
    no class reaches the threshold
"""


def test_table_of_models(resnest: Resnest) -> None:
    assert lines(resnest("list-models").stdout) == GOLDEN_MODELS.splitlines()


GOLDEN_MODELS = """\
model                 MB  params M  GMACs   px   crop  top-1 %  top-5 %  cached
resnest14d            43      10.6   2.75  224  0.875    75.52    92.51  no
resnest26d            68      17.1   3.62  224  0.875    78.48    94.30  no
resnest50d           110      27.5   5.37  224  0.875    80.96    95.37  no
resnest50d_1s4x24d   103      25.7   4.40  224  0.875    81.02    95.34  no
resnest50d_4s2x40d   122      30.4   4.37  224  0.875    81.15    95.57  no
resnest101e          194      48.3  13.32  256  0.875    82.92    96.31  no
resnest200e         ~281      70.2  35.52  320  0.909    83.88    96.88  no
resnest269e          445     110.9  77.35  416  0.928    84.54    96.99  no
"""


def test_show_has_every_fact(resnest: Resnest) -> None:
    assert lines(resnest("show", "resnest200e").stdout) == GOLDEN_SHOW.splitlines()


GOLDEN_SHOW = """\
model                    resnest200e
trained on               in1k
repository               timm/resnest200e.in1k
license                  apache-2.0
parameters               70.2 M
GMACs per image          35.52
activations (M)          82.78
input in pixels          320
center crop              0.909
interpolation            bicubic
mean                     0.485, 0.456, 0.406
std                      0.229, 0.224, 0.225
classes                  1000
top-1 % (model card)     83.85
top-5 % (model card)     96.89
top-1 % (timm)           83.88
top-5 % (timm)           96.88
top-1 % (ImageNet ReaL)  88.434
top-1 % (ImageNet V2)    74.25
FLOPs (model card)       46.0 G
checkpoint               https://github.com/rwightman/pytorch-image-models/relea
                         ses/download/v0.1-resnest/resnest200-75117900.pth
its sha256 begins        75117900
recipe: epochs           270
recipe: optimizer        sgd
recipe: momentum         0.9
recipe: lr               0.1
recipe: weight decay     0.0001
recipe: batch size       2048
recipe: dropout          0.2
recipe: layers           200
recipe: techniques       AutoAugment, DropBlock, Label Smoothing, Mixup, SGD
                         with Momentum, Weight Decay
recipe: hardware         64x NVIDIA V100
paper: title             ResNeSt: Split-Attention Networks
paper: authors           Hang Zhang, Chongruo Wu, Zhongyue Zhang, Yi Zhu, Haibin
                         Lin, Zhi Zhang, Yue Sun, Tong He, Jonas Mueller, R.
                         Manmatha, Mu Li, Alexander Smola
paper: year              2020
paper: arXiv             2004.08955
downloaded               no

Note: The model card gives resnest200e the checkpoint URL and file size of
resnest101; the right file is the one here, its size is not known.
"""


def test_show_of_a_model_of_ones_own_is_in_words_too(resnest: Resnest) -> None:
    shown = lines(resnest("show", "digits").stdout)
    assert [line.split("  ")[0] for line in shown[:6]] == [
        *("model", "architecture", "classes", "folder", "input in pixels", "center crop")
    ]
    assert shown[4].endswith("  32")
    assert shown[-1] == "downloaded            yes"  # no note about hex digits
    assert not [line for line in shown if "_" in line.split("  ")[0]]


def test_a_size_that_nobody_published_is_none_for_programs(resnest: Resnest) -> None:
    rows = json.loads(resnest("list-models", "-f", "json", "--sort", "megabytes").stdout)
    assert {row["name"]: row["megabytes"] for row in rows if row["checkpoint_bytes"] is None} == {"resnest200e": None}
    table = resnest("list-models", "--sort", "megabytes").stdout.splitlines()
    assert [line.split()[1] for line in table[1:4]] == ["445", "~281", "194"]


def test_predict_prints_the_digits(resnest: Resnest) -> None:
    ended = resnest("predict", SEVEN.name, "-m", "digits", "-k", "3", "-f", "table")
    assert ended.exit_code == ExitCode.SOME_FAILED  # there is no such file here
    ended = resnest("predict", SEVEN, "-m", "digits", "-k", "3", "-f", "table")
    assert ended.exit_code == ExitCode.OK
    # The path is as long as the checkout's; the rest is pinned.
    assert lines(ended.stdout)[-3:] == GOLDEN_DIGITS.splitlines()
    assert ended.stderr.splitlines()[-1] == "digits on cpu (no GPU found), openvino fp32"


GOLDEN_DIGITS = """\
  1  seven                                          90.71%  ██████████████████▏
  2  one                                             1.54%  ▎
  3  six                                             1.45%  ▎
"""


def test_sorting_and_patterns(resnest: Resnest) -> None:
    rows = json.loads(resnest("list-models", "50d", "--sort", "gmacs", "-f", "json").stdout)
    assert [row["name"] for row in rows] == ["resnest50d", "resnest50d_1s4x24d", "resnest50d_4s2x40d"]
    table = list(csv.DictReader(io.StringIO(resnest("list-models", "--sort", "top1_timm", "-f", "csv").stdout)))
    assert table[0]["name"] == "resnest269e"
    assert float(table[0]["top1_timm"]) == next(s.facts for s in list_models("269"))["top1_timm"]


def test_show_in_json_and_csv(resnest: Resnest) -> None:
    facts = json.loads(resnest("show", "resnest101e", "-f", "json").stdout)
    paper = facts.pop("paper")
    assert facts == {**next(iter(list_models("101"))).facts, "cached": False}
    assert (paper["title"], paper["year"], paper["arxiv"]) == ("ResNeSt: Split-Attention Networks", 2020, "2004.08955")
    rows = dict(csv.reader(io.StringIO(resnest("show", DIGITS, "-f", "csv").stdout)))
    assert (rows["fact"], rows["architecture"], rows["cached"]) == ("value", "resnest14d", "True")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "resnet50"), "there is no model 'resnet50'. Did you mean resnest50d?"),
        (("list-models", "vit"), "there is no model 'vit'."),
        (("predict", "x.png", "-m", "digit"), "there is no model 'digit'. Did you mean digits?"),
        (("predict", "x.png", "--device", "gpu"), "--device gpu: use one of"),
        (("predict", "x.png", "-b", "many"), "'many' is neither a whole number nor auto."),
        (("predict", "x.png", "-o", "out.txt"), "-o out.txt: its suffix names no format;"),
        (("predict",), "Missing argument 'INPUT...'"),
        (("bench", "--weights", "x"), "No such option '--weights'"),
        (("predikt",), "No such command 'predikt'. Did you mean: resnest predict"),
    ],
)
def test_what_cannot_be_meant_ends_with_two_and_a_hint(words: tuple[str, ...], message: str, resnest: Resnest) -> None:
    ended = resnest(*words)
    assert (ended.exit_code, ended.stdout) == (ExitCode.USAGE, "")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_nothing_cached_and_no_network_names_three_ways_out(resnest: Resnest) -> None:
    ended = resnest("predict", SEVEN, "-m", "resnest101e")
    assert (ended.exit_code, ended.stdout) == (ExitCode.FAILED, "")
    for way in ("hf download timm/resnest101e.in1k model.safetensors", "--weights FILE", "--model digits"):
        assert way in ended.stderr


@pytest.mark.slow
def test_pipes_get_json_lines_and_files_the_format_of_their_suffix(resnest: Resnest, tmp_path: Path) -> None:
    piped = resnest("predict", SEVEN, SEVEN, "-m", "digits", "-q")
    rows = [json.loads(line) for line in piped.stdout.splitlines()]
    assert [(row["path"], row["predictions"][0]["label"]) for row in rows] == [(str(SEVEN), "seven")] * 2
    assert piped.stderr == ""
    for suffix in ("jsonl", "json", "csv"):
        out = tmp_path / f"answers.{suffix}"
        ended = resnest("predict", SEVEN, SEVEN, "-m", "digits", "-o", out)
        assert (ended.exit_code, ended.stdout) == (ExitCode.OK, "")
    assert (tmp_path / "answers.jsonl").read_text() == piped.stdout
    assert json.loads((tmp_path / "answers.json").read_text()) == rows
    table = list(csv.DictReader(io.StringIO((tmp_path / "answers.csv").read_text())))
    assert [row["label_1"] for row in table] == ["seven", "seven"]
    assert resnest("predict", SEVEN, SEVEN, "-m", "digits", "-o", tmp_path / "answers.tsv").exit_code == ExitCode.OK
    assert (tmp_path / "answers.tsv").read_text() == (tmp_path / "answers.csv").read_text().replace(",", "\t")
    again = resnest("predict", SEVEN, "-m", "digits", "-o", tmp_path / "answers.csv")
    assert (again.exit_code, "add --overwrite" in again.stderr) == (ExitCode.FAILED, True)


def test_a_table_can_go_to_a_file(resnest: Resnest, tmp_path: Path) -> None:
    out = tmp_path / "answers.txt"
    assert resnest("predict", SEVEN, "-m", "digits", "-f", "table", "-o", out).exit_code == ExitCode.OK
    assert "1  seven" in out.read_text(encoding="utf-8")
    assert "\x1b" not in out.read_text(encoding="utf-8")


@pytest.mark.usefixtures("_rates")
def test_a_dash_as_output_is_standard_output(resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "seven").mkdir(parents=True)
    (tmp_path / "data" / "seven" / "x.png").write_bytes(SEVEN.read_bytes())
    for words, as_format in (
        (("predict", SEVEN, "-m", "digits"), ("-f", "jsonl")),
        (("predict", SEVEN, "-m", "digits", "-f", "tsv"), ()),
        (("embed", SEVEN, "-m", "digits"), ()),
        (("validate", "data", "-m", "digits"), ("-f", "json")),
    ):
        assert resnest(*words, "-o", "-").stdout == resnest(*words, *as_format).stdout != ""
    (row,) = json.loads(resnest("bench", "-m", "digits", "--seconds", "0", "-f", "json", "-o", "-").stdout)
    assert row["model"] == "digits"
    for command in ("explain", "export", "quantize", "train", "finetune"):
        ended = resnest(command, "x", "-o", "-")
        assert (ended.exit_code, ended.stdout) == (ExitCode.USAGE, "")
        assert "the result is a folder, which standard output cannot hold: name one." in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_one_bad_file_is_one_row_and_exit_code_three(resnest: Resnest, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("<html>404</html>")
    ended = resnest("predict", bad, SEVEN, "-m", "digits")
    failed, ok = map(json.loads, ended.stdout.splitlines())
    assert ended.exit_code == ExitCode.SOME_FAILED
    assert "1 of 2 inputs failed: NotAnImage 1." in ended.stderr
    assert failed == {
        "path": str(bad),
        "status": "error",
        "predictions": [],
        "error": {"type": "NotAnImage", "message": "this is an HTML page, not an image (a failed download?)."},
    }
    assert ok["predictions"][0]["label"] == "seven"


def test_a_long_job_ends_well_in_torch_too(resnest: Resnest) -> None:
    done = resnest("predict", *[SEVEN] * 200, "-m", "digits", "--engine", "torch", "-b", "64", "-j", "0", "-f", "jsonl")
    assert (done.exit_code, len(done.stdout.splitlines())) == (ExitCode.OK, 200)


def _fixed(value: float) -> property:
    return property(lambda _: value, lambda *_: None)


@pytest.mark.slow
def test_a_long_job_in_fp32_hints_at_native_bf16_where_the_network_takes_the_time(
    resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnest_cli.engines.openvino.native_precisions", lambda: ["BF16", "FP32"])
    # How long images are waited for is chance on a busy machine: the clock of the network is set.
    for share, hints in ((0.9, 1), (0.1, 0)):
        monkeypatch.setattr(Stages, "forward", _fixed(share * 1e6), raising=False)
        monkeypatch.setattr(Summary, "seconds", _fixed(1e6), raising=False)
        long = resnest("predict", *[SEVEN] * 200, "-m", "digits")
        assert long.stderr.count("hint: this CPU computes bf16 natively") == hints
    assert "hint" not in resnest("predict", *[SEVEN] * 199, "-m", "digits").stderr


def test_standard_input_is_one_image(resnest: Resnest) -> None:
    row = json.loads(resnest("predict", "-", "-m", "digits", stdin=SEVEN.read_bytes()).stdout)
    assert (row["path"], row["predictions"][0]["label"]) == ("-", "seven")


def test_random_weights_are_said(resnest: Resnest) -> None:
    ended = resnest("predict", SEVEN, "-m", "resnest14d", "--random-weights", "--img-size", "64")
    assert ended.exit_code == ExitCode.OK
    assert "random weights (the answers mean nothing)" in ended.stderr


def test_the_cache_is_listed_with_sizes_and_cleared(resnest: Resnest, tmp_path: Path, shell: Shell) -> None:
    own = str(tmp_path / "cache")
    assert shell("resnest", "predict", SEVEN, "-m", "digits", "-q", RESNEST_CACHE=own).returncode == 0
    (graph,) = json.loads(shell("resnest", "cache", "list", "-f", "json", RESNEST_CACHE=own).stdout)
    on_disk = sum(path.stat().st_size for path in Path(graph["path"]).rglob("*") if path.is_file())
    assert (graph["model"], graph["want"], graph["bytes"]) == ("digits", "logits", on_disk)
    shown = shell("resnest", "cache", "list", RESNEST_CACHE=own).stdout.decode().splitlines()
    assert shown[1].split() == [graph["name"], "digits", "logits", f"{on_disk / 1e6:.1f}"]
    (tmp_path / "cache" / "graphs" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    cleared = shell("resnest", "cache", "clear", RESNEST_CACHE=own).stdout.decode()
    assert (tmp_path / "elsewhere").is_dir()
    assert cleared == f"removed 2 items, {on_disk / 1e6:.1f} MB, from {own}\n"
    assert json.loads(shell("resnest", "cache", "list", "-f", "json", RESNEST_CACHE=own).stdout) == []
    assert resnest("cache", "path").stdout.strip() == os.environ["RESNEST_CACHE"]


def test_doctor_tells_what_is_there_and_what_is_not(resnest: Resnest) -> None:
    found = json.loads(resnest("doctor", "-f", "json").stdout)
    assert list(found) == ["versions", "cpu", "engines", "cache", "hub"]
    assert found["versions"]["torch"] == version("torch")
    assert found["cpu"]["usable cores"].startswith(f"{machine.usable_cores()} of ")
    assert found["engines"]["torch"].endswith("cpu")
    assert "FP32" in found["engines"]["openvino"]
    assert found["cache"]["folder"] == os.environ["RESNEST_CACHE"]
    assert "HF_HUB_OFFLINE forbids to download it" in found["hub"]["reached"]
    table = resnest("doctor").stdout
    assert f"versions torch            {version('torch')}" in table


def test_text_from_outside_cannot_move_the_cursor() -> None:
    assert one_line("a\x1b[2Jb\n\u202e\ud8ff犬 é") == "a\\x1b[2Jb\\n\\u202e\\ud8ff犬 é"
    assert printable("two\nlines\r") == "two\nlines\\r"


def test_shell_completion_offers_models(shell: Shell) -> None:
    line = "resnest predict x.png -m resnest5"
    program = Path(sys.executable).with_name("resnest")
    ended = shell(program, _RESNEST_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD="4")
    assert ended.stdout.decode().split() == ["plain,resnest50d", "plain,resnest50d_1s4x24d", "plain,resnest50d_4s2x40d"]
