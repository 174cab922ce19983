"""What Python says of an error, and what the command line says: one message, two terms."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from conftest import SAMPLES

import resnest_cli
from resnest_cli import Classifier, Embedder, FakeEngine, Index, errors, finetune
from resnest_cli.cli import cli
from resnest_cli.errors import DecodeTimeout, ResnestError, TrainingStopped
from resnest_cli.types import Failure
from resnest_cli.wording import FLAGS, OPPOSITES, of_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Resnest

ROOT = Path(resnest_cli.__file__).parent
SEVEN = str(SAMPLES / "seven_0081.png")


@pytest.mark.parametrize(
    ("message", "in_python"),
    [
        ("--img-size 5: use a whole number", "img_size=5: use a whole number"),
        ("--device tpu: use one of cpu, cuda.", 'device="tpu": use one of cpu, cuda.'),
        ("use -j 0 to decode in this process.", "use workers=0 to decode in this process."),
        ("x exists; add --overwrite to replace it.", "x exists; add overwrite=True to replace it."),
        ("--head-only, or --no-exif", "full=False, or exif=False"),
        ("within 5 s; --timeout sets the limit.", "within 5 s; timeout sets the limit."),
        ("--topk 0 --threshold 1.5: use", "topk=0 threshold=1.5: use"),
        ("Try a lower --lr, or --clip 1, from the start.", "Try a lower lr, or clip=1, from the start."),
        ("use --engine torch.", 'use engine="torch".'),
        ("--class 'two words': none", "target='two words': none"),
        ("--weights /a b/c.pt: no such file.", "weights=/a b/c.pt: no such file."),
        ("more than --max-failures 5% allows", "more than max_failures=5% allows"),
        ("Leave --resume away, or start with another -o.", "Leave resume=True away, or start with another output."),
        ("--model FOLDER, with config.json", "model=FOLDER, with config.json"),
        ("go on: resnest finetune a,b -o c --resume\n--lr", "go on: resnest finetune a,b -o c --resume\nlr"),
        ("resnest quantize M -o OUT, then --model OUT", "resnest quantize M -o OUT, then model=OUT"),
        ("(pip install --upgrade x), or --engine torch", '(pip install --upgrade x), or engine="torch"'),
        ("the same `resnest embed` with --resume continues.", "the same `resnest embed` with --resume continues."),
        ("a--b.png and c -- d, 5 -3, /x/--y", "a--b.png and c -- d, 5 -3, /x/--y"),
    ],
)
def test_options_become_keywords_and_commands_stay(message: str, in_python: str) -> None:
    assert of_python(message) == in_python
    assert of_python(in_python) == in_python


def texts(path: Path) -> Iterator[str]:
    """Find the texts of a module that are no docstrings; what is put into them is a value, as V7 would be."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "V7" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | inside:
            yield node.value


OPTION = re.compile(r"(?<![\w/.-])(--[a-z]|-[bfjkmo]\b)")
MESSAGES = [
    text
    for path in sorted(ROOT.rglob("*.py"))
    if path.parent.name != "cli" and path.name != "wording.py"
    for text in texts(path)
    if OPTION.search(text)
]
TYPED = re.compile(r"`[^`]*`( with --\w+)?|\b(resnest|hf|pip) [a-z][^\n;)]*?(?=, |[\n;)]|$)")  # a command to type


def test_no_message_in_the_house_names_an_option_to_python() -> None:
    assert len(MESSAGES) > 130
    shown = [TYPED.sub("", of_python(message)) for message in MESSAGES]
    assert [text for text in shown if OPTION.search(text)] == []


def test_the_flags_are_those_of_the_commands() -> None:
    both = [
        option for command in cli.commands.values() for option in command.params if isinstance(option, click.Option)
    ]
    flags = {name.lstrip("-") for option in both if option.is_flag for name in option.opts if name.startswith("--")}
    off = {name.lstrip("-") for option in both if option.is_flag for name in option.secondary_opts}
    of_commands = {"copy", "hardlink", "link", "move"}  # one keyword, `how`
    of_commands |= {"all", "baseline", "no-progress", "null", "quiet", "raw", "ray", "recursive", "verbose", "verify"}
    assert flags - of_commands == FLAGS - {"thumbnails"}
    assert off == OPPOSITES.keys()


# --- whole errors


def test_an_error_has_both_and_travels_with_both() -> None:
    error = TrainingStopped("give a smaller --batch.", errors.ExitCode.INTERRUPTED)
    assert (str(error), error.message) == ("give a smaller batch.", "give a smaller --batch.")
    late = pickle.loads(pickle.dumps(DecodeTimeout("not decoded; --timeout sets the limit.")))  # noqa: S301 - our own
    assert (str(late), late.message) == (
        "not decoded; timeout sets the limit.",
        "not decoded; --timeout sets the limit.",
    )


def test_a_failure_is_the_row_of_the_command_and_raises_in_pythons_terms() -> None:
    failure = Failure.of("x.png", DecodeTimeout("not decoded within 5 s; --timeout sets the limit."))
    assert failure.message == "not decoded within 5 s; --timeout sets the limit."
    with pytest.raises(DecodeTimeout, match=r"^x\.png: not decoded within 5 s; timeout sets the limit\.$"):
        _ = failure.top1


@pytest.mark.parametrize(
    ("call", "words", "said"),
    [
        (lambda: Classifier("digits", img_size=5), ["predict", SEVEN, "--img-size", "5"], "img_size=5: use a whole"),
        (lambda: Classifier("digits", device="tpu"), ["predict", SEVEN, "--device", "tpu"], 'device="tpu": use one of'),
        (
            lambda: Classifier("digits", weights="lost.pt"),
            ["predict", SEVEN, "-m", "digits", "--weights", "lost.pt"],
            "weights=lost.pt: no such file.",
        ),
        (
            lambda: Classifier("digits", engine=FakeEngine()).write(SEVEN, "there.csv"),
            ["predict", SEVEN, "-m", "digits", "-o", "there.csv"],
            "there.csv exists; add overwrite=True to replace it.",
        ),
        (
            lambda: Embedder("digits").write(SEVEN, "f.png"),
            ["embed", SEVEN, "-m", "digits", "-o", "f.png"],
            "output=f.png: its suffix names no format; use one of",
        ),
        (lambda: Index.open("x.npy"), ["similar", SEVEN, "--index", "x.npy"], "path=x.npy: there is no such file;"),
        (lambda: finetune("x", lr=-1.0), ["finetune", "x", "--lr", "-1"], "lr=-1.0: use a number from 1e-12."),
    ],
)
def test_a_call_and_its_command_are_refused_in_their_own_terms(  # noqa: PLR0913, PLR0917 - fixtures
    call: Callable[[], object],
    words: list[str],
    said: str,
    resnest: Resnest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.csv").touch()
    with pytest.raises(ResnestError) as raised:
        call()
    assert str(raised.value).startswith(said)
    assert f"error: {raised.value.message}" in resnest(*words).stderr


OWN = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, ResnestError)}


def shown_in(handler: ast.ExceptHandler) -> bool:
    """Return whether a handler puts the text of what it caught into another text."""
    texts = (
        node.value if isinstance(node, ast.FormattedValue) else node.args[0]
        for node in ast.walk(handler)
        if isinstance(node, ast.FormattedValue)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str" and node.args)
    )
    return any(isinstance(text, ast.Name) and text.id == handler.name for text in texts)


def test_messages_are_made_of_messages() -> None:
    """The text of an error of ours has Python's terms: within another message it would be neither."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and node.type
        and node.name
        and {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} & OWN
        and shown_in(node)
    ]
    assert found == []
