"""`finetune` and `train` from Python: the same runs as the commands', with the same options."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from class_folders import fill

from resnest_cli import Classifier, finetune, train
from resnest_cli.cli import cli
from resnest_cli.errors import UsageError
from resnest_cli.options import Keywords
from resnest_cli.training.calls import Common, Finetuning, Training
from resnest_cli.training.events import Done, Epoch, Scanned
from resnest_cli.training.recipe import Items, Recipe
from resnest_cli.training.request import Request

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest, Shell

    from resnest_cli.training.events import Event

OF_CALLS = {"data", "output", "resume"}  # parameters
OF_COMMANDS = {"quiet", "verbose", "no_progress", "gpus", "recipe"}  # `recipe` has one value


def hints(keywords: type) -> dict[str, str]:
    return {name: hint.__forward_arg__ for name, hint in keywords.__annotations__.items()}


@pytest.mark.parametrize(("command", "keywords"), [("finetune", Finetuning), ("train", Training)])
def test_every_option_of_the_command_is_a_keyword(command: str, keywords: type) -> None:
    assert hints(keywords).keys() == {option.name for option in cli.commands[command].params} - OF_CALLS - OF_COMMANDS


def test_keywords_have_the_types_of_the_fields() -> None:
    assert list(hints(Items).items()) == [(item.name, item.type) for item in fields(Recipe)]
    own = hints(Finetuning) | hints(Training)
    of_model = {name: kind for name, kind in hints(Keywords).items() if name in own.keys() - hints(Items).keys()}
    assert {name: own[name] for name in of_model} == of_model
    of_request = {item.name: item.type for item in fields(Request) if item.name in own}
    assert {name: own[name] for name in of_request} == of_request | {"exclude": "Sequence[str]"}
    assert own.keys() == hints(Items).keys() | of_model.keys() | of_request.keys() | {"model"}
    assert hints(Common)["model"] == "str"


def test_an_unknown_keyword_is_told_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"^unexpected keyword argument 'epoch': did you mean 'epochs'\?$"):
        finetune("images", epoch=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'folds'"):
        train("images", folds=3)  # type: ignore[call-arg]


def test_what_is_wrong_is_said_before_torch_is_loaded(shell: Shell) -> None:
    program = "import sys, resnest_cli as r\ntry: r.finetune('nosuch')\nfinally: print('torch' in sys.modules)"
    ended = shell(sys.executable, "-c", program)
    assert ended.stdout.decode() == "False\n"
    assert ended.stderr.decode().splitlines()[-1].endswith("nosuch: no such folder or table.")


def test_a_run_is_that_of_the_command_and_either_resumes_the_other(tmp_path: Path, resnest: Resnest) -> None:
    data = fill(tmp_path / "images", {"a": 6, "b": 6})
    seen: list[Event] = []
    run = finetune(
        data, tmp_path / "python", model="digits", epochs=1, full=True, batch=4, device="cpu", on_event=seen.append
    )
    words = ("finetune", data, "-m", "digits", "--full", "-b", "4", "--device", "cpu", "-q")
    assert resnest(*words, "--epochs", "1", "-o", tmp_path / "command").exit_code == 0
    written = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("python", "command")]
    assert (run.folder, run.metrics) == (tmp_path / "python", written[0])
    assert written[0] == written[1]
    assert [type(event) for event in seen if isinstance(event, Scanned | Epoch | Done)] == [Scanned, Epoch, Done]
    # More epochs: the command goes on with the run of Python, Python with that of the command.
    assert resnest(*words, "--epochs", "2", "-o", tmp_path / "python", "--resume").exit_code == 0
    again = finetune(data, tmp_path / "command", epochs=2, resume=True, device="cpu")
    assert again.metrics == json.loads((tmp_path / "python" / "metrics.json").read_text())
    assert again.metrics["epochs"] == 2
    with pytest.raises(UsageError, match=r"batch 4 \(now 8\)"):
        finetune(data, tmp_path / "python", batch=8, resume=True)
    with Classifier(str(run.folder), workers=0) as model:
        assert model.labels.names == ("a", "b")


def test_a_network_from_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = fill(tmp_path / "images", {"a": 3, "b": 3})
    monkeypatch.chdir(tmp_path)
    arch = {"channels": [8, 16, 32, 64], "stem_width": 8}
    run = train(data, model="resnest14d", arch=arch, img_size=32, epochs=1, batch=2, mixup=0.0, device="cpu")
    assert str(run.folder) == "images-resnest14d-trained"
    config = json.loads((run.folder / "config.json").read_text())
    assert config["model_args"]["channels"] == [8, 16, 32, 64]
    assert run.metrics["command"] == "train"
