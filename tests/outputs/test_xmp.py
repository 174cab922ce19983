"""A keyword goes into the list of a sidecar; every other byte stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_cli.outputs import xmp
from resnest_cli.outputs.xmp import OddSidecar, keywords, with_keyword

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
# In the way of darktable, Lightroom (a byte order mark, CRLF), digiKam (one line), another prefix, no prefix.
BEGUN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
KNOWN = {
    "darktable": f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" {DC} xmp:Rating="1">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Caf\u00e9 &amp; bar</rdf:li>
    </rdf:Bag>
   </dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
""",
    "lightroom": f"""\ufeff{BEGUN}
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about='' {DC}>
   <!-- </rdf:Bag> --><dc:subject><rdf:Bag><rdf:li>Caf\u00e9 &#38; bar</rdf:li></rdf:Bag ></dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>""".replace("\n", "\r\n"),
    "another prefix": (
        f"<r:RDF {RDF.replace(':rdf', ':r')}><r:Description {DC.replace(':dc', ':d')}><d:subject><r:Seq>"
        "<r:li><![CDATA[Caf\u00e9 & bar]]></r:li></r:Seq></d:subject></r:Description></r:RDF>"
    ),
    "no prefix": (
        f"<RDF {RDF.replace(':rdf', '')}><Description {DC}><dc:subject><Bag><li>Caf\u00e9 &amp; bar</li></Bag>"
        "</dc:subject></Description></RDF>"
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_all_but_the_new_keyword_stays(name: str) -> None:
    old = KNOWN[name].encode()
    new = with_keyword(old, "d\u00f6g <2>")
    assert (keywords(old), keywords(new)) == (["Caf\u00e9 & bar"], ["Caf\u00e9 & bar", "d\u00f6g <2>"])
    prefix = {"another prefix": "r:", "no prefix": ""}.get(name, "rdf:")
    assert new.replace(f"<{prefix}li>d\u00f6g &lt;2&gt;</{prefix}li>".encode(), b"", 1) == old
    assert with_keyword(new, "d\u00f6g <2>") == new
    assert with_keyword(new, "Caf\u00e9 & bar") == new


@pytest.mark.parametrize("prefix", ["rdf:", "r:", ""])
def test_a_sidecar_without_keywords_gets_a_description_of_the_same_thing(prefix: str) -> None:
    xmlns = RDF.replace(":rdf", f":{prefix[:-1]}" if prefix else "")
    old = f'<{prefix}RDF {xmlns}><{prefix}Description {prefix}about="uuid:&quot;1"/></{prefix}RDF>'.replace(
        " about=", " about=" if prefix else " rdf:about="
    )
    old = old if prefix else old.replace("<Description", f"<Description {RDF}")
    new = with_keyword(old.encode(), "dog").decode()
    assert new.startswith(old.partition("</")[0])
    assert new.endswith(f"</{prefix}RDF>")
    assert new.count("""about='uuid:"1'""") == 1
    assert keywords(new.encode()) == ["dog"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"), min_size=1)))
def test_any_keywords_are_read_back_in_their_order(words: list[str]) -> None:
    words = [word for word in words if word.strip()]
    content = xmp.EMPTY
    for word in words:
        content = with_keyword(content, word)
    assert keywords(content) == [*dict.fromkeys(words)]


def test_keywords_of_other_things_in_the_file_are_not_its_own() -> None:
    inner = (
        "<rdf:Description><dc:subject><rdf:Bag><rdf:li>of its source</rdf:li></rdf:Bag></dc:subject></rdf:Description>"
    )
    old = f'<rdf:RDF {RDF}><rdf:Description {DC} xmlns:m="m"><m:From>{inner}</m:From></rdf:Description></rdf:RDF>'
    assert keywords(old.encode()) == []
    assert keywords(with_keyword(old.encode(), "dog")) == ["dog"]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is no XMP"),
        (b"<a>", "it is no XMP"),
        (b"<a/>", "it is no XMP"),
        (b"\xff\xd8\xff", "it is no XMP"),
        (KNOWN["darktable"].encode("utf-16"), "it is no XMP"),
        (KNOWN["darktable"].replace("UTF-8", "ISO-8859-1").encode("latin-1"), "it is no XMP"),
        (b"<a>" * 10_000 + b"</a>" * 10_000, "it is no XMP"),
        (f"{BOMB}<rdf:RDF {RDF}>&b;</rdf:RDF>".encode(), "it has a document type"),
        (f'<!DOCTYPE x SYSTEM "file:///etc/passwd"><rdf:RDF {RDF}></rdf:RDF>'.encode(), "it has a document type"),
        (f"<rdf:RDF {RDF}/>".encode(), "no place"),
        (
            f"<rdf:RDF {RDF}><rdf:Description {DC}><dc:subject>a</dc:subject></rdf:Description></rdf:RDF>".encode(),
            "no place",
        ),
        (
            f"<rdf:RDF {RDF}><rdf:Description {DC}><dc:subject><rdf:Bag/></dc:subject></rdf:Description>"
            "</rdf:RDF>".encode(),
            "no place",
        ),
        (
            f"<rdf:RDF {RDF}><rdf:Description {DC}>{'<dc:subject><rdf:Bag></rdf:Bag></dc:subject>' * 2}"
            "</rdf:Description></rdf:RDF>".encode(),
            "more than one list",
        ),
    ],
)
def test_an_odd_sidecar_is_left_alone(content: bytes, why: str) -> None:
    with pytest.raises(OddSidecar, match=why):
        with_keyword(content, "dog")


@pytest.mark.parametrize("word", ["", " ", "a\0", "\udcff", "\x1b[31m", "\ufffe"])
def test_what_xml_cannot_hold_is_no_keyword(word: str) -> None:
    with pytest.raises(OddSidecar, match="XML cannot hold"):
        with_keyword(xmp.EMPTY, word)
