"""What stands on the screen, whole: in any encoding and width, whatever names hold, and for words that are wrong."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from conftest import SAMPLES

from resnest_cli.cli import cli
from resnest_cli.errors import ExitCode
from resnest_cli.models.catalog import DIGITS

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result
    from conftest import Resnest, Shell

pytestmark = pytest.mark.usefixtures("decode_here")

NUMBER = re.compile(r"\d+\.\d+")
MOVES = "\x1b[31m\x9b2J\u202egpj\r"  # ESC, the C1 form of ESC [, an override of direction


def run(*words: str | Path, charset: str = "utf-8") -> Result:
    return CliRunner(charset=charset).invoke(cli, [*map(str, words)], prog_name="resnest")


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with two images, one with a name in three scripts, and names of classes alike."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "犬é😀.png").write_bytes((SAMPLES / "six_0034.png").read_bytes())
    (tmp_path / "six.png").write_bytes((SAMPLES / "six_0034.png").read_bytes())
    names = ["zero", "one", "two", "three", "vier", "fünf", "六", "seven", "eight", "nine"]
    (tmp_path / "labels.txt").write_text("\n".join(names), encoding="utf-8")
    return tmp_path


ENCODED = {
    "utf-8": ("犬é😀.png", "六", "fünf", "████████████████▉", "▊"),
    "cp1252": ("\\u72acé\\U0001f600.png", "\\u516d", "fünf", "#" * 17, "#"),
    "latin-1": ("\\u72acé\\U0001f600.png", "\\u516d", "fünf", "#" * 17, "#"),
    "ascii": ("\\u72ac\\xe9\\U0001f600.png", "\\u516d", "f\\xfcnf", "#" * 17, "#"),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("charset", ENCODED)
def test_a_table_says_names_in_what_the_screen_can_show(charset: str) -> None:
    path, six, _, most, least = ENCODED[charset]
    ended = run(
        "predict",
        "犬é😀.png",
        "six.png",
        "-m",
        "digits",
        "--labels",
        "labels.txt",
        "-k",
        "2",
        "-f",
        "table",
        charset=charset,
    )
    rows = [
        "  1  " + six.ljust(44 - (six == "六")) + f"   84.80%  {most}",
        f"  2  vier                                            3.96%  {least}",
    ]
    assert lines(ended.stdout) == [path, *rows, "six.png", *rows]
    assert ended.exit_code == ExitCode.OK


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("charset", ENCODED)
@pytest.mark.parametrize("format", ["jsonl", "json", "csv"])
def test_what_programs_read_is_utf_8_whatever_the_screen_can_show(format: str, charset: str) -> None:
    words = ("predict", "犬é😀.png", "-m", "digits", "--labels", "labels.txt", "-k", "1", "-f", format)
    assert run(*words, charset=charset).stdout_bytes == run(*words).stdout_bytes
    assert "犬é😀.png" in run(*words, charset=charset).stdout_bytes.decode()


@pytest.mark.usefixtures("_rates")
@pytest.mark.parametrize("charset", ["ascii", "cp1252"])
def test_every_other_command_shows_such_names_too(charset: str, here: Path) -> None:
    model = here / "犬"
    model.mkdir()
    for file in SAMPLES.parent.glob("*.*"):
        (model / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text())
    config["label_names"] = ["零", *"abcdefghi"]
    (model / "config.json").write_text(json.dumps(config))
    (here / "data" / "零").mkdir(parents=True)
    (here / "data" / "零" / "0.png").write_bytes((SAMPLES / "six_0034.png").read_bytes())
    assert run("embed", "犬é😀.png", "six.png", "-m", "digits", "-o", "a.npy").exit_code == ExitCode.OK
    for words in (
        ("show", "犬"),
        ("show", "犬", "-f", "csv"),
        ("similar", "犬é😀.png", "--index", "a.npy"),
        ("similar", "--duplicates", "0.5", "--index", "a.npy"),
        ("validate", "data", "-m", "犬"),
        ("bench", "-m", "犬", "--seconds", "0", "--engine", "openvino"),
        ("bench", "-m", "犬", "--seconds", "0", "--engine", "openvino", "-f", "csv"),
    ):
        ended = run(*words, charset=charset)
        assert (ended.exit_code, ended.stderr.count("rror")) == (ExitCode.OK, 0), (words, ended.output)
        shown = ended.stdout_bytes
        assert ("零" in shown.decode() or "犬" in shown.decode()) if "csv" in words else "犬".encode() not in shown


@pytest.mark.usefixtures("here")
def test_a_process_with_such_a_screen_ends_by_its_rows(shell: Shell) -> None:
    words = ("resnest", "predict", "犬é😀.png", "six.png", "-m", "digits", "-k", "1", "-f", "table", "-q")
    ended = shell(*words, PYTHONIOENCODING="cp1252:strict")
    assert (ended.returncode, ended.stderr) == (ExitCode.OK, b"")
    assert ended.stdout.decode("cp1252").startswith("\\u72acé\\U0001f600.png")


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "x", "--device", MOVES),
        ("predict", "x", "-m", MOVES),
        ("predict", "x", "-m", "digits", "--labels", MOVES),
        ("predict", "x", "-m", "digits", "--weights", MOVES),
        ("predict", "x", "-m", "digits", "-o", f"{MOVES}.txt"),
        ("predict", "x", "-m", "digits", "-f", MOVES),
        ("predict", "x", "-m", "digits", "--files-from", MOVES),
        ("predict", "x", "-v", "-m", MOVES),
        ("predict", "x", f"--{MOVES}"),
        ("predict", MOVES, "-m", "digits", "-f", "table"),
        ("predict", MOVES, "-m", "digits", "-f", "table", "-k", "1"),
        ("predict", MOVES, "-m", "digits"),
        ("embed", MOVES, "-m", "digits"),
        ("similar", "x", "--index", MOVES),
        ("sort", f"{MOVES}.csv", "--to", "x"),
        ("sort", "--undo", MOVES),
        ("convert", f"{MOVES}.csv"),
        ("tag", f"{MOVES}.csv"),
        ("check", f"{MOVES}.csv"),
        ("list-models", MOVES),
        ("show", MOVES),
        ("download", MOVES),
        ("validate", MOVES),
        ("finetune", MOVES),
        ("bench", "--images", MOVES),
        (MOVES,),
    ],
    ids=lambda words: " ".join(words).encode("unicode_escape").decode(),
)
def test_no_message_moves_the_cursor(words: tuple[str, ...]) -> None:
    said = run(*words).output
    assert not {c for c in said if unicodedata.category(c) in {"Cc", "Cf"}} - {"\n"}
    assert "\\x1b[31m\\x9b2J\\u202egpj\\r" in said or "\\u001b[31m" in said


@pytest.mark.parametrize(
    ("set_to", "label"),
    [
        ({}, "error:"),
        ({"FORCE_COLOR": "1"}, "\x1b[31m\x1b[1merror:\x1b[0m"),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, "error:"),
    ],
)
def test_an_error_has_color_where_tables_have(
    set_to: dict[str, str], label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    assert run("show", "x").stderr == f"{label} there is no model 'x'. `resnest list-models` shows all.\n"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("columns", [0, 1, 20, 30, 40, 50, 60, 70, 80, 120])
@pytest.mark.parametrize(
    "words",
    [
        ("list-models",),
        ("show", "resnest101e"),
        ("show", "digits"),
        ("predict", "six.png", "gone.png", "-m", "digits", "-f", "table"),
        ("predict", "six.png", "gone.png", "-m", "digits", "-f", "table", "-k", "1"),
        ("doctor",),
        ("cache", "list"),
    ],
    ids=" ".join,
)
def test_a_screen_of_any_width_has_every_number(
    words: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    wide = run(*words).stdout
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = run(*words).stdout
    room = columns if columns >= 20 else (80 if columns == 0 else 20)
    assert max(map(len, narrow.splitlines())) <= room
    assert "…" not in narrow
    changing = {"doctor", "cache"} & set(words)  # how long the hub took, names that wrap
    numbers = NUMBER.findall(re.sub(r"http\S+", "", wide))  # an address wraps anywhere
    assert changing or set(numbers) <= set(NUMBER.findall(narrow))


def test_models_on_a_narrow_screen(resnest: Resnest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    assert lines(resnest("list-models", "101").stdout) == GOLDEN_NARROW.splitlines()


GOLDEN_NARROW = """\
resnest101e
  MB        194
  params M  48.3
  GMACs     13.32
  px        256
  crop      0.875
  top-1 %   82.92
  top-5 %   96.31
  cached    no
