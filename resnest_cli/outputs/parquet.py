r"""Rows as a Parquet file, by pyarrow (the extra `parquet`).

In: rows and what there is to say about them. Out: one row an input, with predictions as a list of structs; model,
weights, preprocessing, engine, precision and versions are in the file's own metadata, as JSON under the key "resnest".

Parquet's strings are UTF-8 and nothing else. A path that is not (or that holds the characters \udc) is written as JSON
writes it between the quotes, so json.loads(f'"{path}"') gives it back; every other path stands as it is.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from resnest_cli.outputs.rows import About, Row

ROWS_A_GROUP = 4096  # some MB in memory
ESCAPE = "\\udc"  # how the escape of a byte begins
PREDICTION = pa.struct(
    [
        ("rank", pa.int32()),
        ("index", pa.int32()),
        ("wnid", pa.string()),
        ("label", pa.string()),
        ("probability", pa.float32()),
    ]
)
ANSWER = [("path", pa.string()), ("status", pa.string()), ("predictions", pa.list_(PREDICTION))]
CERTAINTY = [("set", pa.list_(pa.int32())), ("strangeness", pa.float32()), ("abstained", pa.bool_())]
TAKEN = [("taken", pa.string()), ("latitude", pa.float64()), ("longitude", pa.float64())]
ERROR = [("error_type", pa.string()), ("error_message", pa.string())]
NAMES = [name for name, _ in (*ANSWER, *CERTAINTY, *TAKEN, *ERROR)]


def write(rows: Iterable[Row], out: IO[bytes], about: About) -> None:
    """Write all rows, a group at a time; the file is readable when this returns, not before."""
    facts = json.dumps(dict(about.facts))
    schema = schema_of(about).with_metadata({"resnest": facts})
    rows = iter(rows)
    with pq.ParquetWriter(out, schema) as file:
        while group := list(islice(rows, ROWS_A_GROUP)):
            file.write_table(table(group, about).cast(schema))


def schema_of(about: About) -> pa.Schema:
    """Return the columns of a file."""
    more = [*(CERTAINTY if about.is_calibrated else []), *(TAKEN if about.has_exif else [])]
    return pa.schema([*ANSWER, *more, *ERROR])


def table(rows: list[Row], about: About) -> pa.Table:
    """Return rows as an Arrow table of the columns of a file."""
    return pa.Table.from_pylist([_flat(row) for row in rows], schema_of(about))


def _flat(row: Row) -> Row:
    error = row.get("error", {"type": None, "message": None})
    predictions = [{**prediction, "label": utf8(prediction["label"])} for prediction in row["predictions"]]
    return {
        "path": utf8_path(row["path"]),
        "status": row["status"],
        "predictions": predictions,
        **{name: row.get(name) for name, _ in (*CERTAINTY, *TAKEN)},
        "error_type": error["type"],
        "error_message": error["message"] and utf8(error["message"]),
    }


def row_of(values: Mapping[str, Any]) -> Row:
    """Return the row that these values of the columns were made of."""
    row: Row = {"path": _path(values["path"]), "status": values["status"]}
    row["predictions"] = [_shortest(prediction, "probability") for prediction in values["predictions"]]
    if values["error_type"] is not None:
        return row | {"error": {"type": values["error_type"], "message": values["error_message"]}}
    certainty = {name: values[name] for name, _ in CERTAINTY if values.get(name) is not None}
    taken = {name: values[name] for name, _ in TAKEN if name in values}
    return row | (_shortest(certainty, "strangeness") if certainty else {}) | taken


def _shortest(values: Row, name: str) -> Row:
    """Return the values, with the float whose shortest decimal form is that of the float32: 0.1, not 0.10000000149."""
    return {**values, name: float(str(np.float32(values[name])))}


def _path(stored: str) -> str:
    """Return the path that `utf8_path` stored."""
    path: str = json.loads(f'"{stored}"') if ESCAPE in stored else stored
    return path


def utf8_path(path: str) -> str:
    """Return the path as it is, or as the inside of a JSON string where it would not come back."""
    if utf8(path) == path and ESCAPE not in path:
        return path
    return utf8(json.dumps(path, ensure_ascii=False)[1:-1])


def utf8(text: str) -> str:
    """Write lone surrogates, which UTF-8 does not have, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
