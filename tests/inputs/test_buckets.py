"""Objects as inputs: what is a name of one, who is asked for it, and with whose word."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SAMPLES
from hub_stub import Page, Stub

from resnest_cli.inputs import buckets
from resnest_cli.inputs.find import find_sources
from resnest_cli.inputs.read import read_source
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Resnest

pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed: pip install 'resnest-cli[parquet]'")
SEVEN = SAMPLES / "seven_0081.png"
DIGITS = ("-m", "digits", "-k", "1", "-f", "jsonl")
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "se/cret", "AWS_SESSION_TOKEN": "session"}


@pytest.fixture
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user who may sign requests."""
    for name, value in {**KEYS, "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def store(_keys: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Run a store of the user's own, on a private address."""
    with Stub({"/photos/seven.png": Page(SEVEN.read_bytes()), "/other/x.png": Page(b"of another bucket")}) as stub:
        monkeypatch.setenv("AWS_ENDPOINT_URL", stub.url)
        yield stub


@pytest.fixture
def stranger() -> Iterator[Stub]:
    """Run what waits for signed requests."""
    with Stub() as stub:
        yield stub


def rows(resnest: Resnest, *words: str | Path) -> list[dict[str, Any]]:
    done = resnest("predict", *words, *DIGITS)
    assert done.exit_code == 3, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def hostile(place: str) -> list[str]:
    """Make names that say more than a bucket and a key; `place` is HOST:PORT."""
    return [
        f"s3://photos?endpoint_override={place}&scheme=http&region=us-east-1/x.jpg",
        f"gs://photos?endpoint_override={place}&scheme=http/x.jpg",
        f"s3://{place}/photos/x.jpg",
        f"s3://AKIAOWN:se/cret@photos?endpoint_override={place}&scheme=http/x.jpg",
        f"s3://photos#@{place}/x.jpg",
        f"s3://photos?tls_ca_file_path=/etc/passwd&endpoint_override={place}/x.jpg",
        f"s3://photos%3Fendpoint_override={place}/x.jpg",
        f"s3://photos\n?endpoint_override={place}/x.jpg",
        f"s3://Photos?endpoint_override={place}/x.jpg",
        *(
            "s3:///x.jpg",
            "gs://b c/x",
            "s3://b?bogus=1",
            "s3://",
            "gs://-",
            "s3://../x.jpg",
            "s3://[::1]/x",
            "gs://ä/x",
        ),
    ]


@pytest.mark.usefixtures("_keys")
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_name_says_a_bucket_and_a_key_and_never_whom_to_ask(
    stranger: Stub, resnest: Resnest, tmp_path: Path, workers: str
) -> None:
    names = hostile(f"127.0.0.1:{stranger.port}")
    given = [str(SEVEN), *(word for name in names for word in (name, str(SEVEN)))]
    (tmp_path / "list").write_bytes(b"\0".join(word.encode() for word in given))
    listed = rows(resnest, "--files-from", tmp_path / "list", "-0", "-j", workers)
    assert len(listed) == len(given)
    assert [row["path"] for row in listed[::2]] == [str(SEVEN)] * (len(names) + 1)
    assert {row["predictions"][0]["label"] for row in listed[::2]} == {"seven"}
    assert {row["error"]["type"] for row in listed[1::2]} == {"UrlRefused"}
    assert all("it names no bucket" in row["error"]["message"] for row in listed[1::2])
    assert rows(resnest, *given, "-j", workers) == listed
    assert stranger.log == []


@pytest.mark.usefixtures("_keys")
def test_an_index_and_a_table_say_no_more(stranger: Stub, resnest: Resnest, tmp_path: Path) -> None:
    from pyarrow import parquet

    names = [name for name in hostile(f"127.0.0.1:{stranger.port}") if "\n" not in name]
    parquet.write_table(pa.table({"path": [*names, str(SEVEN)]}), tmp_path / "i.parquet")
    found = rows(resnest, "--files-from", tmp_path / "i.parquet")
    assert [row.get("error", {}).get("type") for row in found] == ["UrlRefused"] * len(names) + [None]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *(f'"{name}",seven' for name in names), f"{SEVEN},seven"]))
    done = resnest("validate", tmp_path / "t.csv", "-m", "digits", "-f", "json")
    assert (json.loads(done.stdout)["n"], json.loads(done.stdout)["errors"]) == (1, len(names))
    assert stranger.log == []


