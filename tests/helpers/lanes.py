"""A pytest plugin that skips slow tests on request and orders the others (loaded by conftest).

`--quick` skips every test that is marked slow, loads torch or starts a cluster. No list names the last two kinds: empty
modules replace `torch` and `ray`, here and in the processes that tests start, and importing one skips the test.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

LEFT_OUT = ("torch", "ray")
STAND_IN = """
import os, sys
if "pytest" in sys.modules:
    import pytest
    pytest.skip({reason!r}, allow_module_level=True)
open({mark!r}, "w").close()
os._exit(1)
"""
# With `--dist loadfile` a file is one worker's. Files that take long come first, or one worker would end long after the
# others: these files and folders, and what else there is after them.
FIRST = ("test_docs.py", "cluster", "test_without_torch.py", "training", "tasks", "engines", "cli", "outputs")
FOLDER = pytest.StashKey[Path]()
ERRORS = pytest.StashKey[list[BaseException]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out what is slow, loads torch or starts a cluster")


def pytest_configure(config: pytest.Config) -> None:
    """Put the replacement modules on the search path, for `--quick`."""
    if not config.getoption("quick"):
        return
    folder = tempfile.TemporaryDirectory(prefix="quick-lane-")
    config.add_cleanup(folder.cleanup)
    config.stash[FOLDER] = Path(folder.name)
    config.stash[ERRORS] = []
    for name in LEFT_OUT:
        content = STAND_IN.format(reason=f"loads {name}", mark=f"{folder.name}/{name}.mark")
        (config.stash[FOLDER] / f"{name}.py").write_text(content)
    sys.path.insert(0, folder.name)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder.name, os.environ.get("PYTHONPATH"))))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order tests so that slow files come first; skip slow tests for `--quick`."""
    for item in items:
        if config.getoption("quick") and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip("is slow"))
    rank = {name: number for number, name in enumerate(FIRST)}
    tests = Path(__file__).parents[1]
    items.sort(key=lambda item: rank.get(item.path.relative_to(tests).parts[0], len(rank)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a test as skipped if it failed because its process imported a replacement module."""
    report = yield
    if FOLDER in item.config.stash:
        marks = [mark for name in LEFT_OUT if (mark := item.config.stash[FOLDER] / f"{name}.mark").exists()]
        errors = item.config.stash[ERRORS]  # a fixture of several tests raises the same one again
        if report.failed and call.excinfo and (marks or call.excinfo.value in errors):
            errors.append(call.excinfo.value)
            report.outcome = "skipped"
            name = marks[0].stem if marks else "the same"
            report.longrepr = (str(item.path), 0, f"Skipped: a process of it loads {name}")
        for mark in marks:
            mark.unlink()
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests were skipped, by reason; a file that skips at import counts as a whole file."""
    skipped = terminalreporter.stats.get("skipped", [])
    for kind, what in ((pytest.TestReport, "tests"), (pytest.CollectReport, "whole files")):
        why = Counter(_reason(report.longrepr) for report in skipped if isinstance(report, kind))
        counts = ", ".join(f"{reason} {count}" for reason, count in why.most_common())
        terminalreporter.write_line(f"left out, {what}: {counts or 'none'}")


def _reason(place: object) -> str:
    """Return the reason of a skip, given as (path, line, reason)."""
    return str(place[2]).removeprefix("Skipped: ") if isinstance(place, tuple) else str(place)
