"""A row of an output: what JSON has for the record of an input.

In: records. Out: rows as plain mappings, and as JSON text. Does not know what a file of rows looks like.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from resnest_cli.text import json_input
from resnest_cli.types import Certainty, Exif, Failure, Prediction, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resnest_cli.types import Record

Row: TypeAlias = "dict[str, Any]"
_PREDICTION = [field.name for field in fields(Prediction)]
EXIF = [field.name for field in fields(Exif)]


@dataclass(frozen=True)
class About:
    """What holds for all rows of an output.

    Attributes:
        topk: how many classes a row has room for; 0 for features.
        facts: what made the rows, as JSON values.
        is_calibrated: rows with an answer say how sure it is.
        has_exif: rows with an answer say when and where the image was taken.
    """

    topk: int
    facts: Mapping[str, Any]
    is_calibrated: bool = False
    has_exif: bool = False


def to_row(record: Record) -> Row:
    """Return the row of a record: path, status, predictions, its certainty, and the error of a failure."""
    row: Row = {"path": record.path, "status": record.status}
    row["predictions"] = [asdict(prediction) for prediction in record.predictions]
    if isinstance(record, Failure):
        return row | error_of(record)
    if known := record.certainty:
        row |= {"set": list(known.set), "strangeness": known.strangeness, "abstained": known.abstained}
    return row | asdict(record.exif) if record.exif else row


def to_record(row: Row) -> Record:
    """Return the record of a row that `to_row` or `with_thumbnail` made.

    The classes of a set are named by the predictions where the row has no names for them, the others by their index.
    """
    if "error" in row:
        return Failure(row["path"], row["error"]["type"], row["error"]["message"])
    found = tuple(Prediction(**{name: each[name] for name in _PREDICTION}) for each in row["predictions"])
    exif = Exif(**{name: row[name] for name in EXIF}) if "taken" in row else None
    return Result(row["path"], found, thumbnail=row.get("thumbnail", ""), certainty=_certainty(row, found), exif=exif)


def _certainty(row: Row, found: tuple[Prediction, ...]) -> Certainty | None:
    if "set" not in row:
        return None
    known = {each.index: each.label for each in found}
    labels = row.get("set_labels") or [known.get(index, f"class {index}") for index in row["set"]]
    return Certainty(tuple(row["set"]), tuple(labels), row["strangeness"], row["abstained"])


def with_thumbnail(record: Record) -> Row:
    """Return the row of a record for the page: its small picture, a `data:` URI or "", and the names of its set."""
    if isinstance(record, Failure):
        return to_row(record) | {"thumbnail": ""}
    row = to_row(record) | {"thumbnail": record.thumbnail}
    return row | {"set_labels": list(record.certainty.labels)} if record.certainty else row


def error_of(failure: Failure) -> Row:
    """Return the part of a row that says why there is no answer."""
    return {"error": {"type": failure.type, "message": failure.message}}


def to_json(row: Row) -> bytes:
    """Return the row as one JSON object; probabilities read back exactly as the float32 they were."""
    text = json.dumps(row, ensure_ascii=False)
    if not text.isprintable():  # lone surrogates, and characters that move a terminal's cursor or reverse its text
        text = "".join(character if character.isprintable() else _escaped(character) for character in text)
    return text.encode()


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1] if character != "\x7f" else r"\u007f"  # json leaves DEL as it is


def read_json(text: bytes) -> Row:
    """Read a row that `to_json` wrote.

    Raises:
        ValueError: the text is no row.
    """
    row = json_input.parse(text)
    if not (isinstance(row, dict) and isinstance(row.get("path"), str) and _is_error(row.get("error", {"type": ""}))):
        message = "not a row"
        raise ValueError(message)
    return row


def is_row(value: object) -> bool:
    """Return whether a value is a whole row, as `to_row` makes them."""
    match value:
        case {"path": str(), "status": "ok", "predictions": list(found), **rest} if "error" not in rest:
            more = ("set" not in rest or _is_certainty(rest)) and ("taken" not in rest or _is_exif(rest))
            return more and all(map(_is_prediction, found))
        case {"path": str(), "status": "error", "predictions": [], "error": {"type": str(), "message": str()}}:
            return True
    return False


def _is_prediction(value: object) -> bool:
    match value:
        case {"rank": int(), "index": int(), "wnid": str() | None, "label": str(), "probability": float() | int()}:
            return True
    return False


def _is_certainty(value: object) -> bool:
    match value:
        case {"set": list(found), "strangeness": float() | int(), "abstained": bool()}:
            return all(isinstance(index, int) for index in found)
    return False


def _is_exif(value: object) -> bool:
    match value:
        case {"taken": str() | None, "latitude": float() | int() | None, "longitude": float() | int() | None}:
            return True
    return False


def _is_error(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)
