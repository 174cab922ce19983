"""Check the answers of a GPU and measure its speed, in one call on a machine with an NVIDIA card.

In: a device. Out: one line per finding, all findings as JSON, and with --page the table of `docs/speed.md`.
Each of the three sections stops after --limit seconds and reports what it skipped. Findings of earlier calls with the
same card and versions are kept, so sections can run one by one:

    python scripts/gpu/gpu_check.py --only correct
    python scripts/gpu/gpu_check.py --only speed --models resnest50d
    python scripts/gpu/gpu_check.py --only files --images photos/ --page

gpu_correct.py, gpu_speed.py and gpu_files.py describe their sections. --device cpu only tests the script: it runs all
but what needs a card (the kernels run with TRITON_INTERPRET=1).
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from gpu_report import FIRST, Check, Report

from resnest_cli.engines.pytorch.engine import choose_device
from resnest_cli.errors import DeviceError
from resnest_cli.models.catalog import list_models
from resnest_cli.system import machine

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
MARKS = ("<!-- gpu: scripts/gpu/gpu_check.py --page writes this -->", "<!-- end of gpu -->")
SECTIONS = ("correct", "speed", "files")
COLUMNS = ("", "precision", "ready: images/s", "of limit", "x timm", "files: images/s", "x timm's loader")


def machine_facts(device: str) -> dict[str, str]:
    """Return the device and the versions: findings of different machines are not mixed."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else machine.cpu_name()
    cuda = {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]
    return {"device": name, **{package: version(package) for package in ("resnest-cli", "torch", "timm")}, **cuda}


def table(report: Report) -> str:
    """Return the page's Markdown table, one line per model and precision of the section speed."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"| --- | --- |{' ---: |' * (len(COLUMNS) - 2)}"]
    files, limits = report.found.get("files", {}), report.found.get("limits", {})
    for name, row in report.found.get("speed", {}).items():
        beside = files.get(name, {})
        cells = [*name.split(), f"{row['rate']:.0f}", f"{row['of_limit']:.0%} ({row['bound']})", f"{row['x_timm']:.2f}"]
        cells += [f"{beside['rate']:.0f}", f"{beside['x_timm']:.2f}"] if "rate" in beside else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    measured = [f"{name}: {row['tflops']:.0f} TFLOP/s, {row['tbytes']:.2f} TB/s" for name, row in limits.items()]
    return f"{', '.join(report.about.values())}; measured {'; '.join(measured)}.\n\n" + "\n".join(lines)


def write_table(report: Report, page: Path = PAGE) -> None:
    """Write the table between the page's marks."""
    text = page.read_text(encoding="utf-8")
    pattern = f"({re.escape(MARKS[0])}\n).*?({re.escape(MARKS[1])})"
    written = re.sub(pattern, lambda found: f"{found[1]}{table(report)}\n{found[2]}", text, flags=re.DOTALL)
    page.write_text(written, encoding="utf-8")


def run(check: Check, sections: tuple[str, ...], limit: float) -> None:
    """Run sections, each for at most about `limit` seconds."""
    import gpu_correct  # noqa: PLC0415 - all three import Triton: a missing card is reported first
    import gpu_files  # noqa: PLC0415
    import gpu_speed  # noqa: PLC0415

    does = {"correct": gpu_correct.correct, "speed": gpu_speed.speed, "files": gpu_files.files}
    for section in sections:
        check.end = time.monotonic() + limit
        does[section](check)


def main() -> int:
    """Return 0 if every check passed, 1 if one failed, 2 without a device to check."""
    args = _arguments()
    try:
        choose_device(args.device)
    except DeviceError as error:
        print(f"{error.message}\nNothing was checked: no NVIDIA card. Test the script with --device cpu.")
        return 2
    on_cuda = args.device.startswith("cuda")
    if args.page and not on_cuda:
        print("--page: the table needs the numbers of a card. Remove --page or --device.")
        return 2
    if on_cuda:
        torch.cuda.set_device(args.device)
    names = [spec.name for spec in list_models()]
    models = tuple(args.models.split(",")) if args.models else (FIRST, *(name for name in names if name != FIRST))
    check = Check(
        Report(args.rows, machine_facts(args.device)),
        device=args.device,
        models=models,
        precisions=tuple(args.precision.split(",")),
        size=args.size,
        batches=tuple(map(int, args.batches.split(","))),
        rounds=args.rounds,
        seconds=args.seconds,
        candidates=None if args.candidates is None else tuple(filter(None, args.candidates.split(";"))),
        images=args.images,
        files=args.files,
    )
    run(check, SECTIONS if args.only is None else tuple(args.only.split(",")), args.limit)
    print(table(check.report))
    if args.page:
        write_table(check.report)
    return 0 if check.report.ok else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to test the script")
    parser.add_argument("--only", help="sections, comma-separated; default: correct,speed,files")
    parser.add_argument("--models", default="", help="comma-separated; default: all, resnest50d first")
    parser.add_argument("--precision", default="bf16", help="of speed and files, comma-separated; default: %(default)s")
    parser.add_argument("--size", type=int, help="image size in pixels; default: the model's own")
    parser.add_argument("--batches", default="64,128,256,512", help="batch sizes; each form uses its fastest")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per comparison, default: %(default)s")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds per turn, default: %(default)s")
    parser.add_argument("--candidates", help="names from gpu_candidates.py, semicolon-separated; default: all")
    parser.add_argument("--images", default="", help="folder of JPEG files; default: generated files")
    parser.add_argument("--files", type=int, default=2000, help="number of generated files, default: %(default)s")
    parser.add_argument("--limit", type=float, default=540.0, help="seconds per section, default: %(default)s")
    parser.add_argument(
        "--rows", type=Path, default=Path("gpu_check.json"), help="file of findings, default: %(default)s"
    )
    parser.add_argument("--page", action="store_true", help="write the table into docs/speed.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
