"""What the machine has: the cores this process may use, and signs of a GPU, read from a machine made of files."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resnest_cli.system import files, machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Shell

CORES = 16


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that stands for / to `machine`, on a Linux with 16 cores and torch for CUDA."""

    def below(*parts: str) -> Path:
        path = Path(*parts)
        return tmp_path / path.relative_to("/") if path.is_absolute() else path

    monkeypatch.setattr(machine, "Path", below)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "sys/fs/cgroup")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)), raising=False)
    monkeypatch.setattr(machine, "version", lambda _: "2.14.1+cu130")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# --- cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_bound_to_one_core_counts_one(shell: Shell) -> None:
    code = (
        "import os; from resnest_cli.system.machine import usable_cores\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(usable_cores())"
    )
    assert shell(sys.executable, "-c", code).stdout.split() == [b"1"]


@pytest.mark.usefixtures("root")
def test_without_control_groups_the_affinity_counts() -> None:
    assert machine.usable_cores() == CORES


@pytest.mark.usefixtures("root")
def test_a_system_without_affinity_counts_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert machine.usable_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.usable_cores() == 1


@pytest.mark.parametrize(
    ("own", "above", "cores"),
    [
        pytest.param("200000 100000", None, 2, id="two cores"),
        pytest.param("150000 100000", None, 2, id="a part of a core is a core"),
        pytest.param("20000 100000", None, 1, id="never none"),
        pytest.param("30000 10000", None, 3, id="another period"),
        pytest.param("max 100000", None, CORES, id="no limit"),
        pytest.param("9900000 100000", None, CORES, id="more than there are"),
        pytest.param("800000 100000", "400000 100000", 4, id="the group above has less"),
        pytest.param("200000 100000", "400000 100000", 2, id="the group above has more"),
        pytest.param(None, "400000 100000", 4, id="only the group above has a limit"),
        pytest.param("", None, CORES, id="an empty file"),
        pytest.param("many few", None, CORES, id="no numbers"),
    ],
)
def test_a_quota_of_control_groups_counts(root: Path, own: str | None, above: str | None, cores: int) -> None:
    put(root / "proc/self/cgroup", "0::/pods/mine\n")
    for group, quota in (("pods/mine", own), ("pods", above)):
        if quota is not None:
            put(root / "sys/fs/cgroup" / group / "cpu.max", f"{quota}\n")
    assert machine.usable_cores() == cores


def test_a_container_that_sees_its_own_group_as_the_root_has_its_quota(root: Path) -> None:
    put(root / "proc/self/cgroup", "0::/\n")
    put(root / "sys/fs/cgroup/cpu.max", "300000 100000\n")
    assert machine.usable_cores() == 3


def test_a_quota_of_others_does_not_count(root: Path) -> None:
    put(root / "proc/self/cgroup", "12:cpu,cpuacct:/pods/old\n0::/pods/mine\n")
    for group in ("pods/old", "pods/mine/child", "pods/yours"):
        put(root / "sys/fs/cgroup" / group / "cpu.max", "100000 100000\n")
    assert machine.usable_cores() == CORES


# --- signs of a GPU


@pytest.mark.usefixtures("root")
def test_a_machine_without_devices_has_no_sign() -> None:
    assert not machine.may_have_accelerator()


@pytest.mark.parametrize(
    ("device", "torch", "sign"),
    [
        ("nvidia0", "2.14.1+cu130", True),
        ("nvidia11", "2.14.1", True),
        ("nvidiactl", "2.14.1+cu130", False),  # there where the driver is, without a GPU
        ("dxg", "2.14.1+cu130", True),  # Windows' own Linux
        ("kfd", "2.14.1+rocm7.0", True),
        ("kfd", "2.14.1+cu130", False),
        ("dri", "2.14.1+xpu", True),
        ("dri", "2.14.1+cpu", False),
        ("dri", None, False),
        ("null", "2.14.1+rocm7.0", False),
    ],
)
def test_a_device_is_a_sign_where_torch_could_use_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, device: str, torch: str | None, *, sign: bool
) -> None:
    monkeypatch.setattr(machine, "version", installed(torch))
    put(root / "dev" / device)
    assert machine.may_have_accelerator() is sign


def installed(torch: str | None) -> Callable[[str], str]:
    def version(package: str) -> str:
        if torch is None:
            raise PackageNotFoundError(package)
        return torch

    return version


@pytest.mark.parametrize("device", ["nvidia0", "dxg"])
@pytest.mark.parametrize(("visible", "sign"), [("", False), ("-1", False), ("0", True), ("1,0", True)])
def test_hidden_nvidia_gpus_are_no_sign(
    root: Path, monkeypatch: pytest.MonkeyPatch, device: str, visible: str, *, sign: bool
) -> None:
    put(root / "dev" / device)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.may_have_accelerator() is sign


def test_what_hides_nvidias_gpus_hides_no_intel_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root / "dev/dri")
    monkeypatch.setattr(machine, "version", installed("2.14.1+xpu"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.may_have_accelerator()


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(("processor", "sign"), [("arm64", True), ("x86_64", False)])
def test_a_mac_has_one_if_it_is_of_apples_own_processors(
    monkeypatch: pytest.MonkeyPatch, processor: str, *, sign: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: processor)
    assert machine.may_have_accelerator() is sign


def test_on_windows_nvidias_driver_is_the_sign(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("SYSTEMROOT", "/Windows")
    assert not machine.may_have_accelerator()
    put(root / "Windows/System32/nvcuda.dll")
    assert machine.may_have_accelerator()


@pytest.mark.parametrize(("device", "torch", "said"), [("nvidia0", False, 1), ("nvidia0", True, 0), ("null", False, 0)])
def test_an_nvidia_gpu_that_stays_idle_without_torch_is_mentioned_once(  # noqa: PLR0913 - fixtures and parameters
    root: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str], device: str, said: int, *, torch: bool
) -> None:
    files.warn_once.cache_clear()
    put(root / "dev" / device)
    if not torch:
        monkeypatch.setitem(sys.modules, "torch", None)
    for _ in range(2):
        machine.mention_idle_gpu()
    line = "the NVIDIA GPU stays idle, as torch is not installed: pip install 'resnest-cli[torch]'"
    assert logged == [line] * said


# --- the processor


@pytest.mark.parametrize(
    ("cpuinfo", "sets"),
    [
        ("model name\t: A CPU\nflags\t\t: fpu avx2 avx512f avx512_bf16\n", ("avx2", "avx512f", "avx512_bf16")),
        ("model name\t: A CPU\nFeatures\t: fp asimd asimddp bf16 i8mm\n", ("asimddp", "bf16", "i8mm")),
        ("model name\t: A CPU\nflags\t\t: fpu avx\n", ()),
    ],
)
def test_the_processors_name_and_instruction_sets_are_those_the_kernel_writes(
    root: Path, cpuinfo: str, sets: tuple[str, ...]
) -> None:
    put(root / "proc/cpuinfo", f"processor\t: 0\n{cpuinfo}\nprocessor\t: 1\n{cpuinfo}")
    assert machine.cpu_name() == "A CPU"
    assert machine.instruction_sets() == sets


@pytest.mark.usefixtures("root")
def test_elsewhere_the_processor_has_a_name_and_no_sets_that_are_known() -> None:
    assert machine.cpu_name()
    assert machine.instruction_sets() == ()
