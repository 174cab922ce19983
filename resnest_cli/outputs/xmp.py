"""Keywords in XMP sidecars: the list `dc:subject`, read and added to; every other byte stays as it is.

In: the bytes of a sidecar, of ours or of any program. Out: its keywords; the same bytes with one more. The file is
parsed to find the place, and never written anew from what was parsed. A file with a document type is refused, so no
entity is expanded and nothing is fetched. Reads no file.

The format: ISO 16684-1, https://developer.adobe.com/xmp/docs/XMPSpecifications/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
SUBJECT = [f"{RDF} RDF", f"{RDF} Description", f"{DC} subject"]  # what it is in, and itself
LISTS = {f"{RDF} {name}" for name in ("Bag", "Seq", "Alt")}  # a Bag, says the format; programs write others too
EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    f'<rdf:RDF xmlns:rdf="{RDF}">\n'
    "</rdf:RDF>\n"
    "</x:xmpmeta>\n"
    '<?xpacket end="w"?>\n'
).encode()
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DEEPEST = 100  # elements within elements; XMP needs about ten


class OddSidecar(ValueError):
    """A sidecar, or a keyword, that is left alone; the message says why."""


@dataclass
class _Place:
    """What a parse finds: the keywords, and where the next one goes.

    Attributes:
        keywords: in their order.
        about: what the descriptions are of; all of a file say the same.
        list_end: the byte at which the list of keywords ends, -1 if there is none.
        rdf_end: the byte at which the descriptions end.
        has_subject: there is a `dc:subject`.
    """

    keywords: list[str] = field(default_factory=list)
    about: str = ""
    list_end: int = -1
    rdf_end: int = -1
    has_subject: bool = False


def keywords(content: bytes) -> list[str]:
    """Return the keywords of a sidecar.

    Raises:
        OddSidecar: it is no XMP as UTF-8, or has a document type.
    """
    return _parse(content).keywords


def with_keyword(content: bytes, keyword: str) -> bytes:
    """Return the sidecar with one more keyword; the same bytes if it has it.

    Raises:
        OddSidecar: it is no XMP as UTF-8, has a document type, or no place for a keyword; or XML cannot hold it.
    """
    if _NOT_IN_XML.search(keyword) or not keyword.strip():
        raise OddSidecar("XML cannot hold its class name.")
    place = _parse(content)
    if keyword in place.keywords:
        return content
    at = place.list_end if place.has_subject else place.rdf_end
    if at < 0 or not content.startswith(b"</", at):  # no list, or an element without an end of its own
        raise OddSidecar("its XMP has no place for a keyword.")
    prefix = content[at + 2 : content.index(b">", at)].strip().decode().rpartition(":")[0]
    new = _item(keyword, prefix) if place.has_subject else _description(keyword, prefix, place.about)
    changed = content[:at] + new.encode() + content[at:]
    if keywords(changed) != [*place.keywords, keyword]:
        raise OddSidecar("its XMP has no place for a keyword.")
    return changed


def _item(keyword: str, prefix: str) -> str:
    name = f"{prefix}:li" if prefix else "li"
    return f"<{name}>{escape(keyword)}</{name}>"


def _description(keyword: str, prefix: str, about: str) -> str:
    """Return a description with all names declared, so that it fits any file."""
    rdf = prefix or "rdf"
    return (
        f'<{rdf}:Description xmlns:{rdf}="{RDF}" {rdf}:about={quoteattr(about)} xmlns:dc="{DC}">'
        f"<dc:subject><{rdf}:Bag>{_item(keyword, rdf)}</{rdf}:Bag></dc:subject></{rdf}:Description>\n"
    )


def _parse(content: bytes) -> _Place:
    """Find keywords and places.

    Raises:
        OddSidecar: see `keywords`.
    """
    try:
        content.decode()
        found = _Reader().read(content)
    except (UnicodeDecodeError, expat.ExpatError) as error:
        raise OddSidecar("it is no XMP as UTF-8.") from error
    if found.rdf_end < 0:
        raise OddSidecar("it is no XMP as UTF-8.")
    return found


class _Reader:
    """Follows the elements of a sidecar."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = _refuse
        self._path: list[str] = []
        self._item = ""
        self._found = _Place()

    def read(self, content: bytes) -> _Place:
        """Return what is found."""
        self._parser.Parse(content, True)  # noqa: FBT003 - the parser takes no keywords
        return self._found

    def _is_list(self, path: list[str]) -> bool:
        return path[-4:-1] == SUBJECT and path[-1] in LISTS

    def _start(self, name: str, given: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > _DEEPEST:
            raise OddSidecar("it is no XMP as UTF-8.")
        if self._path[-3:] == SUBJECT:
            if self._found.has_subject:  # one per file, says the format: which one programs read is unknown
                raise OddSidecar("its XMP has more than one list of keywords.")
            self._found.has_subject = True
        if name == f"{RDF} Description":
            self._found.about = self._found.about or given.get(f"{RDF} about", given.get("about", ""))
        self._item = ""

    def _end(self, name: str) -> None:
        if name == f"{RDF} RDF":
            self._found.rdf_end = self._parser.CurrentByteIndex
        if self._is_list(self._path):
            self._found.list_end = self._parser.CurrentByteIndex
        if self._is_list(self._path[:-1]) and name == f"{RDF} li":
            self._found.keywords.append(self._item)
        self._path.pop()

    def _text(self, text: str) -> None:
        self._item += text


def _refuse(*_: object) -> NoReturn:
    raise OddSidecar("it has a document type, which XMP never has.")