def test_the_users_own_store_is_asked_signed_and_needs_no_further_word(
    store: Stub, stranger: Stub, resnest: Resnest, tmp_path: Path
) -> None:
    from pyarrow import parquet

    (tmp_path / "list").write_text("s3://photos/seven.png\ns3://photos/none.png\n")
    parquet.write_table(
        pa.table({"path": pa.array(["s3://photos/seven.png"]).dictionary_encode()}), tmp_path / "i.parquet"
    )
    found = rows(resnest, "s3://photos/seven.png", "--files-from", tmp_path / "list")
    assert [row["status"] for row in found] == ["ok", "ok", "error"]
    assert found[2]["error"] == {"type": "UnreadableInput", "message": "no such object."}
    done = resnest("predict", "--files-from", tmp_path / "i.parquet", *DIGITS)
    assert json.loads(done.stdout)["predictions"] == found[0]["predictions"]
    assert all(headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAOWN/") for headers in store.headers)
    assert stranger.log == []


def test_without_keys_nothing_is_signed(store: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for cached in (buckets._region, buckets._amazon):  # noqa: SLF001 - they keep what they found with keys
        cached.cache_clear()
    assert read_source(Source("s3://photos/seven.png")) == SEVEN.read_bytes()
    assert [headers.get("authorization") for headers in store.headers] == [None, None]


@pytest.mark.parametrize(
    "key", ["../other/x.png", "a/../../other/x.png", "./seven.png", "seven.png\0.jpg", "..", "a//b", "/x", "."]
)
def test_a_key_leads_to_no_other_object(store: Stub, key: str) -> None:
    (found,) = find_sources([f"s3://photos/{key}"])
    assert isinstance(found, Failure)
    assert (found.type, found.message[:7]) == ("UrlRefused", "the key")
    assert store.log == []


LIST = "/photos?delimiter=%2F&list-type=2&max-keys=1000"


def listing(*keys: str, folder: str = "") -> Page:
    """Make what a store answers that is asked what it has."""
    contents = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    folders = f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" if folder else ""
    return Page(f"<ListBucketResult><Name>photos</Name>{contents}{folders}</ListBucketResult>".encode())


def test_a_listing_leads_to_no_other_bucket(store: Stub, resnest: Resnest) -> None:
    store.pages[LIST] = listing("seven.png", "x?token=hush.png", folder="../")
    store.pages[f"{LIST}&prefix=..%2F"] = listing("../x.png", folder="../other/")
    store.pages[f"{LIST}&prefix=..%2Fother%2F"] = listing("../other/x.png")
    found = rows(resnest, "s3://photos/", "-j", "0")
    assert [(row["path"], row.get("error", {}).get("type")) for row in found] == [
        ("s3://photos/../other/x.png", "UrlRefused"),
        ("s3://photos/../x.png", "UrlRefused"),
        ("s3://photos/seven.png", None),
        ("s3://photos/x?token=***", "UnreadableInput"),
    ]
    assert not any("/other/x.png" in line or line.endswith("/x.png") for line in store.log)


@pytest.mark.slow
def test_a_store_whose_folders_never_end_is_a_row(store: Stub, resnest: Resnest) -> None:
    store.pages["/photos"] = listing(folder="a/")
    bad, good = rows(resnest, "s3://photos/", SEVEN, "-j", "0")
    assert (bad["path"], bad["error"]["type"], good["status"]) == ("s3://photos/", "UnreadableInput", "ok")


@pytest.mark.usefixtures("_keys")
def test_where_a_bucket_is_is_asked_for_of_amazon_alone(store: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import fs

    asked: list[str] = []

    def resolve(bucket: str) -> str:
        asked.append(bucket)
        return "eu-west-1"

    monkeypatch.setattr(fs, "resolve_s3_region", resolve)
    own, _ = buckets.opened("s3://my-photos/x")
    assert (own.region, asked) == ("us-east-1", [])
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    elsewhere, place = buckets.opened("s3://my-photos/x?endpoint_override=127.0.0.1")
    assert (elsewhere.region, place, asked) == ("eu-west-1", "my-photos/x?endpoint_override=127.0.0.1", ["my-photos"])
    assert store.log == []


def test_a_key_that_looks_like_a_secret_is_read_and_not_shown(store: Stub) -> None:
    store.pages["/photos/x%3Ftoken%3Dhush"] = Page(b"image")
    (found,) = find_sources(["s3://photos/x?token=hush"])
    assert isinstance(found, Source)
    assert (found.path, read_source(found)) == ("s3://photos/x?token=***", b"image")
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([1, 2], "row 1 holds 1, and no name."),
        ([b"a.png"], "its column path holds binary."),
        ([["a.png"]], "its column path holds list<"),
        ([{"a": 1}], "its column path holds struct<"),
    ],
    ids=["integers", "bytes", "lists", "structs"],
)
def test_an_index_without_text_is_refused(resnest: Resnest, tmp_path: Path, column: list[Any], said: str) -> None:
    from pyarrow import parquet

    parquet.write_table(pa.table({"path": column}), tmp_path / "i.parquet")
    done = resnest("predict", str(SEVEN), "--files-from", tmp_path / "i.parquet", *DIGITS)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_that_names_no_bucket_is_refused(resnest: Resnest) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed: pip install 'resnest-cli[ray]'")
    from resnest_cli.cluster.folder import Folder
    from resnest_cli.errors import UsageError

    with pytest.raises(UsageError, match=r"output=s3://\*\*\*@b/rows/: it names no bucket"):
        Folder.at("s3://KEY:hush@b/rows/", {})
    done = resnest("predict", str(SEVEN), "--files-from", "s3://KEY:hush@b/index.parquet", *DIGITS)
    assert (done.exit_code, "s3://***@b/index.parquet" in done.stderr, "hush" in done.stderr) == (2, True, False)


def test_without_pyarrow_an_object_that_is_listed_is_a_row_and_one_that_is_typed_ends_the_command(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyarrow", "pyarrow.fs"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "list").write_text(f"s3://photos/x.png\n{SEVEN}\n")
    listed = rows(resnest, "--files-from", tmp_path / "list")
    assert [row["status"] for row in listed] == ["error", "ok"]
    assert "pip install 'resnest-cli[parquet]'" in listed[0]["error"]["message"]
    done = resnest("predict", "s3://photos/x.png", *DIGITS)
    assert (done.exit_code, "pip install 'resnest-cli[parquet]'" in done.stderr) == (2, True)
