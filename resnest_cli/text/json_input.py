"""Read JSON that others may have written: parsed strictly, each value checked for its type and range.

In: text. Out: values, or a `ValueError` that names the key and what it must be. Standard library only.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

LONGEST = 1000  # characters of a name
LONGEST_PATH = 1 << 16  # ... and of a path or a URL
SHOWN = 60  # characters of a value, in a message


def parse(text: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return the value of a JSON text in UTF-8.

    Raises:
        ValueError: it is no JSON, has NaN, Infinity or a duplicate key, or is nested too deeply.
    """
    try:
        words = text.decode() if isinstance(text, bytes) else text
        return json.loads(words, parse_constant=_no_number, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        message = "it is not text in UTF-8"
        raise ValueError(message) from error
    except RecursionError as error:
        message = "it is nested too deeply"
        raise ValueError(message) from error


def shorten(value: object) -> str:
    """Return a value for a message, shortened to `SHOWN` characters."""
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def quote(value: object) -> str:
    """Return a JSON value for a message; lists and objects by their type."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return shorten(value if isinstance(value, str) else json.dumps(value))


class Entries:
    """The entries of an object, read by key with a required type and range.

    A value that does not fit raises a `ValueError` that names the key; `name` is the path of the object itself.
    """

    def __init__(self, values: object, name: str = "") -> None:
        if not isinstance(values, dict):
            message = f"{name or 'it'} is no object: {quote(values)}"
            raise ValueError(message)  # noqa: TRY004 - to who reads a file, each is the same
        self.values: dict[str, Any] = values
        self.name = name

    def inside(self, key: str) -> Entries:
        """Return the entries of a nested object; empty where the key is missing."""
        value = self.values.get(key)
        return Entries({} if value is None else value, self._path(key))

    def integer(self, key: str, least: int, most: int) -> int:
        """Return an integer; true and false are refused."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(key, f"a whole number from {least} to {most}")
        return value

    def number(self, key: str, least: float, most: float) -> float:
        """Return a finite number; true and false are refused."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise self._wrong(key, f"a number from {least:g} to {most:g}")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self.values.get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def text(self, key: str, *, longest: int = LONGEST) -> str:
        """Return a text of at most `longest` characters."""
        value = self.values.get(key)
        if not isinstance(value, str) or len(value) > longest:
            raise self._wrong(key, f"a text of at most {longest} characters")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts of at most `LONGEST` characters each."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(each, str) and len(each) <= LONGEST for each in value):
            raise self._wrong(key, f"a list of texts of at most {LONGEST} characters each")
        return tuple(value)

    def integers(self, key: str, count: int, least: int, most: int) -> tuple[int, ...]:
        """Return a list of `count` integers."""
        value = self.values.get(key)
        if not isinstance(value, list) or len(value) != count:
            raise self._wrong(key, f"a list of {count} whole numbers from {least} to {most}")
        every = Entries(dict(enumerate(value)), self._path(key))
        return tuple(every.integer(index, least, most) for index in every.values)

    def numbers(self, key: str, count: int, limit: float) -> tuple[float, ...]:
        """Return a list of at most `count` numbers from -`limit` to `limit`."""
        value = self.values.get(key)
        if not isinstance(value, list) or len(value) > count:
            raise self._wrong(key, f"a list of at most {count} numbers")
        every = Entries(dict(enumerate(value)), self._path(key))
        return tuple(every.number(index, -limit, limit) for index in every.values)

    def _path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else str(key)

    def _wrong(self, key: str, wanted: str) -> ValueError:
        given = quote(self.values[key]) if key in self.values else "missing"
        return ValueError(f"{self._path(key)} is {given}: it must be {wanted}")


def _no_number(name: str) -> float:
    message = f"{name} is no number in JSON"
    raise ValueError(message)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        message = f"the key {quote(twice)!r} is there twice"
        raise ValueError(message)
    return made
