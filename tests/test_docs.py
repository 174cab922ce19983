"""README and the pages in `docs/` hold: claims name their tests, examples run, links lead somewhere.

Outputs that cog writes are compared by `make check`. Every other block of shell or Python is run here, in a folder that
`scripts/docs/playground.py` makes, but for the blocks that say why not.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import mypy.api
import pytest
import yaml
from click.testing import CliRunner

import resnest_cli
from resnest_cli.cli import cli
from resnest_cli.engines.runtime import has_int8

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
}
NAMED = re.compile(r"`(test_\w+)`")
# What the tests change in an example so that it runs in seconds, without a download.
STAND_INS = {
    r"bench -m resnest14d": "bench -m digits",
    r"resnest50d,resnest101e": "digits",
    r"--precision fp32,bf16": "--precision fp32",
    r"--engine all": "--engine openvino",
    r"--baseline ": "",
    r"\bresnest(50d|101e)(?![-\w])": "digits",
}
WORLD = {
    **{f"RESNEST_{command}_MODEL": "digits" for command in ("PREDICT", "EMBED", "EXPLAIN", "VALIDATE", "BENCH")},
    **{f"RESNEST_{command}_EPOCHS": "1" for command in ("FINETUNE", "TRAIN")},
    "RESNEST_TRAIN_IMG_SIZE": "32",
    "RESNEST_BENCH_SECONDS": "0",
}
NOT_RUN = {
    "docs/jobs.md": ["it does not end"],
    "README.md": ["CI runs these", "installs packages"],
    "CONTRIBUTING.md": [],
    "docs/cluster.md": [
        "needs a Ray cluster and object stores",
        "starts a cluster, as tests/cluster do",
        "needs an object store",
    ],
    "docs/export.md": ["the commands below do the same"],
    "docs/predict.md": ["needs a network", "needs a network"],
    "docs/serve.md": ["starts a server", "needs a server", "starts a server"],
    "docs/speed.md": ["as in README"],
    "docs/training.md": ["needs several nodes with GPUs"],
    "docs/validate.md": ["needs real.json and ImageNet's validation set"],
}
OK_OR_SOME_INPUTS_FAILED = {0, 3}
LANGUAGES = {"sh", "console", "python", "text", "bibtex"}
FOR_THE_SHELL = re.compile(r"[|<>;&$]|^(?!resnest )")
BLOCK = re.compile(
    r"<!-- \[\[\[cog.*?\[\[\[end\]\]\] -->|"  # what cog writes is passed over
    r"(?:<!-- not run: (?P<not_run>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$"
    r"(?:\n```text\n(?P<output>.*?)^```$)?",
    flags=re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Example:
    """A fenced block of a page, with the output that stands below it."""

    where: str
    language: str
    text: str
    not_run: str
    output: str


def examples(page: Path) -> Iterator[Example]:
    """Find the blocks of a page that cog does not write."""
    content = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(content):
        if found["text"] is not None:
            line = content.count("\n", 0, found.start("text"))
            where = f"{page.relative_to(ROOT)}:{line}"
            yield Example(where, found["language"], found["text"], found["not_run"] or "", found["output"] or "")


def with_stand_ins(text: str) -> str:
    """Return an example as it is run here."""
    for pattern, stand_in in STAND_INS.items():
        text = re.sub(pattern, stand_in, text)
    return text


def run_python(text: str) -> str:
    """Run a program in this process; return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(text, "example", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own documentation
    return printed.getvalue()


def run_command(line: str) -> tuple[int, str]:
    """Run a line; a plain `resnest` command in this process, where torch is imported once for all of them."""
    if FOR_THE_SHELL.search(line):
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        ended = subprocess.run(
            ["/bin/bash", "-c", line], capture_output=True, text=True, check=False, env=os.environ | {"PATH": programs}
        )
        return ended.returncode, ended.stdout + ended.stderr
    result = CliRunner().invoke(cli, shlex.split(line, comments=True)[1:], prog_name="resnest")
    return result.exit_code, result.output


def commands(example: Example) -> Iterator[str]:
    """Find the commands of a block: its lines, or in a console those behind a prompt."""
    for line in example.text.splitlines():
        if example.language == "sh" and line.strip() and not line.startswith("#"):
            yield line
        if example.language == "console" and line.startswith("$ "):
            yield line[2:]


def run(example: Example) -> None:
    """Run an example, and compare what a program prints with what the page says."""
    if example.language == "python":
        printed = run_python(with_stand_ins(example.text))
        assert example.output in {"", printed}, example.where
    for command in commands(example):
        code, said = run_command(with_stand_ins(command))
        assert code in OK_OR_SOME_INPUTS_FAILED, f"{example.where}: {command}: {said}"


RUNNABLE = {
    str(page.relative_to(ROOT)): [
        example for example in examples(page) if example.language in {"sh", "console", "python"} and not example.not_run
    ]
    for page in PAGES
}


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the folder that examples run in once; each page gets a copy, which takes a tenth of the time."""
    folder = tmp_path_factory.mktemp("playground")
    runpy.run_path(str(ROOT / "scripts" / "docs" / "playground.py"))["lay_out"](folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, found in RUNNABLE.items() if found])
def test_the_examples_of_a_page_run(
    page: str,
    playground: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(playground, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    # An example clears the cache, whose graphs other tests share.
    monkeypatch.setenv("RESNEST_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name, value in WORLD.items():
        monkeypatch.setenv(name, value)
    for example in RUNNABLE[page]:
        if has_int8() or "int8" not in example.text:  # a CPU without its instructions refuses it
            run(example)


@pytest.mark.slow
def test_the_python_examples_pass_a_strict_type_checker_which_reports_a_wrong_keyword(tmp_path: Path) -> None:
    found = [example for page in PAGES for example in examples(page) if example.language == "python"]
    assert len([example for example in found if example.where.startswith("docs/python.md")]) > 10
    for number, example in enumerate(found):
        (tmp_path / f"example_{number}.py").write_text(example.text, encoding="utf-8")
    (tmp_path / "wrong.py").write_text('from resnest_cli import Classifier\nClassifier("digits", devise="cpu")\n')
    files = sorted(map(str, tmp_path.glob("*.py")))
    said, _, _ = mypy.api.run(["--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary", *files])
    # Without the folder: mypy's cache may repeat what it said of the same file elsewhere.
    reported = [line.rpartition("/")[2] for line in said.splitlines() if " error: " in line]
    wrong = 'Unexpected keyword argument "devise" for "Classifier"; did you mean "device"?  [call-arg]'
    assert reported == [f"wrong.py:2: error: {wrong}"]


def test_what_is_not_run_is_listed_here() -> None:
    found = {str(page.relative_to(ROOT)): [e.not_run for e in examples(page) if e.not_run] for page in PAGES}
    assert {page: reasons for page, reasons in found.items() if reasons} == {k: v for k, v in NOT_RUN.items() if v}


def test_every_block_says_its_language() -> None:
    said = {example.where: example.language for page in PAGES for example in examples(page)}
    assert [where for where, word in said.items() if word not in LANGUAGES] == []


def claims(page: Path) -> Iterator[str]:
    """Find the rows of the tables whose second column is "tests"."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.endswith("| tests |"):
            yield from takewhile(lambda row: row.startswith("|"), lines[number + 2 :])


def test_every_claim_names_the_tests_that_hold_it() -> None:
    made = [row for page in PAGES for row in claims(page)]
    assert len(made) > 70
    assert [row for row in made if not NAMED.search(row.split("|")[-2])] == []


def test_every_test_that_a_page_names_is_there() -> None:
    named = {name for page in PAGES for name in NAMED.findall(page.read_text(encoding="utf-8"))}
    assert named - TESTS == set()


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    lost = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
                lost.append(f"{page.name}: {link}")
    assert lost == []


def test_every_module_that_a_page_names_is_there() -> None:
    named = {
        (page.name, path)
        for page in PAGES
        for path in re.findall(r"`([a-z_]+/[a-z_/]+\.(?:py|json))`", page.read_text(encoding="utf-8"))
    }
    assert [path for path in named if not any((top / path[1]).exists() for top in (ROOT, ROOT / "resnest_cli"))] == []


def test_readme_is_a_door() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("\n") < 250
    pages = {str(page.relative_to(ROOT)) for page in PAGES} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([^)#]+)", readme))


def test_pages_name_nothing_of_the_machine_they_were_written_on() -> None:
    own = re.compile(rf"{re.escape(str(ROOT))}|{re.escape(sys.prefix)}|/root/|/home/\w|/tmp/\w")
    assert [page.name for page in PAGES if own.search(page.read_text(encoding="utf-8"))] == []


def test_the_citation_is_the_papers() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == resnest_cli.__version__
    paper = cited["preferred-citation"]
    authors = " and ".join(f"{author['given-names']} {author['family-names']}" for author in paper["authors"])
    known = json.loads((ROOT / "resnest_cli" / "data" / "models.json").read_text(encoding="utf-8"))["paper"]
    assert (authors, paper["title"], paper["year"]) == (" and ".join(known["authors"]), known["title"], known["year"])
    bibtex = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"author={{{authors}}}" in bibtex
    assert f"title={{{paper['title']}}}" in bibtex
    assert f"year={{{paper['year']}}}" in bibtex
