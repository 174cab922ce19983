"""Write explanations into a folder: pictures, numbers, and a record per input.

In: explanations and failures, in order. Out: files whose names begin with the number of the input, `explain.jsonl`, and
each record once its files are written. Does not know how an explanation is computed.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from resnest_cli.errors import OutputError
from resnest_cli.outputs import saving
from resnest_cli.outputs.rows import error_of, to_json
from resnest_cli.system import files
from resnest_cli.system.files import as_output_error
from resnest_cli.system.paths import Kind, look
from resnest_cli.tasks.explain.pictures import side_by_side, split_attention
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from PIL.Image import Image

    from resnest_cli.tasks.explain.heatmap import Explanation

RECORDS = "explain.jsonl"
OURS = re.compile(rf"{re.escape(RECORDS)}|\d{{5,}}-.*\.(png|json|npy)", re.DOTALL)  # names of our files


def claim(output: Path, *, overwrite: bool) -> None:
    """Check that the folder holds no earlier explanations, unless they may be overwritten.

    Raises:
        OutputError: it holds some, or cannot be read.
    """
    with as_output_error(output):
        names = [] if look(output).kind is Kind.MISSING else [path.name for path in output.iterdir()]
    ours = sorted(name for name in names if OURS.fullmatch(name))
    if ours and not overwrite:
        raise OutputError(f"{output / ours[-1]} exists; add --overwrite to replace it.")


def words(record: dict[str, Any], output: Path) -> str:
    """Return a record in a line: the class and where its picture is, or what failed."""
    if error := record.get("error"):
        return f"{record['path']}: {error['type']}: {error['message']}"
    explained = record["class"]
    return f"{record['path']}: {explained['label']} {explained['probability']:.2%} -> {output / record['picture']}"


def write(found: Iterable[Explanation | Failure], output: Path, *, raw: bool = False) -> Iterator[dict[str, Any]]:
    """Write the files of each explanation, then yield its record; a failed input has a record with an error.

    With `raw` the heat map is written too, as float32 [H, W] in a .npy file.

    Raises:
        OutputError: a file cannot be written.
    """
    with as_output_error(output):
        files.make_folder(output)
    with _open_records(output / RECORDS) as records:
        for number, result in enumerate(found, 1):
            if isinstance(result, Failure):
                record = {"path": result.path, "status": result.status} | error_of(result)
            else:
                record = _save(result, output, number, raw=raw)
            records.write(to_json(record) + b"\n")
            records.flush()
            yield record


def _open_records(path: Path) -> IO[bytes]:
    """Open the file of records, which grows with each input.

    Raises:
        OutputError: it cannot be written.
    """
    with as_output_error(path):
        file = files.open_for_update(path)
        file.truncate()
        return io.BufferedWriter(file)


def _save(found: Explanation, output: Path, number: int, *, raw: bool) -> dict[str, Any]:
    name = re.sub(r"[^\w.-]", "_", Path(found.path).stem, flags=re.ASCII)
    stem = f"{number:05d}-{name[:80]}"
    saving.save(output / f"{stem}.png", _png(side_by_side(found)))
    saving.save(output / f"{stem}.attention.png", _png(split_attention(found)))
    saving.save(output / f"{stem}.attention.json", json.dumps(_attention(found)) + "\n")
    if raw:
        found.save_heat(output / f"{stem}.npy")
    return {
        "path": found.path,
        "status": "ok",
        "class": {"index": found.index, "wnid": found.wnid, "label": found.label, "probability": found.probability},
        "picture": f"{stem}.png",
        "attention": f"{stem}.attention.json",
        "attention_picture": f"{stem}.attention.png",
        "map": f"{stem}.npy" if raw else None,
    }


def _png(picture: Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def _attention(found: Explanation) -> list[dict[str, Any]]:
    """Return the split attention of each block: the mean per split, and every share [radix][channels]."""
    return [
        {
            "block": shares.block,
            "radix": shares.radix,
            "function": "softmax over the splits" if shares.radix > 1 else "sigmoid",
            "mean": [float(value) for value in shares.values.mean(axis=1)],
            "shares": [[float(str(value)) for value in split] for split in shares.values],
        }
        for shares in found.shares
    ]