"""


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("columns", [40, 24])
def test_answers_on_a_narrow_screen_have_names_before_bars(
    columns: int, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = resnest("predict", "six.png", "gone.png", "-m", "digits", "-f", "table", "-k", "2").stdout
    assert lines(shown) == GOLDEN_ANSWERS[columns].splitlines()


GOLDEN_ANSWERS = {
    40: """\
six.png
  1  six                          84.80%
  2  four                          3.96%
gone.png
    UnreadableInput: no such file.
""",
    24: """\
six.png
1 six             84.80%
2 four             3.96%
gone.png
 UnreadableInput: no
 such file.
""",
}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("list", "50"), "resnest list-models 50"),
        (("help",), "resnest --help"),
        (("help", "predict"), "resnest predict --help"),
        (("classify", "dog.jpg", "-k", "1"), "resnest predict dog.jpg -k 1"),
        (("predikt", "dog.jpg"), "resnest predict dog.jpg"),
        (("six.png", "-m", "digits"), "resnest predict six.png -m digits"),
        (("https://example.org/dog.jpg",), "resnest predict https://example.org/dog.jpg"),
        (("*.jpg",), "resnest predict '*.jpg'"),
        ((".",), "resnest predict ."),
    ],
    ids=str,
)
@pytest.mark.usefixtures("here")
def test_a_word_that_is_no_command_gets_the_one_that_was_meant(words: tuple[str, ...], meant: str) -> None:
    ended = run(*words)
    assert (ended.exit_code, ended.stdout) == (ExitCode.USAGE, "")
    assert ended.stderr == f"error: No such command {words[0]!r}. Did you mean: {meant}\n"


NEVER_REPLACED = "--overwrite: a run is never replaced; add --resume to continue it, or name another folder with -o."


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nonsense",), "No such command 'nonsense'. See resnest --help."),
        (("lost.jpg",), "There is no command and no file 'lost.jpg'. To classify a picture: resnest predict FILE"),
        (("--bogus",), "No such option '--bogus'.\nSee resnest --help."),
        (("predict", "x", "-k", "abc"), "--topk: 'abc' is not a valid whole number.\nSee resnest predict --help."),
        (("show",), "Missing argument 'MODEL'.\nSee resnest show --help."),
        (("cache", "lost"), "No such command 'lost'. Did you mean 'list'?\nSee resnest cache --help."),
        (("predict", "x", "--device", "gpu"), "--device gpu: use one of auto, cpu, cuda, mps, xpu, or cuda:N."),
        (("finetune", "x", "--overwrite"), f"{NEVER_REPLACED}\nSee resnest finetune --help."),
        (("train", "x", "--overwrite"), f"{NEVER_REPLACED}\nSee resnest train --help."),
        (("train", "x", "--warmup-epochs", "-0.5"), "--warmup-epochs -0.5: use a number from 0."),
        (
            ("validate", "lost", "-m", "digits"),
            "lost: no such folder or file. Give a folder of class folders, a tar archive or a CSV file.",
        ),
    ],
    ids=str,
)
def test_errors_have_one_form(words: tuple[str, ...], message: str) -> None:
    ended = run(*words)
    assert (ended.exit_code, ended.stdout, ended.stderr) == (ExitCode.USAGE, "", f"error: {message}\n")


def test_an_error_names_the_variable_that_is_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNEST_PREDICT_TOPK", "abc")
    monkeypatch.setenv("RESNEST_EMBED_DEVICE", "gpu")
    see = "is not a valid whole number.\nSee resnest predict --help.\n"
    assert run("predict", "x").stderr == f"error: RESNEST_PREDICT_TOPK sets --topk: 'abc' {see}"
    assert run("predict", "x", "-k", "b").stderr == f"error: --topk: 'b' {see}"
    use = "use one of auto, cpu, cuda, mps, xpu, or cuda:N.\n"
    assert run("embed", "x").stderr == f"error: RESNEST_EMBED_DEVICE sets --device gpu: {use}"
    assert run("embed", "x", "--device", "y").stderr == f"error: --device y: {use}"


def test_the_version_has_a_short_option() -> None:
    assert run("-V").stdout == run("--version").stdout


def test_help_has_the_commands_by_purpose() -> None:
    assert run("--help").stdout == GOLDEN_HELP


GOLDEN_HELP = """\
Usage: resnest [OPTIONS] COMMAND [ARGS]...

  Classify images with the ResNeSt family.

