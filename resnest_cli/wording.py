"""A message in Python's terms: its options of the command line become keywords.

In: a message, as the command line prints it. Out: the same for who calls from Python: `--img-size 5` is `img_size=5`,
`--overwrite` is `overwrite=True`, and a command to type stays one. Knows options by their form, no command by its name.
"""

from __future__ import annotations

import re

FLAGS = {
    *("allow-private-urls", "append-new", "apply", "balance", "by-hash", "exif", "failed", "full", "include-self"),
    *("normalize", "overwrite", "random-weights", "raw-uint8", "resume", "retry-failed", "subset", "sync-bn"),
    *("watch", "with-exif", "with-sidecars"),
}
OPPOSITES = {"no-exif": "exif", "no-recursive": "recursive", "head-only": "full"}
# Keywords of other names than their options.
OTHERS = {
    "class": "target",
    "index": "path",
    "b": "batch",
    "f": "format",
    "j": "workers",
    "k": "topk",
    "m": "model",
    "o": "output",
}
# Values that read like words of a sentence, which a value otherwise does not.
VALUES = {"auto", "cpu", "cuda", "digits", "folder", "mps", "onnx", "openvino", "torch"}

_COMMAND = r"`[^`]*`(?: with --[\w-]+)?|(?<![\w./-])(?:resnest|hf|pip) [a-z](?:[^\n,;)]|,(?! ))*"
_OPTION = r"(?<![\w./-])-(?:-(?P<long>[a-z][a-z0-9-]*)|(?P<short>[bfjkmo]))(?![\w-])"
_VALUE = r"(?: (?P<value>'[^'\n]*'|(?!\(|-\D)\S*[^\s.,:;!?)])(?P<colon>:)?)?"
_FOUND = re.compile(rf"{_COMMAND}|{_OPTION}{_VALUE}")
_NUMBER = r"nan|inf|[\d.]+(?:e-?\d+)?"
_NAME = re.compile(rf"(?!(?:{_NUMBER})$)[a-z0-9][a-z0-9:-]*")


def of_python(message: str) -> str:
    """Return a message with keywords for options."""
    return _FOUND.sub(_keyword, message)


def _keyword(found: re.Match[str]) -> str:
    name = found["long"] or found["short"]
    if name is None:  # a command
        return found[0]
    rest = found[0][len(name) + 1 + bool(found["long"]) :]
    if name in FLAGS | OPPOSITES.keys():
        return f"{OPPOSITES.get(name, name).replace('-', '_')}={name in FLAGS}{rest}"
    keyword = OTHERS.get(name, name).replace("-", "_")
    value = found["value"]
    if value is None or not (found["colon"] or value in VALUES or re.search(r"[^a-z-]", value)):
        return keyword + rest
    quoted = f'"{value}"' if _NAME.fullmatch(value) else value
    return f"{keyword}={quoted}{found['colon'] or ''}"
