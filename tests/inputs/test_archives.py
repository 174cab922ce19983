"""Archives that were made to do harm: bounded time, memory and disk, an error in words, one record for each member."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SAMPLES

from resnest_cli.errors import ExitCode, UnreadableInput, UsageError
from resnest_cli.inputs import archives
from resnest_cli.inputs.labelled.dataset import Dataset
from resnest_cli.inputs.labelled.meanings import MAX_REFUSED
from resnest_cli.models import catalog, labels
from resnest_cli.options import Options
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest

SEVEN = (SAMPLES / "seven_0081.png").read_bytes()
MB = 1 << 20
END = bytes(1024)


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any) -> bytes:  # noqa: ANN401 - of a header
    """Write a member as it stands in an archive; `fields` are of its header."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def sized(block: bytes, size: bytes) -> bytes:
    """Write another size into a header, in the 12 bytes that there are for it, with the checksum that is right then."""
    block = block[:124] + size + block[136:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block[:512]) + block[156:]


def pax(**values: str) -> bytes:
    """Write the content of an extended header."""
    lines = b""
    for name, value in values.items():
        line = f" {name.replace('__', '.')}={value}\n".encode()
        length = next(n for n in range(len(line), len(line) + 20) if len(str(n)) + len(line) == n)
        lines += str(length).encode() + line
    return lines


GOOD = member("seven/good.png", SEVEN)
NEGATIVE = b"\xff" * 11 + b"\x00"  # -256, in base 256
ENDLESS = b"\x80" + b"\x7f" + b"\xff" * 10


def validated(resnest: Resnest, path: Path, content: bytes) -> tuple[int, list[str]]:
    path.write_bytes(content)
    done = resnest("validate", path, "-m", "digits", "-f", "json", "-q")
    assert not done.exception or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, [line.replace(str(path), "X") for line in done.stderr.splitlines()]