Options:
  -V, --version  Show the version and exit.
  -h, --help     Show this message and exit.

Images:
  predict      Classify images.
  explain      Show where a network looked.
  embed        Compute the pooled features of images.
  similar      Find the images of an index that look most like others.
  serve        Serve models over HTTP.

Answers:
  sort         Sort files into folders by the answers of predict.
  tag          Write classes as keywords for photo libraries.
  convert      Write rows in another format.
  check        Check whether rows still hold.

Your own classes:
  finetune     Adapt a pretrained model to your own classes.
  train        Train a network from scratch with the published recipe.
  validate     Measure accuracy on labeled images.
  calibrate    Measure how sure one may be of a model's answers.

Models:
  list-models  List the ResNeSt variants.
  show         Show all that is known of a model.
  download     Fetch weights and class names ahead of time.
  export       Write a model as a folder that runs elsewhere, without torch
               and without resnest.
  quantize     Make an int8 model, for CPUs that compute int8 natively.

This machine:
  bench        Measure the speed of models, and how far it is from the
               hardware's limit.
  doctor       Show what this machine has.
  cache        Show or clear the cache.

  To start without any download: resnest predict IMAGE --model digits
"""


def test_a_long_help_has_sections() -> None:
    titles = [line for line in run("predict", "--help").stdout.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == ["Input:", "Output:", "Model:", "Preprocessing:", "Limits:", "Cluster:", "Messages:"]


@pytest.mark.parametrize("columns", [20, 40, 60])
def test_help_fits_narrow_screens(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    options = [line for line in run("show", "--help").stdout.splitlines() if not line.startswith("  -")]
    assert max(map(len, options)) <= columns


@pytest.mark.usefixtures("here")
def test_one_image_has_one_line_on_stderr_and_v_has_more() -> None:
    run("predict", "six.png", "-m", "digits")  # converts the network, which is said
    said = "digits on cpu (no GPU found), openvino fp32\n"
    assert run("predict", "six.png", "-m", "digits").stderr == said
    run("embed", "six.png", "-m", "digits")  # another graph
    chosen = run("embed", "six.png", "-m", "digits", "--weights", DIGITS / "model.safetensors").stderr
    assert chosen == f"digits on cpu (no GPU found), openvino fp32, {DIGITS / 'model.safetensors'}\n"
    more = run("predict", "six.png", "-m", "digits", "-v").stderr.splitlines()
    assert more[:2] == [said.strip(), "class names: the model's own"]
    assert [line.partition(":")[0] for line in more[2:]] == ["time by stage"]


@pytest.mark.usefixtures("here")
def test_a_file_that_was_written_is_named_with_its_rows() -> None:
    one, two = (run("predict", *["six.png"] * n, "-m", "digits", "-o", f"{n}.csv").stderr for n in (1, 2))
    assert re.fullmatch(r"wrote 1\.csv, 1 row, in \d+\.\d s, [\d.]+/s\.", one.splitlines()[-1])
    assert re.fullmatch(r"wrote 2\.csv, 2 rows, in \d+\.\d s, [\d.]+/s\.", two.splitlines()[-1])


def test_without_a_network_the_likely_cause_comes_first_and_the_ways_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # where nobody listens
    said = run("predict", "six.png", "-m", "resnest14d").stderr
    *before, message = said.split("error: ")
    assert "".join(before) == "downloading resnest14d (43 MB) from huggingface.co.\n"
    fetch = "hf download timm/resnest14d.gluon_in1k model.safetensors"
    assert message.splitlines()[:6] == [
        "no weights for resnest14d: nothing can be reached. No internet, or a proxy that is not set (HTTPS_PROXY)?",
        "Three ways out:",
        "  try things offline   --model digits",
        "  use a file you have  --model resnest14d --weights FILE.safetensors",
        f"  download elsewhere   resnest download resnest14d   (or: {fetch})",
        "                       and copy that machine's Hugging Face cache here; or set HF_ENDPOINT to a mirror",
    ]
    assert said.count("Three ways out") == 1
    assert message.count("connection refused") == 2  # one line for each place that was tried


def test_digits_can_be_listed() -> None:
    assert lines(run("list-models", "digits").stdout) == [
        "model   MB  params M  GMACs  px  crop  top-1 %  top-5 %  cached",
        "digits   1                   32   1.0                    yes",
    ]


@pytest.mark.parametrize(("pattern", "count"), [("*", 8), ("s", 8), ("14?", 0), ("*14?", 1), ("d", 5)])
def test_a_pattern_lists_the_variants_it_fits_though_it_may_fit_digits_too(pattern: str, count: int) -> None:
    done = run("list-models", pattern, "-f", "json")
    names = [row["name"] for row in json.loads(done.stdout or "[]")]
    assert (len(names), "digits" in names) == (count, False)
    assert done.exit_code == (ExitCode.OK if count else ExitCode.USAGE)


def test_a_weights_file_as_model_gets_the_option_that_was_meant() -> None:
    said = "error: --model x.safetensors: this is a weights file, not a model. Did you mean --weights x.safetensors?\n"
    assert run("predict", "six.png", "-m", "x.safetensors").stderr == said


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("predict", "file,"),
        ("embed s", "file,s"),
        ("explain", "file,"),
        ("similar", "file,"),
        ("sort", "file,"),
        ("convert", "file,"),
        ("tag", "file,"),
        ("check", "file,"),
        ("validate", "file,"),
        ("calibrate digits s", "file,s"),
        ("finetune", "file,"),
        ("predict x -m ./s", "file,./s"),
        ("predict x --weights s", "file,s"),
        ("predict x -o s", "file,s"),
        ("predict x --calibrate s", "file,s"),
        ("export digits --pictures s", "file,s"),
        ("predict x -m dig", "plain,digits"),
    ],
)
def test_the_shell_completes_files_wherever_one_is_named(
    words: str, offered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["resnest", *words.split(), *([""] if " " not in words else [])]
    monkeypatch.setenv("COMP_WORDS", " ".join(given))
    monkeypatch.setenv("COMP_CWORD", str(len(given) - 1))
    monkeypatch.setenv("_RESNEST_COMPLETE", "bash_complete")
    assert run().stdout.splitlines() == [offered]


REFUSED = [
    ("explain", "six.png", "-o", "d", "-m", "lost"),
    ("explain", "six.png", "-o", "d", "--device", "gpu"),
    ("export", "lost", "--to", "onnx", "-o", "d"),
    ("export", "digits", "--to", "onnx", "-o", "d", "--crop-pct", "x"),
    ("quantize", "lost", "--calibrate", ".", "-o", "d"),
    ("quantize", "digits", "--calibrate", "lost", "-o", "d"),
    ("calibrate", "lost", ".", "-o", "d"),
    ("calibrate", "digits", "lost", "-o", "d"),
    ("finetune", "lost"),
    ("train", "lost"),
    ("finetune", ".", "-m", "lost"),
    ("finetune", ".", "--epochs", "x"),
    ("validate", ".", "-m", "lost"),
    ("bench", "-m", "lost"),
    ("explain", "-o", "d"),
    ("explain", "--files-from", "lost", "-o", "d"),
    ("embed", "--files-from", "lost", "-m", "digits", "--engine", "torch"),
]
# What has an exit code of its own: files that are not there, or are.
LOST = [
    ("explain", "six.png", "-o", "d", "--labels", "lost"),
    ("export", "digits", "--to", "onnx", "-o", "d", "--labels", "lost"),
    ("quantize", "digits", "--calibrate", ".", "-o", "d", "--labels", "lost"),
    ("predict", "six.png", "-m", "digits", "--engine", "torch", "--labels", "lost"),
    ("explain", "six.png", "-o", "d", "-m", "digits", "--weights", "lost.safetensors"),
    ("explain", "six.png", "-o", "six.png", "-m", "digits"),
    ("export", "digits", "--to", "onnx", "-o", "d", "--weights", "lost.safetensors"),
    ("export", "digits", "--to", "torch", "-o", "six.png"),
    ("quantize", "digits", "--calibrate", ".", "-o", "six.png"),
    ("calibrate", "digits", ".", "-o", "six.png"),
    ("finetune", ".", "-m", "digits", "-o", "../d", "--weights", "lost.safetensors"),
    ("predict", "six.png", "-m", "digits", "--engine", "torch", "--weights", "lost.safetensors"),
    ("predict", "six.png", "-m", "digits", "--engine", "torch", "-o", "labels.txt", "-f", "csv"),
]


@pytest.mark.usefixtures("here")
def test_what_cannot_be_meant_is_refused_before_torch_is_loaded(shell: Shell) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from resnest_cli.cli import cli\n"
        f"for words in {REFUSED + LOST!r}:\n"
        "    print(CliRunner().invoke(cli, words).exit_code, {'torch', 'timm'} & {*sys.modules}, words[0])"
    )
    said = shell(sys.executable, "-c", code).stdout.decode().splitlines()
    assert [line.partition(" ")[2] for line in said] == [f"set() {words[0]}" for words in REFUSED + LOST]
    assert {line[0] for line in said[: len(REFUSED)]} == {"2"}
    assert not [line for line in said if line[0] == "0"]


# Says on stderr when a heavy module is about to be imported for the first time.
WATCHED = """
import sys
from resnest_cli.cli import main
def watch(event, args):
    if event == "import" and args[0] in {"torch", "timm", "ray", "captum"}:
        sys.stderr.write("HEAVY\\n")
