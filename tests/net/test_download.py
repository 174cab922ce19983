"""Downloads under every fault that a network, a disk or a user can play: one good copy, or a cause in words."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from hub_stub import Page, Stub, closed_port, commit_of, only_hub, repository

from resnest_cli.errors import OutputError, WeightsUnavailable
from resnest_cli.models import catalog, hub, hub_cache, labels, weights
from resnest_cli.net import connection, exchange, transfer
from resnest_cli.system import files
from resnest_cli.tasks import download

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Resnest, Shell

SPEC = replace(catalog.find_model("resnest14d"), facts={})  # without a mirror
CONTENT = random.Random(14).randbytes(300_000)  # noqa: S311 - no secret
PATH = f"/{SPEC.repo}/resolve/main/model.safetensors"
MIRROR_NAME = f"resnest14-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"

# Fetches in a fork for each line of standard input, and says the number of the process, and that it has ended.
FETCH_AGAIN = f"""
import os, sys, requests
from resnest_cli.models import hub
for _ in sys.stdin:
    if not (child := os.fork()):
        hub.fetch({SPEC.repo!r}, "model.safetensors")
        os._exit(0)
    print(child, flush=True)
    os.wait()
    print("ended", flush=True)
"""
FETCH = f"""
from resnest_cli.models import hub
hub.fetch({SPEC.repo!r}, "model.safetensors")
"""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Play a hub with one file, ask it with little patience, and let nothing but loopback be reached."""
    monkeypatch.setattr(transfer, "STALL_S", 1.0)
    monkeypatch.setattr(transfer, "TOTAL_STALL_S", 1.2)
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(connection, "READ_S", 0.3)
    monkeypatch.setattr(connection, "CONNECT_S", 0.5)
    with only_hub(repository(SPEC.repo, {"model.safetensors": CONTENT}), monkeypatch) as stub:
        yield stub


@pytest.fixture
def torch_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def kept() -> list[Path]:
    """List the files with content in the Hugging Face cache."""
    files = [path for path in Path(os.environ["HF_HOME"]).rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if path.suffix != ".lock" and path.parent.name != "refs"]


def fails(expected: str, kind: type[Exception] = WeightsUnavailable) -> str:
    """Ask for the weights, which must fail in words and leave nothing that could be used."""
    with pytest.raises(kind) as caught:
        weights.locate(SPEC)
    assert expected in str(caught.value)
    assert weights.cached(SPEC) is None
    assert [path for path in kept() if not path.name.endswith(transfer.PARTIAL)] == []
    return str(caught.value)


def succeeds() -> None:
    path = weights.locate(SPEC)
    assert path.read_bytes() == CONTENT
    assert [path.resolve()] == kept()


# The hub


def test_every_other_tool_finds_what_was_downloaded(site: Stub, shell: Shell) -> None:
    succeeds()
    code = (
        "import sys; from huggingface_hub import hf_hub_download, scan_cache_dir\n"
        "print(hf_hub_download(sys.argv[1], 'model.safetensors', local_files_only=True))\n"
        "(repo,) = scan_cache_dir().repos; print(repo.repo_id, repo.size_on_disk, scan_cache_dir().warnings)"
    )
    done = shell(sys.executable, "-c", code, SPEC.repo, HF_HUB_OFFLINE="1")
    found, scanned = done.stdout.decode().splitlines()
    assert Path(found).read_bytes() == CONTENT
    assert scanned == f"{SPEC.repo} {len(CONTENT)} []"
    assert site.log == [f"HEAD {PATH}", f"GET {PATH}"]


def test_a_file_that_the_hub_serves_by_xet_comes_as_well(site: Stub) -> None:
    page = site.pages[PATH]
    site.pages[PATH] = replace(page, headers={**page.headers, "X-Xet-Hash": "a" * 64})
    succeeds()


