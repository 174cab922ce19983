"""Weights and configs from a hub, played on loopback: fetched once, found again without a request, refused in words."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SAMPLES, Resnest, Shell
from hub_stub import Page, Stub, closed_port, commit_of, only_hub, repository
from safetensors.torch import load

from resnest_cli.models.catalog import DIGITS, find_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEVEN = SAMPLES / "seven_0081.png"
REPO = find_model("resnest14d").repo
WEIGHTS = f"/{REPO}/resolve/main/model.safetensors"

LOCATE = """
import sys
from resnest_cli.models import catalog, weights
weights.locate(catalog.find_model(sys.argv[1]))
"""
# Prints where a file of a repository is: as fetched, as `cached` sees it, as huggingface_hub's own function does.
THREE_VIEWS = """
import json, sys
from resnest_cli.models import hub, hub_cache
repo, filename = sys.argv[1:]
fetched = hub.fetch(repo, filename)
cached = hub_cache.find(repo, filename)
from huggingface_hub import try_to_load_from_cache
name, _, revision = repo.partition("@")
print(json.dumps([str(fetched), str(cached), try_to_load_from_cache(name, filename, revision=revision or None)]))
"""


@dataclass(frozen=True)
class Lively:
    """Weights of a resnest14d whose answers depend on everything in it, and what plain timm says of `SEVEN`."""

    safetensors: bytes
    indices: list[int]
    probabilities: list[float]


@pytest.fixture(scope="module")
def lively() -> Lively:
    """Make the weights: timm's fresh ones compute nothing in the blocks, where the last norm's scale is zero."""
    import timm
    import torch
    from PIL import Image
    from safetensors.torch import save
    from timm.data.config import resolve_data_config
    from timm.data.transforms_factory import create_transform

    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(14)
        network = timm.create_model("resnest14d", pretrained=False).eval()
        state = network.state_dict()
        for name, value in state.items():  # in place
            if name.endswith("running_var"):
                value.uniform_(0.8, 1.25)
            elif name.endswith(("bias", "running_mean")):
                value.normal_(0, 0.1)
            elif name.endswith("weight") and value.ndim == 1:  # a norm's scale
                value.uniform_(0.6, 1.2)
        config = resolve_data_config({}, model=network)  # type: ignore[no-untyped-call] # timm's gap
        pixels = create_transform(**config)(Image.open(SEVEN).convert("RGB"))[None]
        scale = 3 / network(pixels).std()  # answers that are neither sure nor all alike
        state["fc.weight"].mul_(scale)
        state["fc.bias"].mul_(scale)
        top = network(pixels)[0].softmax(0).topk(10)
        return Lively(save(state), top.indices.tolist(), top.values.tolist())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Play a hub that is empty at first, and let nothing but loopback be reached: the proxy for the rest is closed."""
    with only_hub({}, monkeypatch) as stub:
        yield stub


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a home folder without any setting of where caches are."""
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def three_views(shell: Shell, repo: str, filename: str = "config.json", **env: str) -> list[str]:
    """Fetch a file in a new process (0.3 s, no torch) and give its path as three functions see it."""
    done = shell(sys.executable, "-c", THREE_VIEWS, repo, filename, stdin=b"", **env)
    assert done.returncode == 0, done.stderr.decode()
    paths: list[str] = json.loads(done.stdout)
    return paths


def rows(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


# Downloads


def test_a_variant_is_downloaded_once_and_answers_as_plain_timm(shell: Shell, hub: Stub, lively: Lively) -> None:
    hub.pages = repository(REPO, {"model.safetensors": lively.safetensors})
    command = ("resnest", "predict", SEVEN, "-m", "resnest14d", "-k", "10", "-f", "jsonl", "-v")
    online = shell(*command)
    assert online.returncode == 0, online.stderr.decode()
    assert online.stderr.startswith(b"downloading resnest14d (43 MB) from 127.0.0.1.\n")
    assert b"packaged with resnest" in online.stderr
    (row,) = rows(online.stdout)
    assert [answer["index"] for answer in row["predictions"]] == lively.indices
    assert [answer["probability"] for answer in row["predictions"]] == pytest.approx(lively.probabilities, abs=1e-5)
    assert set(hub.log) == {f"HEAD {WEIGHTS}", f"GET {WEIGHTS}"}

    hub.log.clear()
    offline = shell(*command, HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stdout) == (0, online.stdout)
    with_timm = (
        "import sys, timm; network = timm.create_model(sys.argv[1], pretrained=True)\n"
        "print(network.fc.bias.double().sum().item())"
    )
    loaded = shell(sys.executable, "-c", with_timm, "resnest14d.gluon_in1k", HF_HUB_OFFLINE="1")
    assert float(loaded.stdout) == load(lively.safetensors)["fc.bias"].double().sum().item(), loaded.stderr.decode()
    listed = shell("resnest", "list-models", "-f", "json")
    assert {model["name"] for model in json.loads(listed.stdout) if model["cached"]} == {"resnest14d"}
    assert hub.log == []


@pytest.mark.parametrize("model", ["hf-hub:acme/digits", "hf-hub:acme/digits@v1"])
def test_a_model_of_any_repository_answers(shell: Shell, resnest: Resnest, hub: Stub, model: str) -> None:
    names = ("config.json", "model.safetensors")
    revision = model.partition("@")[2] or "main"
    hub.pages = repository("acme/digits", {name: (DIGITS / name).read_bytes() for name in names}, revision)
    shell(sys.executable, "-c", LOCATE, model)  # huggingface_hub reads HF_ENDPOINT once a process: the stub's is new
    assert {line.rpartition("/")[2] for line in hub.log} == set(names)
    hub.log.clear()
    done = resnest("predict", SEVEN, "-m", model, "-f", "jsonl")
    assert done.exit_code == 0, done.stderr
    (row,) = rows(done.stdout_bytes)
    assert row["predictions"][0]["label"] == "seven"
    assert hub.log == []


def test_a_download_asks_for_the_file_and_for_nothing_else(shell: Shell, hub: Stub) -> None:
    hub.pages = repository("acme/digits", {"config.json": b"{}"})
    three_views(shell, "acme/digits", CLAUDECODE="1")  # huggingface_hub looks up which agent runs it, if it may
    path = "/acme/digits/resolve/main/config.json"
    assert set(hub.log) == {f"HEAD {path}", f"GET {path}"}
    for headers in hub.headers:  # with telemetry it names torch's version and the agent
        assert "torch/" not in headers["user-agent"]
        assert "agent/" not in headers["user-agent"]
        assert "authorization" not in headers


@pytest.mark.parametrize(("given", "kept"), [({}, "1"), ({"HF_HUB_DISABLE_TELEMETRY": "0"}, "0")])
def test_telemetry_is_off_unless_the_user_has_decided(shell: Shell, given: dict[str, str], kept: str) -> None:
    code = "import os, resnest_cli; print(os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    assert shell(sys.executable, "-c", code, stdin=b"", **given).stdout.decode().strip() == kept


def test_a_token_is_sent(shell: Shell, hub: Stub) -> None:
    hub.pages = repository("acme/private", {"config.json": b"{}"})
    three_views(shell, "acme/private", HF_TOKEN="hf_of_the_user")  # noqa: S106 - made up
    assert {headers["authorization"] for headers in hub.headers} == {"Bearer hf_of_the_user"}


def test_a_download_that_is_cut_once_is_taken_up_again(shell: Shell, hub: Stub) -> None:
    content = bytes(range(256)) * 1000
    hub.pages = repository(REPO, {"model.safetensors": content})
    hub.cuts = 1
    (path, *_) = three_views(shell, REPO, "model.safetensors")
    with open(path, "rb") as file:  # noqa: PTH123 - a path of another process, as text
        assert file.read() == content
    assert hub.log.count(f"GET {WEIGHTS}") == 2


# The cache


@pytest.mark.parametrize("revision", ["main", "v1", "refs/pr/3"])
def test_cached_sees_what_huggingface_hub_sees(shell: Shell, hub: Stub, tmp_path: Path, revision: str) -> None:
    in_url = revision.replace("/", "%2F")
    hub.pages = repository("acme/digits", {"config.json": b"{}"}, in_url)
    repo = "acme/digits" if revision == "main" else f"acme/digits@{revision}"
    fetched, cached, theirs = three_views(shell, repo, HF_HOME=str(tmp_path))
    assert fetched == cached == theirs
    assert fetched.startswith(str(tmp_path / "hub"))
    assert commit_of("acme/digits", in_url) in fetched
    hub.log.clear()
    assert three_views(shell, repo, HF_HOME=str(tmp_path)) == [fetched] * 3
    assert hub.log == []


def test_revisions_are_kept_apart(shell: Shell, hub: Stub) -> None:
    hub.pages = repository("acme/digits", {"config.json": b"{}"}) | repository(
        "acme/digits", {"config.json": b"[]"}, "v1"
    )
    main, v1 = (three_views(shell, repo)[1] for repo in ("acme/digits", "acme/digits@v1"))
    assert main != v1
    assert three_views(shell, "acme/digits")[1] == main


def test_a_commit_is_a_revision(shell: Shell, hub: Stub) -> None:
    commit = commit_of("acme/digits")
    page = next(iter(repository("acme/digits", {"config.json": b"{}"}).values()))
    hub.pages = {f"/acme/digits/resolve/{commit}/config.json": page}
    fetched, cached, theirs = three_views(shell, f"acme/digits@{commit}")
    assert fetched == cached == theirs


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ("HF_HUB_CACHE={}/a HF_HOME={}/b", "a"),
        ("HUGGINGFACE_HUB_CACHE={}/a HF_HOME={}/b", "a"),
        ("HF_HOME={}/b XDG_CACHE_HOME={}/c", "b/hub"),
        ("HF_HOME=~/b", "b/hub"),
        ("XDG_CACHE_HOME={}/c", "c/huggingface/hub"),
        ("", ".cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_environment_says(
    shell: Shell, hub: Stub, own_home: Path, variables: str, folder: str
) -> None:
    hub.pages = repository("acme/digits", {"config.json": b"{}"})
    env = dict(variable.format(own_home).split("=") for variable in variables.split())
    fetched, cached, theirs = three_views(shell, "acme/digits", **env)
    assert fetched == cached == theirs
    assert fetched.startswith(str(own_home / folder / "models--acme--digits"))


# Failures


def fails(shell: Shell, model: str = "resnest14d", **env: str) -> str:
    """Ask for an answer that cannot be had, and give our message; it holds the URL and three ways out."""
    done = shell("resnest", "predict", SEVEN, "-m", model, "-f", "jsonl", stdin=b"", **env)
    stderr = done.stderr.decode()
    assert done.returncode == 1, stderr
    assert done.stdout == b""
    assert "Traceback" not in stderr
    message = stderr.partition("error: ")[2]  # before it huggingface_hub may have warned of what it tries again
    assert env.get("HF_ENDPOINT", os.environ["HF_ENDPOINT"]) + WEIGHTS in message
    for way_out in (f"hf download {REPO} model.safetensors", "--weights FILE", "--model digits"):
        assert way_out in message
    return message


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_a_refusal_of_the_hub_is_told(shell: Shell, hub: Stub, status: int) -> None:
    hub.pages[WEIGHTS] = Page(b"no", status=status)
    assert str(status) in fails(shell)


@pytest.mark.parametrize(("status", "code"), [(404, "EntryNotFound"), (401, "RepoNotFound"), (403, "GatedRepo")])
def test_a_refusal_as_the_real_hub_words_it_is_told(shell: Shell, hub: Stub, status: int, code: str) -> None:
    headers = {"X-Error-Code": code, "X-Error-Message": "Repository, file or permission is lacking."}
    hub.pages[WEIGHTS] = Page(b"", status=status, headers=headers)
    assert str(status) in fails(shell)


def test_a_refused_connection_is_told(shell: Shell, hub: Stub) -> None:
    with closed_port() as nowhere:
        assert "refused" in fails(shell, HF_ENDPOINT=nowhere)
    assert hub.log == []


def test_something_that_is_no_hub_is_told(shell: Shell, hub: Stub) -> None:
    hub.pages[WEIGHTS] = Page(b"<h1>Please log in to this network</h1>")
    assert "X-Repo-Commit" in fails(shell)


def test_a_download_that_is_cut_again_and_again_is_told_and_not_kept(shell: Shell, hub: Stub) -> None:
    hub.pages = repository(REPO, {"model.safetensors": bytes(100_000)})
    hub.cuts = 1000
    assert "of 100000 bytes had arrived" in fails(shell)
    assert "not in the cache" in fails(shell, HF_HUB_OFFLINE="1")


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_offline_forbids_any_request(shell: Shell, hub: Stub, value: str) -> None:
    hub.pages = repository(REPO, {"model.safetensors": b"x"})
    assert "HF_HUB_OFFLINE" in fails(shell, HF_HUB_OFFLINE=value)
    assert hub.log == []


@pytest.mark.parametrize("repo", ["a/b/c", "", "acme/two words"])
def test_a_name_that_no_repository_can_have_is_refused_in_words(shell: Shell, hub: Stub, repo: str) -> None:
    done = shell("resnest", "predict", SEVEN, "-m", f"hf-hub:{repo}")
    assert done.returncode in {1, 2}
    assert b"Traceback" not in done.stderr
    assert hub.log == []
