"""What is secret in a URL, and how a URL and any text with URLs in it are shown: with *** in its place.

In: a URL as it was typed, or a message of whatever origin. Out: the same without user names, passwords, and the values
of parameters that are named like secrets. Standard library only. Does not know what a URL leads to.
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
# All up to the @: a user name and password, also where a path has made one slash of two. A password may hold what ends
# a host (`s3://KEY:SE/CRET@bucket`): then what follows the colon is no port, and all up to the last @ is taken, but not
# from the other end of a long text.
_USER = re.compile(r"(?:(?<=://)|(?<=:/)(?!/))(?:[^/?#@\s:[]*:(?!\d*(?:[/?#\s]|$))\S{0,300}@|[^/?#\s]*@)")
# A parameter of a query, a fragment or a path, and its value; in a text the first blank ends it.
_OF_URL = re.compile(r"([?&;#])([^=&;#?]+)=((?:(?!;[^=&;#]+=)[^&#])*)")
_IN_TEXT = re.compile(r"([?&;#])([^=&;#?\s]+)=((?:(?!;[^=&;#\s]+=)[^&#\s'\"<>])*)")
_NAME = re.compile(r"[?&;#]([^=&;#?]+)=")
_FRAGMENT = re.compile(r"(?<=#).+", re.DOTALL)
_HEADER = re.compile(r"\b(bearer|basic)(\s+)(?=\S*[\d=])[\w.~+/=-]{8,}", re.IGNORECASE)
# Names as they are without case: in what is left without signs (subscription-key is subscriptionkey), and whole words.
_PART = re.compile(
    "token|secret|passw|passphrase|passcode|pwd|signature|credential|jwt|hmac|saml|session|cookie|bearer|"
    "auth(?!or(?!i[sz]))|access(?:key|id)|keypairid|^xamz|^xgoog|key$"
)
_WORD = re.compile(
    "pass|psw|pw|pat|private|refresh|sig|sign|sas|sid|code|otp|pin|policy|ticket|assertion|md5|hm|hdn(?:ea|ts|tl)"
)


def url(text: str) -> str:
    """Return a URL as it may be shown and stored: without user name, password, fragment and values named like secrets.

    The name of an object in a store (`s3://`, `gs://`) has no fragment: a # in it is a part of the name.
    """
    hidden = _hide(text, _OF_URL)
    return hidden if text.startswith(("s3://", "gs://")) else _FRAGMENT.sub(HIDDEN, hidden)


def message(text: str) -> str:
    """Return a text without the secrets of the URLs, parts of URLs and headers that stand in it."""
    return _HEADER.sub(rf"\1\2{HIDDEN}", _hide(text, _IN_TEXT))


def _hide(text: str, parameter: re.Pattern[str]) -> str:
    def value(match: Match[str]) -> str:
        sign, name, content = match.groups()
        return f"{sign}{name}={HIDDEN if _is_secret(name) or _holds_secret(content) else content}"

    return parameter.sub(value, _USER.sub(f"{HIDDEN}@", text))


def _holds_secret(value: str) -> bool:
    """Tell whether a value, which may hold a URL, encoded or not, has a user name or a secret parameter in it."""
    bare = f"?{_decoded(value)}"
    return bool(_USER.search(bare)) or any(map(_is_secret, _NAME.findall(bare)))


def _is_secret(name: str) -> bool:
    """Tell whether a parameter of this name lets others in: the names of signed URLs, of logins, and the usual ones."""
    words = re.findall(r"[a-z0-9]+", unicodedata.normalize("NFKC", _decoded(name)).casefold())
    return any(map(_WORD.fullmatch, words)) or bool(_PART.search("".join(words)))


def _decoded(text: str) -> str:
    for _ in range(_DECODINGS):
        if (plain := unquote_plus(text)) == text:
            break
        text = plain
    return text