sys.addaudithook(watch)
main()
"""


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "first"),
    [
        (("predict", "six.png", "-m", "digits", "--engine", "torch"), "loading torch, which takes seconds."),
        (("embed", "six.png", "-m", "digits", "--engine", "torch"), "loading torch, which takes seconds."),
        (("predict", "six.png", "-m", "digits", "--ray"), "starting Ray on this machine."),
    ],
    ids=["predict", "embed", "ray"],
)
def test_a_word_comes_before_what_takes_seconds(words: tuple[str, ...], first: str, shell: Shell) -> None:
    if "--ray" in words:
        pytest.importorskip("ray", reason="the extra `ray` is not installed: pip install 'resnest-cli[ray]'")
    ended = shell(sys.executable, "-c", WATCHED, *words)
    assert ended.stderr.decode().splitlines()[0] == first  # and not HEAVY


@pytest.mark.usefixtures("here")
def test_torch_is_announced_before_it_is_loaded_and_the_cpu_needs_none(tmp_path: Path, shell: Shell) -> None:
    words = ("predict", "six.png", "-m", "digits", "--img-size", "40")  # no other test's graph
    first = shell(sys.executable, "-c", WATCHED, *words, RESNEST_CACHE=str(tmp_path / "c")).stderr.decode()
    assert first.startswith("building the graph of digits for the CPU: once, where the cache can keep it.\n")
    assert "HEAVY" not in first
    ended = shell(sys.executable, "-c", WATCHED, *words, "--engine", "torch")
    assert ended.stderr.decode().splitlines()[:2] == ["loading torch, which takes seconds.", "HEAVY"]
