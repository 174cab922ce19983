"""Redact URLs, and texts with URLs in them: *** replaces each secret.

In: a URL as typed, or any message. Out: the same text without user names, passwords, and values of parameters that are
named like secrets. Standard library only. Does not know what a URL leads to.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from re import Match

HIDDEN = "***"
_DECODINGS = 5  # of a name or a value that was encoded again and again
# User name and password, up to the @, also where a path made one slash of two. A password may hold what ends a host
# (`s3://KEY:SE/CRET@bucket`): then the text after the colon is no port, and all up to the last @ is redacted, at most
# 300 characters.
_USER = re.compile(r"(?:(?<=://)|(?<=:/)(?!/))(?:[^/?#@\s:[]*:(?!\d*(?:[/?#\s]|$))\S{0,300}@|[^/?#\s]*@)")
# A parameter of a query, a fragment or a path, and its value; in a text, a blank ends it.
_OF_URL = re.compile(r"([?&;#])([^=&;#?]+)=((?:(?!;[^=&;#]+=)[^&#])*)")
_IN_TEXT = re.compile(r"([?&;#])([^=&;#?\s]+)=((?:(?!;[^=&;#\s]+=)[^&#\s'\"<>])*)")
_NAME = re.compile(r"[?&;#]([^=&;#?]+)=")
_FRAGMENT = re.compile(r"(?<=#).+", re.DOTALL)
_HEADER = re.compile(r"\b(bearer|basic)(\s+)(?=\S*[\d=])[\w.~+/=-]{8,}", re.IGNORECASE)
# Parts of names in lower case without punctuation (subscription-key is subscriptionkey), and whole words of names.
_PART = re.compile(
    "token|secret|passw|passphrase|passcode|pwd|signature|credential|jwt|hmac|saml|session|cookie|bearer|"
    "auth(?!or(?!i[sz]))|access(?:key|id)|keypairid|^xamz|^xgoog|key$"
)
_WORD = re.compile(
    "pass|psw|pw|pat|private|refresh|sig|sign|sas|sid|code|otp|pin|policy|ticket|assertion|md5|hm|hdn(?:ea|ts|tl)"
)


def url(text: str) -> str:
    """Return a URL redacted for display and storage: user name, password, fragment and values named like secrets.

    The name of an object in a store (`s3://`, `gs://`) has no fragment: a # is part of the name.
    """
    hidden = _hide(text, _OF_URL)
    return hidden if text.startswith(("s3://", "gs://")) else _FRAGMENT.sub(HIDDEN, hidden)


def message(text: str) -> str:
    """Return a text with the secrets of its URLs, parts of URLs and headers redacted."""
    return _HEADER.sub(rf"\1\2{HIDDEN}", _hide(text, _IN_TEXT))


def _hide(text: str, parameter: re.Pattern[str]) -> str:
    def value(match: Match[str]) -> str:
        sign, name, content = match.groups()
        return f"{sign}{name}={HIDDEN if _is_secret(name) or _holds_secret(content) else content}"

    return parameter.sub(value, _USER.sub(f"{HIDDEN}@", text))


def _holds_secret(value: str) -> bool:
    """Return whether a value, maybe an encoded URL, holds a user name or a secret parameter."""
    bare = f"?{_decoded(value)}"
    return bool(_USER.search(bare)) or any(map(_is_secret, _NAME.findall(bare)))


def _is_secret(name: str) -> bool:
    """Return whether parameters of this name are secret: names of signed URLs, of logins, and common names."""
    words = re.findall(r"[a-z0-9]+", unicodedata.normalize("NFKC", _decoded(name)).casefold())
    return any(map(_WORD.fullmatch, words)) or bool(_PART.search("".join(words)))


def _decoded(text: str) -> str:
    for _ in range(_DECODINGS):
        if (plain := unquote_plus(text)) == text:
            break
        text = plain
    return text