BROKEN = {
    "negative": sized(GOOD, NEGATIVE),
    "a circle": GOOD + sized(member("nine/x.png"), (-len(GOOD) - 512).to_bytes(12, "big", signed=True)),
    "negative of a name": GOOD + sized(member("x", kind=tarfile.GNUTYPE_LONGNAME), NEGATIVE),
    "negative in pax": member("x", pax(size="-1024"), tarfile.XHDTYPE) + GOOD,
    "backwards": GOOD + member("x", pax(size="-4096"), tarfile.XHDTYPE) + member("nine/x.png", SEVEN),
    "ends nowhere": sized(GOOD, ENDLESS),
    "ends nowhere in pax": member("x", pax(size="9" * 4000), tarfile.XHDTYPE) + GOOD,
    "large name": GOOD + member("x", b"n" * 2 * MB, tarfile.GNUTYPE_LONGNAME) + GOOD,
    "large pax": GOOD + member("x", pax(path="n" * 2 * MB), tarfile.XHDTYPE) + GOOD,
    "says a large name": GOOD + sized(member("x", kind=tarfile.GNUTYPE_LONGNAME), b"77777777777\0"),
    "nested": GOOD + 1500 * member("x", pax(a="1"), tarfile.XHDTYPE) + GOOD,
    "sparse map": member("x", pax(GNU__sparse__major="1", GNU__sparse__minor="0"), tarfile.XHDTYPE)
    + member("nine/x.png", b"9999999\n"),
    "sparse words": member("x", pax(GNU__sparse__map="a,b"), tarfile.XHDTYPE) + GOOD,
    "global": member("x", pax(**{f"k{i}": "1" for i in range(1000)}), tarfile.XGLTYPE) + GOOD + GOOD,
    "garbage": GOOD + os.urandom(4096),
    "garbage after pax": GOOD + member("x", pax(a="1"), tarfile.XHDTYPE) + os.urandom(4096),
    "half a header": GOOD + GOOD[:300],
    "half a member": GOOD + GOOD[:600],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_header_that_lies_is_one_error_that_names_the_archive(name: str, resnest: Resnest, tmp_path: Path) -> None:
    code, said = validated(resnest, tmp_path / "x.tar", BROKEN[name] + (b"" if name == "half a member" else END))
    assert code == ExitCode.FAILED
    assert len(said) == 1
    assert said[0].startswith("error: X cannot be read: ")


def test_each_guard_against_going_back_holds_by_itself(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(sized(GOOD, NEGATIVE) + END)
    with (
        pytest.raises(UnreadableInput, match="a member has a negative size"),
        archives.opened(str(tmp_path / "x.tar")) as archive,
    ):
        next(archive.members())
    with (tmp_path / "x.tar").open("rb") as content:
        file = archives._Forwards(content, MB)  # noqa: SLF001 - what tarfile reads from
        file.allowed = MB
        file.read(512)
        with pytest.raises(archives._BeyondLimitsError, match="a header leads backwards"):  # noqa: SLF001 - as above
            file.seek(511)
        with pytest.raises(archives._BeyondLimitsError, match="it has a header of more than 1 MB"):  # noqa: SLF001 - as above
            file.read(-1)


ODD = {
    "nine/hole.png": member("nine/hole.png", kind=tarfile.GNUTYPE_SPARSE),
    "nine/soft.png": member("nine/soft.png", kind=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "nine/hard.png": member("nine/hard.png", kind=tarfile.LNKTYPE, linkname="seven/good.png"),
    "nine/device.png": member("nine/device.png", kind=tarfile.CHRTYPE),
    "nine/pipe.png": member("nine/pipe.png", kind=tarfile.FIFOTYPE),
    "/nine/absolute.png": member("/nine/absolute.png", b"no image"),
    "../../nine/above.png": member("../../nine/above.png", b"no image"),
    "nine/empty.png": member("nine/empty.png"),
    "nine/folder.png": member("nine/folder.png", kind=tarfile.DIRTYPE),
}


def test_each_member_has_one_record_and_none_is_followed(resnest: Resnest, tmp_path: Path) -> None:
    code, said = validated(resnest, tmp_path / "x.tar", GOOD + b"".join(ODD.values()) + GOOD + END)
    link = "UnreadableInput: " + archives.unusable(tarfile.TarInfo.frombuf(ODD["nine/soft.png"], "utf-8", ""))
    assert link.startswith("UnreadableInput: a link, a device or the like")
    assert code == ExitCode.SOME_FAILED
    assert said == [
        "X/nine/hole.png: UnreadableInput: a file with holes, which no image has.",
        f"X/nine/soft.png: {link}",
        f"X/nine/hard.png: {link}",
        f"X/nine/device.png: {link}",
        f"X/nine/pipe.png: {link}",
        "X//nine/absolute.png: NotAnImage: this is a text file, not an image.",
        "X/../../nine/above.png: NotAnImage: this is a text file, not an image.",
        "X/nine/empty.png: NotAnImage: the file is empty.",
    ]


def peak(place: Path) -> int:
    """Read an archive to its end; return the most bytes that were held at a time."""
    tracemalloc.start()
    try:
        with archives.opened(str(place)) as archive:
            for each in archive.members():
                if not archives.unusable(each):
                    for _ in archive.read(each):
                        pass
    except UnreadableInput:
        pass
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_a_lying_header_costs_no_memory(tmp_path: Path) -> None:
    """A quarter of a megabyte that unpacks to 64 MB is refused before it is held."""
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE):
        header = sized(member("x", kind=kind), b"%011o\0" % (64 * MB))
        with gzip.open(tmp_path / "x.tar.gz", "wb", compresslevel=1) as out:
            out.write(GOOD + header)
            for _ in range(64):
                out.write(b"n" * MB)
        assert peak(tmp_path / "x.tar.gz") < 8 * MB


@pytest.mark.slow
@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_a_member_is_unpacked_piece_by_piece_and_an_archive_within_a_limit(
    module: Any,  # noqa: ANN401 - they are alike
    resnest: Resnest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archives, "UNPACKED_FREELY", 24 * MB)
    block = member("nine/zero.png", bytes(10 * MB))
    content = module.compress(GOOD + 3 * block + END)
    (tmp_path / "x.tar").write_bytes(content)
    assert peak(tmp_path / "x.tar") < 16 * MB  # of which xz has 8 for itself
    code, said = validated(resnest, tmp_path / "x.tar", content)
    assert code == ExitCode.FAILED
    assert said == ["error: X cannot be read: it holds more than 24 MB, or says so; unpack it, and give the folder."]
    assert validated(resnest, tmp_path / "x.tar", module.compress(GOOD + 2 * block + END))[0] == ExitCode.SOME_FAILED


def test_labels_that_an_archive_makes_up_are_not_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnest_cli.inputs.labelled.meanings.MAX_KNOWN", 10)
    made_up = b"".join(member(f"{i}-no-class/x.png") for i in range(MAX_REFUSED + 100))
    (tmp_path / "x.tar").write_bytes(GOOD + made_up + END)
    named = labels.load(catalog.resolve(Options("digits")), None)
    with pytest.raises(UsageError, match=r"at least 1000 labels cannot be understood:\n  '0-no-class'"):
        Dataset(tmp_path / "x.tar", named)


def test_a_name_beyond_any_file_systems_is_a_record(tmp_path: Path) -> None:
    long = member("x", b"nine/" + b"n" * 5000 + b".png\0", tarfile.GNUTYPE_LONGNAME) + member("y", SEVEN)
    (tmp_path / "x.tar").write_bytes(GOOD + long + GOOD + END)
    dataset = Dataset(tmp_path / "x.tar", labels.load(catalog.resolve(Options("digits")), None))
    found = list(dataset.images(tmp_path))
    assert [isinstance(each, Failure) for each in found] == [False, True, False]
    assert isinstance(found[1], Failure)
    assert (found[1].message, len(found[1].path)) == ("its name has more than 4,096 bytes.", 500)


def test_a_name_may_be_there_twice(resnest: Resnest, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(GOOD + GOOD + END)
    done = resnest("validate", tmp_path / "x.tar", "-m", "digits", "-f", "json", "-q")
    assert '"n": 2' in done.stdout
    assert done.exit_code == ExitCode.OK


def test_what_is_packed_and_no_archive_is_said(resnest: Resnest, tmp_path: Path) -> None:
    for content in (
        gzip.compress(b"text"),
        b"\x1f\x8bno",
        b"BZhno",
        b"\xfd7zXZ\0no",
        b"\x5d\0\0no",
        lzma.compress(b"x" * 600),
    ):
        code, said = validated(resnest, tmp_path / "x.bin", content)
        assert code == ExitCode.USAGE
        assert said[0].startswith("error: X: neither a tar archive nor a table")