def test_a_large_file_comes_from_another_host_without_the_token(site: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    page = site.pages[PATH]
    with Stub({"/blob?sig=1": Page(CONTENT)}) as store:
        moved = {**page.headers, "Location": f"{store.url}/blob?sig=1", "Content-Length": "0"}
        site.pages[PATH] = Page(status=302, headers=moved)
        succeeds()
        assert {headers.get("authorization") for headers in site.headers} == {"Bearer hf_of_the_user"}
        assert [headers.get("authorization") for headers in store.headers] == [None]


def test_a_password_in_netrc_is_not_sent(site: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    succeeds()
    assert {headers.get("authorization") for headers in site.headers} == {"Bearer hf_of_the_user"}


def test_a_token_of_hf_auth_login_is_sent(site: Stub) -> None:
    home = Path(os.environ["HF_HOME"])
    home.mkdir(parents=True)
    (home / "token").write_text("hf_kept\n")
    weights.locate(SPEC)
    assert {headers.get("authorization") for headers in site.headers} == {"Bearer hf_kept"}


def test_a_redirect_from_https_to_http_is_refused(site: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    headers = {**site.pages[PATH].headers, "Location": site.url + PATH, "Content-Length": "0"}
    with Stub({PATH: Page(status=302, headers=headers)}, context) as secure:
        monkeypatch.setenv("HF_ENDPOINT", secure.url)
        fails("from https to http")
        assert site.log == []
        secure.pages = repository(SPEC.repo, {"model.safetensors": CONTENT})
        succeeds()
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        weights.locate(SPEC).unlink()
        assert "certificate" in fails_again()


def fails_again() -> str:
    with pytest.raises(WeightsUnavailable) as caught:
        hub.probe(SPEC.repo, "model.safetensors")
    return str(caught.value)


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://["])
def test_a_redirect_to_another_scheme_is_refused(site: Stub, place: str) -> None:
    site.pages[PATH] = Page(status=302, headers={"Location": place})
    fails("redirects to")


def test_redirects_in_a_circle_are_refused(site: Stub) -> None:
    site.pages[PATH] = Page(status=302, headers={"Location": PATH})
    fails("more than 5 redirects")
    assert len(site.log) == 6


# Faults of the network; scripts/faults/network_faults.py times them with the real limits


def test_a_flipped_byte_is_refused_and_the_next_run_recovers(site: Stub) -> None:
    site.faults["GET"] = "flip"
    fails("damaged")
    assert kept() == []
    site.faults.clear()
    succeeds()


def test_a_damaged_part_of_before_does_not_stand_in_the_way(site: Stub) -> None:
    site.cuts = 1000
    fails("bytes had arrived")
    site.cuts = 0
    (part,) = kept()
    part.write_bytes(bytes(len(part.read_bytes())))
    succeeds()


def test_a_cut_is_taken_up_where_it_was(site: Stub) -> None:
    site.cuts = 1
    succeeds()
    assert [headers.get("range") for headers in site.headers] == [None, None, f"bytes={len(CONTENT) // 2}-"]


def test_a_part_that_is_whole_already_only_needs_its_name(site: Stub) -> None:
    blob = weights.locate(SPEC).resolve()
    blob.rename(blob.with_name(blob.name + transfer.PARTIAL))
    site.log.clear()
    succeeds()
    assert site.log == [f"HEAD {PATH}"]


def test_endless_cuts_end(site: Stub) -> None:
    site.cuts = 10**6
    fails(f"of {len(CONTENT)} bytes had arrived")


def test_endless_cuts_of_a_server_without_ranges_end(site: Stub) -> None:
    site.cuts = 10**6
    site.faults["GET"] = "no ranges"
    fails(f"{len(CONTENT) // 2} of {len(CONTENT)} bytes had arrived")
    assert len(site.log) < 10


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("fault", ["silence", "slow headers"])
def test_an_answer_that_does_not_come_is_not_waited_for(site: Stub, method: str, fault: str) -> None:
    site.faults[method] = fault
    message = fails(site.url + PATH)
    assert "silent" in message or "longer than 1 s" in message or "16384 bytes arrived within" in message


@pytest.mark.parametrize("fault", ["slow body", "stall"])
def test_a_body_that_does_not_come_is_not_waited_for(site: Stub, fault: str) -> None:
    site.faults["GET"] = fault
    message = fails(site.url + PATH)
    assert "silent" in message or "longer than 1 s" in message or "16384 bytes arrived within" in message


def test_refused_and_unknown_and_unreachable_hosts_are_told_apart(site: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as nowhere:
        monkeypatch.setenv("HF_ENDPOINT", nowhere)
        fails("connection refused")
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1.nowhere.invalid")
        monkeypatch.setenv("NO_PROXY", "nowhere.invalid")
        fails("not known to DNS")
        monkeypatch.setenv("HTTP_PROXY", nowhere)
        monkeypatch.setenv("NO_PROXY", "")
        fails("the proxy 127.0.0.1 port")
    assert site.log == []


def test_a_resolver_that_does_not_answer_is_not_waited_for(site: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [site.closing.wait()][1:])
    fails("DNS does not answer")


def test_the_first_word_comes_before_the_first_request_and_each_further_try_is_said(
    site: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that takes a connection and never answers keeps one waiting: for what, is to be known from the start."""
    caplog.set_level("INFO", "resnest_cli")
    real, said = exchange.request, []

    def request(*args: Any, **how: Any) -> Any:  # noqa: ANN401 - passed on
        said.append(caplog.messages[:])
        return real(*args, **how)

    monkeypatch.setattr(exchange, "request", request)
    site.faults = dict.fromkeys(("CONNECT", "HEAD", "GET"), "silence")
    monkeypatch.setenv("HTTPS_PROXY", site.url)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    fails("hub.example")
    first = "downloading resnest14d from hub.example"
    again = "the server was silent for 0.3 s: retrying"
    assert said[:2] == [[first], [first, again]]
    assert site.log[:2] == ["CONNECT hub.example:443"] * 2


def test_a_busy_hub_is_asked_again(site: Stub) -> None:
    site.faults.update(HEAD="busy once", GET="busy once")
    succeeds()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_stays_busy_is_given_up(site: Stub, status: int) -> None:
    site.pages[PATH] = Page(status=status, headers={"Retry-After": "0"})
    fails(str(status))
    assert len(site.log) == transfer.MAX_FRUITLESS_TRIES


@pytest.mark.parametrize("wait", ["3600", "Fri, 01 Jan 2500 00:00:00 GMT"])
def test_an_hour_is_not_waited_for(site: Stub, wait: str) -> None:
    site.pages[PATH] = Page(status=429, headers={"Retry-After": wait})
    fails("asks to wait")
    assert len(site.log) == 1


def test_a_login_page_is_no_hub(site: Stub) -> None:
    site.pages[PATH] = Page(b"<html>Welcome to our network</html>", headers={"ETag": '"x"'})
    fails("login page")


@pytest.mark.parametrize("etag", ["", '"x"', '"../../../../etc/passwd"', f'"{"A" * 63}"'])
def test_a_file_without_a_hash_is_refused(site: Stub, etag: str) -> None:
    headers = {"X-Repo-Commit": commit_of(SPEC.repo), "ETag": etag}
    site.pages[PATH] = Page(CONTENT, headers=headers)
    fails("names no hash")


def test_a_commit_that_is_none_is_refused(site: Stub) -> None:
    page = site.pages[PATH]
    site.pages[PATH] = replace(page, headers={**page.headers, "X-Repo-Commit": "../../../evil"})
    fails("X-Repo-Commit")


@pytest.mark.parametrize("more", [7, -7])
def test_a_wrong_announced_size_is_refused(site: Stub, more: int) -> None:
    page = site.pages[PATH]
    site.pages[PATH] = replace(page, headers={**page.headers, "X-Linked-Size": str(len(CONTENT) + more)})
    fails("bytes")


def test_a_small_file_is_checked_by_the_hash_that_git_gives_it(site: Stub) -> None:
    blob = hashlib.sha1(b"blob 2\0{}", usedforsecurity=False).hexdigest()
    headers = {"X-Repo-Commit": commit_of("a/b"), "ETag": f'W/"{blob}"'}
    site.pages = {"/a/b/resolve/main/config.json": Page(b"{}", headers=headers)}
    path = hub.fetch("a/b", "config.json")
    assert hub_cache.verify(path)
    path.write_bytes(b"[]")
    assert not hub_cache.verify(path)
    site.pages = {"/a/c/resolve/main/config.json": Page(b"[]", headers=headers)}
    with pytest.raises(WeightsUnavailable, match="damaged"):
        hub.fetch("a/c", "config.json")


def test_an_older_repository_has_a_pickle(site: Stub) -> None:
    site.pages = repository(SPEC.repo, {"pytorch_model.bin": CONTENT})
    succeeds()
    assert weights.locate(SPEC).name == "pytorch_model.bin"


@pytest.mark.parametrize("repo", ["a/../b", "a@../../x", "a--b/c", "-a/b", "a/b/c", ""])
def test_a_name_that_could_lead_elsewhere_is_refused(site: Stub, repo: str) -> None:
    with pytest.raises(WeightsUnavailable, match="repository name"):
        hub.fetch(repo, "config.json")
    assert site.log == []


def test_a_revision_leads_to_no_file_outside_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "models--a--b" / "snapshots").mkdir(parents=True)
    (tmp_path / "config.json").write_text("{}")
    assert hub_cache.find("a/b@../../..", "config.json") is None


# The mirror


def mirrored(url: str) -> Any:  # noqa: ANN401 - a spec
    facts = {"checkpoint_url": f"{url}/{MIRROR_NAME}", "checkpoint_sha256_prefix": MIRROR_NAME[-12:-4]}
    return replace(SPEC, facts=facts)


@pytest.mark.usefixtures("site")
def test_the_mirror_helps_out_and_this_is_said(
    torch_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "resnest_cli")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    with closed_port() as nowhere, Stub({f"/{MIRROR_NAME}": Page(CONTENT)}) as mirror:
        monkeypatch.setenv("HF_ENDPOINT", nowhere)
        spec = mirrored(mirror.url)
        mirror.cuts = 1
        path = weights.locate(spec)
        assert path == torch_home / MIRROR_NAME
        assert path.read_bytes() == CONTENT
        assert f"connection refused): they are from {mirror.url}" in caplog.text
        assert all("authorization" not in headers for headers in mirror.headers)
        mirror.log.clear()
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert weights.locate(spec) == path
        assert weights.verify(path)
        path.write_bytes(CONTENT[:-1])
        assert not weights.verify(path)
        assert mirror.log == []


@pytest.mark.usefixtures("site")
def test_a_mirror_with_something_else_is_refused(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as nowhere, Stub({f"/{MIRROR_NAME}": Page(CONTENT[1:])}) as mirror:
        monkeypatch.setenv("HF_ENDPOINT", nowhere)
        with pytest.raises(WeightsUnavailable) as caught:
            weights.locate(mirrored(mirror.url))
        for text in ("connection refused", "damaged", nowhere + PATH, mirror.url, "--model digits"):
            assert text in caught.value.message
        assert [path.name for path in torch_home.iterdir()] == [f"{MIRROR_NAME}.lock"]


def test_every_variant_has_a_mirror_with_its_hash_in_its_name() -> None:
    for spec in catalog.list_models():
        assert spec.facts["checkpoint_url"].endswith(f"-{spec.facts['checkpoint_sha256_prefix']}.pth")


# The disk


def test_a_small_disk_is_told_before_the_first_byte(site: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    fails("no space left", OutputError)
    assert kept() == []
    assert f"GET {PATH}" not in site.log


@pytest.mark.usefixtures("site")
def test_a_disk_that_is_full_leaves_no_part(shell: Shell) -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n{FETCH}"
    done = shell(sys.executable, "-c", limited)
    assert b"OutputError" in done.stderr
    assert b"File too large" in done.stderr
    assert kept() == []


@pytest.mark.usefixtures("site")
def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with pytest.raises(OutputError, match="HF_HOME"):
        weights.locate(SPEC)


# Kills and crowds


def test_twenty_kills_at_random_bytes_leave_one_part_that_is_taken_up(site: Stub) -> None:
    chance = random.Random(20)  # noqa: S311 - no secret
    command = [sys.executable, "-c", FETCH_AGAIN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as parent:
        assert parent.stdin
        assert parent.stdout
        for stop_at in (*(chance.randrange(len(CONTENT) // 10) for _ in range(19)), len(CONTENT) // 2):
            site.stopped.clear()
            site.stop_at = stop_at
            parent.stdin.write("again\n")
            child = int(parent.stdout.readline())
            assert site.stopped.wait(30)
            while stop_at == len(CONTENT) // 2 and not any(path.stat().st_size for path in kept()):
                os.sched_yield()  # the last one has written something: a kill may come before
            os.kill(child, signal.SIGKILL)
            assert parent.stdout.readline() == "ended\n"
            assert len(kept()) <= 1
            assert sum(path.stat().st_size for path in kept()) <= len(CONTENT)
    site.stop_at = None
    succeeds()
    assert any(headers.get("range") for headers in site.headers)  # nothing was begun anew in vain


def test_what_nobody_takes_up_is_swept_away(site: Stub) -> None:
    blobs = weights.locate(SPEC).resolve().parent
    for name in ("a.incomplete", f"{'b' * 64}.1234abcd.incomplete", "fresh.incomplete"):
        (blobs / name).write_bytes(b"x")
        if name != "fresh.incomplete":
            os.utime(blobs / name, (0, 0))
    site.pages |= repository(SPEC.repo, {"config.json": b"{}"})
    hub.fetch(SPEC.repo, "config.json")
    assert sorted(path.suffix for path in blobs.iterdir()) == ["", "", ".incomplete"]


@pytest.mark.usefixtures("site")
def test_without_locks_each_process_has_parts_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    files.warn_once.cache_clear()  # as in a new process
    succeeds()
    with (
        transfer.lock(tmp_path / "lock", tmp_path / "x") as one,
        transfer.lock(tmp_path / "lock", tmp_path / "x") as other,
    ):
        assert one != other
        assert all(path.match("x.*.incomplete") for path in (one, other))
    assert len([line for line in logged if line.startswith("this disk has no locks")]) == 1


def test_eight_processes_on_a_cold_cache_make_one_copy(site: Stub) -> None:
    children = [subprocess.Popen([sys.executable, "-c", FETCH]) for _ in range(8)]
    assert [child.wait(60) for child in children] == [0] * 8
    succeeds()
    assert site.log.count(f"GET {PATH}") == 1


def test_waiting_for_another_process_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import threading

    from filelock import FileLock

    caplog.set_level("INFO", "resnest_cli")
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    entered = threading.Event()

    def enter() -> None:
        with transfer.lock(tmp_path / "lock", tmp_path / "file"):
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    while "another process" not in caplog.text:
        assert thread.is_alive()
    assert not entered.is_set()
    lock.release()
    thread.join(30)
    assert entered.is_set()


def test_another_process_that_brings_nothing_is_not_waited_for(site: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr(transfer, "LOCK_STALL_S", 0.2)
    digest = hashlib.sha256(CONTENT).hexdigest()
    folder = Path(os.environ["HF_HOME"]) / "hub" / ".locks" / f"models--{SPEC.repo.replace('/', '--')}"
    folder.mkdir(parents=True)
    with FileLock(folder / f"{digest}.lock"):
        fails("another process holds")
    assert site.log == [f"HEAD {PATH}"]
    succeeds()


# The command


@pytest.fixture
def names(site: Stub, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Put the class names on the same server."""
    content = "\n".join(f"name {i}" for i in range(1000)).encode()
    site.pages["/names.txt"] = Page(content)
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(labels, "IMAGENET_SHA256", digest)
    monkeypatch.setattr(labels.imagenet_names, "__defaults__", (f"{site.url}/names.txt", digest))
    return content


def rows(resnest: Resnest, *words: str, exit_code: int = 0) -> list[tuple[str, str]]:
    done = resnest("download", *words, "--format", "json")
    assert done.exit_code == exit_code, done.output
    return [(row["model"], row["state"]) for row in json.loads(done.stdout)]


@pytest.mark.usefixtures("names")
def test_download_fetches_checks_and_mends(site: Stub, resnest: Resnest, torch_home: Path) -> None:
    assert not torch_home.exists()
    assert rows(resnest, "resnest14d") == [("resnest14d", "downloaded"), ("class names", "downloaded")]
    requests = len(site.log)
    good = [("resnest14d", "whole"), ("class names", "whole")]
    assert rows(resnest, "resnest14d", "--verify") == rows(resnest, "--verify") == good
    assert len(site.log) == requests

    path = weights.locate(SPEC)
    path.write_bytes(CONTENT[:-1] + b"!")
    done = resnest("download", "--verify")
    assert done.exit_code == 1
    assert "damaged" in done.stdout
    assert "type: resnest download resnest14d" in done.stdout
    assert rows(resnest, "resnest14d") == [("resnest14d", "downloaded"), ("class names", "whole")]
    assert rows(resnest, "--verify") == good


@pytest.mark.usefixtures("names")
def test_afterwards_nothing_is_asked_for(site: Stub, resnest: Resnest) -> None:
    assert rows(resnest, "resnest14d")
    site.log.clear()
    assert labels.load(SPEC).names[7] == "name 7"
    assert weights.locate(catalog.find_model("resnest14d")).read_bytes() == CONTENT
    assert rows(resnest, "resnest14d") == [("resnest14d", "whole"), ("class names", "whole")]
    assert site.log == []


@pytest.mark.usefixtures("site")
def test_one_failure_does_not_cost_the_others(resnest: Resnest, torch_home: Path) -> None:
    assert not torch_home.exists()
    done = rows(resnest, "nothing", "resnest26d", "resnest14d", "digits", exit_code=1)
    assert done[:4] == [
        ("nothing", "failed"),
        ("resnest26d", "failed"),
        ("resnest14d", "downloaded"),
        ("digits", "packaged"),
    ]
    assert done[4] == ("class names", "packaged")  # its site cannot be reached, and the package has the same list


def test_verify_names_what_is_missing(site: Stub, resnest: Resnest) -> None:
    assert rows(resnest, "resnest50d", "--verify", exit_code=1) == [("resnest50d", "missing")]
    assert rows(resnest, "--verify") == []
    assert "nothing to verify" in resnest("download", "--verify").stderr
    assert len(rows(resnest, "--verify", "--all", exit_code=1)) == 8
    assert site.log == []


def test_offline_a_cold_cache_is_told_at_once(site: Stub, resnest: Resnest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = resnest("download", "resnest14d")
    assert done.exit_code == 1
    assert "HF_HUB_OFFLINE" in done.stdout
    assert site.log == []


def test_a_model_must_be_named(resnest: Resnest) -> None:
    done = resnest("download")
    assert done.exit_code == 2
    assert "--all" in done.stderr


def test_no_secret_is_ever_said(shell: Shell, site: Stub) -> None:
    site.pages.clear()
    endpoint = site.url.replace("//", "//user:pass-word@")
    for words in (("download", "resnest14d", "-v"), ("predict", "x.png", "-m", "resnest14d", "-v")):
        done = shell("resnest", *words, HF_TOKEN="hf_of_the_user", HF_ENDPOINT=endpoint)  # noqa: S106 - made up
        assert done.returncode == 1
        assert b"pass-word" not in done.stdout + done.stderr
        assert b"hf_of_the_user" not in done.stdout + done.stderr


def test_all_is_all_eight(site: Stub, monkeypatch: pytest.MonkeyPatch, resnest: Resnest) -> None:
    asked: list[str] = []

    def fetch(names: list[str], _follow: object) -> list[download.Item]:
        asked.extend(names)
        return []

    monkeypatch.setattr(download, "fetch", fetch)
    assert resnest("download", "--all", "resnest26d").exit_code == 0
    assert sorted(asked) == sorted(spec.name for spec in catalog.list_models())
    assert site.log == []
