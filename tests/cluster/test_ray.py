"""The same commands on Ray: the rows of a run without it, whatever is lost on the way; and words where it cannot be."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from clusters import WATCHFUL, free_port, join, object_store, ray_cluster
from conftest import SAMPLES, Shell
from planted import USUAL, Planted

from resnest_cli.cluster import session, surroundings, trunk
from resnest_cli.cluster.folder import Folder
from resnest_cli.cluster.session import Node, Plan, plan, watched
from resnest_cli.cluster.spans import Span, remaining
from resnest_cli.cluster.stages import as_block, pack, unpack
from resnest_cli.errors import ExitCode, OutputError, UsageError
from resnest_cli.inputs import columns
from resnest_cli.pipeline import stream
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("ray", reason="the extra `ray` is not installed: pip install 'resnest-cli[ray]'")

DIGITS = ("-m", "digits", "-k", "2")
LIMIT_S = 100
ENDED = 30_000  # milliseconds for a process to end
# The same program with small parts: what is of many thousands of inputs is tried with a few.
WITH = "from resnest_cli import cli; from resnest_cli.cluster import trunk; trunk.{} = {}; cli.main()"
IN_WAVES = (sys.executable, "-c", WITH.format("WAVE", 10))
IN_FILES = (sys.executable, "-c", WITH.format("LEAST_ROWS", 300))
CONSOLE_SCRIPT = Path(sys.executable).with_name("resnest")
PLAIN = (sys.executable, "-m", "resnest_cli")
# All that a run says on stderr, line by line; nothing else may stand there, and nothing of Ray's.
SAID = re.compile(
    r"digits on cpu .*|class names: .*|building the graph .*|loading torch.*|"
    r"starting Ray on this machine\.|joining the cluster at .*|"
    r"[\d,]+ inputs, \d nodes?: \d actors? with \d CPUs?( each)?, about .*|"
    r"[\d,]+ inputs? in .*|wrote .*, [\d,]+ rows?, in .*|[\d,]+ of [\d,]+ inputs? failed: .*|hint: .*"
)


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Return good files, broken ones, one that is not there, and a folder without images, under names that are odd."""
    folder = tmp_path / "in"
    folder.mkdir()
    odd = os.fsencode(folder) + b"/odd \xff'\",\n.png"
    Path(os.fsdecode(odd)).write_bytes((SAMPLES / "three_0045.png").read_bytes())
    (folder / "_begins_so.png").write_bytes((SAMPLES / "two_0051.png").read_bytes())
    (folder / "cut.png").write_bytes((SAMPLES / "one_0042.png").read_bytes()[:200])
    (folder / "text.jpg").write_text("no image")
    (folder / "empty").mkdir()
    return [str(folder), str(SAMPLES), str(folder / "lost.png"), str(folder / "empty")]


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    """Run an object store."""
    with object_store() as env:
        yield env


@pytest.fixture(scope="module")
def address(store: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run two nodes that have none of what this machine keeps in its cache."""
    folder = tmp_path_factory.mktemp("cluster")
    env = {"RESNEST_CACHE": str(folder / "cache"), "RAY_AUTH_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
    with ray_cluster(folder, 2, 2, **store, **env) as found:
        yield found


@pytest.fixture
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be as the cluster of these tests is."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


def many(tmp_path: Path, count: int = 1200) -> tuple[Path, list[str]]:
    """Make a list of many inputs, some broken: a job that is in its middle for a while."""
    names = [str(path) for path in sorted(SAMPLES.iterdir())] * (count // 12)
    names[7::50] = [str(tmp_path / "lost.png")] * len(names[7::50])
    (tmp_path / "list.txt").write_text("\n".join(names))
    return tmp_path / "list.txt", names


def started(*args: str | Path, program: tuple[str, ...] = PLAIN) -> subprocess.Popen[bytes]:
    """Start `resnest`."""
    command = [*program, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_rows(path: Path, process: subprocess.Popen[bytes], least: int = 1) -> None:
    """Wait until a job has written some rows."""
    pause = threading.Event()
    while not (path.exists() and path.read_bytes().count(b"\n") >= least):
        assert process.poll() is None, process.communicate()
        pause.wait(0.02)


def children(pid: int) -> list[int]:
    """List all processes below one."""
    own = [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]
    return [*own, *(deeper for child in own for deeper in children(child))]


def without_ray(shell: Shell, *args: str | Path) -> bytes:
    return shell("resnest", *args).stdout


def test_a_private_cluster_gives_the_rows_of_this_machine_and_leaves_nothing_behind(
    inputs: list[str], shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = without_ray(shell, "predict", *inputs, *DIGITS)
    planted = Planted(tmp_path)
    monkeypatch.chdir(planted.folder)  # from which nothing is imported, by the command, by Ray, or by an actor
    ended = shell(CONSOLE_SCRIPT, "predict", *inputs, *DIGITS, "--ray")
    assert planted.imported() == []
    assert ended.stdout == expected
    assert ended.returncode == ExitCode.SOME_FAILED
    said = ended.stderr.decode().splitlines()
    assert [line for line in said if not SAID.fullmatch(line)] == []
    assert [line for line in said if line.startswith("18 inputs, 1 node: 1 actor")]
    assert "4 of 18 inputs failed: " in ended.stderr.decode()
    assert not (Path.home() / ".ray" / "auth_token").exists()


@pytest.mark.usefixtures("_no_token")
def test_two_nodes_give_the_rows_of_this_machine_wave_by_wave(inputs: list[str], address: str, shell: Shell) -> None:
    ended = shell(*IN_WAVES, "predict", *inputs, *DIGITS, "--ray-address", address)
    assert ended.stdout == without_ray(shell, "predict", *inputs, *DIGITS)
    assert "\n10 inputs, 2 nodes: 2 actors" in ended.stderr.decode()
    assert "\n8 inputs, 2 nodes: 2 actors" in ended.stderr.decode()
    assert [line for line in ended.stderr.decode().splitlines() if not SAID.fullmatch(line)] == []


@pytest.mark.usefixtures("_no_token")
def test_features_from_two_nodes_as_a_file_and_as_a_folder(
    inputs: list[str], address: str, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    model = ("-m", "digits", "--normalize")
    ended = shell("resnest", "embed", *inputs, *model, "-o", tmp_path / "local.parquet")
    assert ended.returncode == ExitCode.SOME_FAILED
    ended = shell(*IN_WAVES, "embed", *inputs, *model, "--ray", "-o", f"{tmp_path / 'parts'}/")
    assert ended.returncode == ExitCode.SOME_FAILED
    assert ended.stderr.decode().splitlines()[-1].startswith("4 of 18 inputs failed: "), ended.stderr
    before = {path: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    again = shell(*IN_WAVES, "embed", *inputs, *model, "--ray", "-o", f"{tmp_path / 'parts'}/", "--resume")
    assert (again.returncode, b"complete: 18 rows\n" in again.stderr) == (ExitCode.SOME_FAILED, True)
    assert {path: path.read_bytes() for path in (tmp_path / "parts").iterdir()} == before
    local, there = (pq.read_table(tmp_path / name).replace_schema_metadata() for name in ("local.parquet", "parts"))
    assert there.equals(local)


@pytest.mark.usefixtures("_no_token")
def test_a_folder_that_was_begun_is_gone_on_with_and_no_row_is_doubled(
    address: str, tmp_path: Path, shell: Shell
) -> None:
    listed, names = many(tmp_path)
    command = ("predict", "--files-from", listed, *DIGITS, "--ray-address", address, "-o", f"{tmp_path / 'rows'}/")
    with started(*command, program=IN_FILES) as process:
        pause = threading.Event()
        while not [*tmp_path.glob("rows/rows-*")]:
            assert process.poll() is None, process.communicate()
            pause.wait(0.02)
        process.kill()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("rows/rows-*")}
    ended = shell("resnest", *command, "--threshold", "0.5", "--resume")
    assert "was begun with other settings: threshold 0.0, now 0.5" in ended.stderr.decode()
    ended = shell(*IN_FILES, *command, "--resume")
    assert ended.returncode == ExitCode.SOME_FAILED
    assert {path: path.stat().st_mtime_ns for path in before} == before
    table = pq.read_table(tmp_path / "rows")
    assert sorted(table["path"].to_pylist()) == sorted(names)
    summary = json.loads((tmp_path / "rows" / "_summary.json").read_text())
    assert (summary["rows"], summary["failures"]) == (1200, {"UnreadableInput": 24})


@pytest.mark.usefixtures("_no_token")
def test_a_node_that_is_lost_and_then_a_driver_that_is_killed_cost_no_row(tmp_path: Path, shell: Shell) -> None:
    listed, names = many(tmp_path, 3600)
    to = tmp_path / "rows.jsonl"
    job = ("predict", "--files-from", listed, *DIGITS, "--resume", "-o", to)
    # In a process of its own: what Ray's test cluster sets up is for a whole process.
    program = (
        "import sys; from ray.cluster_utils import Cluster\n"
        "node = dict(num_cpus=2, object_store_memory=10**8)\n"
        f"head = node | dict(include_dashboard=False, _system_config={WATCHFUL})\n"
        "both = Cluster(initialize_head=True, head_node_args=head)\n"
        "lost = both.add_node(**node); print(both.address, flush=True); sys.stdin.readline()\n"
        "both.remove_node(lost, allow_graceful=False); print('lost', flush=True); sys.stdin.readline(); both.shutdown()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as nodes:
        assert nodes.stdout is not None
        assert nodes.stdin is not None
        address = nodes.stdout.readline().decode().strip()
        with started(*job, "--ray-address", address) as process:
            wait_for_rows(to, process, 100)
            nodes.stdin.write(b"\n")
            nodes.stdin.flush()
            assert nodes.stdout.readline() == b"lost\n"
            before = to.read_bytes().count(b"\n")
            wait_for_rows(to, process, before + 800)  # among them what was lost with the node
            process.kill()
            first = process.communicate()[1].decode()
        kept = to.read_bytes().count(b"\n")
        assert before + 800 <= kept < len(names)
        ended = shell("resnest", *job, "--ray-address", address)
        nodes.communicate(b"\n", LIMIT_S)
    *said, last = first.splitlines()
    assert any("2 nodes: 2 actors" in line for line in said)
    assert last.startswith("error: --ray: the command was ended from outside, by a kill, or by Ray")
    again = ended.stderr.decode()
    taken = re.search(r"after ([\d,]+) done before", again)
    assert taken, again
    assert 0 < int(taken[1].replace(",", "")) <= kept  # whole batches of them
    assert [line for line in [*said, *again.splitlines()] if not SAID.fullmatch(line)] == []
    assert [json.loads(line)["path"] for line in to.read_bytes().splitlines()] == names
    assert to.read_bytes() == without_ray(shell, "predict", "--files-from", listed, *DIGITS)


def listening(pids: list[int]) -> list[str]:
    """List the addresses at which processes take connections, as the kernel writes them."""
    of_pids = {str(fd.readlink()) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in of_pids]


def test_a_private_cluster_is_for_this_user_alone_and_goes_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, _ = many(tmp_path, 6000)
    to = tmp_path / "rows.jsonl"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # for other clusters
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("RAY_TMPDIR", short)
        with started("predict", "--files-from", listed, *DIGITS, "--ray", "-o", to) as process:
            wait_for_rows(to, process)
            pids = [process.pid, *children(process.pid)]
            assert {*listening(pids)} == {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, ::ffff:127.0.0.1
            assert [stat.S_IMODE(path.stat().st_mode) for path in Path(short).iterdir()] == [0o700]
            assert b"\0RAY_AUTH_MODE=token\0" in b"".join(Path(f"/proc/{pid}/environ").read_bytes() for pid in pids[1:])
            handles = [os.pidfd_open(pid) for pid in pids[1:]]
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=LIMIT_S)
        assert process.returncode == ExitCode.INTERRUPTED
        assert len(handles) > 5
        for handle in handles:
            assert select.select([handle], [], [], ENDED / 1000)[0]
            os.close(handle)
        assert [*Path(short).iterdir()] == []


def test_a_ray_that_would_listen_elsewhere_is_ended_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    ended: list[bool] = []
    node = {"Alive": True, "NodeID": "1", "NodeManagerAddress": "192.0.2.7", "Resources": {"CPU": 2}}
    monkeypatch.setattr(surroundings, "settle", lambda _: None)  # of this process
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    said = r"ray: no cluster can be started: Ray would listen at 192\.0\.2\.7, not at 127\.0\.0\.1 alone"
    with pytest.raises(UsageError, match=said), session.joined(None):
        pytest.fail("it is used")
    assert ended == [True]


KILLED = """
import os, sys
from resnest_cli.cluster.surroundings import own_folder
with own_folder("said by the shell") as folder:
    print(folder, flush=True)
    os.kill(int(sys.argv[1]) and os.getpid(), int(sys.argv[2]))  # 0: all of its group
"""


@pytest.mark.parametrize(("whom", "number"), [("1", signal.SIGKILL), ("0", signal.SIGTERM)])
def test_rays_folder_goes_with_a_command_that_is_killed(whom: str, number: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        command = [sys.executable, "-c", KILLED, whom, str(int(number))]
        env, pipe = os.environ | {"RAY_TMPDIR": short}, subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=env, start_new_session=True) as process:
            assert process.stdout is not None
            folder = Path(process.stdout.readline().decode().strip())
            assert process.communicate(timeout=LIMIT_S)[1] == b"said by the shell\n"
        assert process.returncode == -number
        wait_until_gone(folder)
        folder.mkdir()  # as a process does that Ray was just starting
        wait_until_gone(folder)


def test_rays_folder_goes_where_ray_makes_it_anew_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("RAY_TMPDIR", short)
        with surroundings.own_folder("not said") as folder:
            pass
        assert not folder.exists()
        folder.mkdir()
        wait_until_gone(folder)


def test_sigterm_while_ray_starts_ends_the_command_as_everywhere() -> None:
    def starts() -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray does
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    kept = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, surroundings.own_signals():
        starts()
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is kept


@pytest.mark.parametrize("before", ["/of/the/user", None])
def test_ray_looks_for_modules_where_the_command_does(
    before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/elsewhere", "/with:colon"])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before:
        monkeypatch.setenv("PYTHONPATH", before)
    with surroundings.handed_search_path():
        assert os.environ["PYTHONPATH"] == "/elsewhere"
    assert os.environ.get("PYTHONPATH") == before


def wait_until_gone(folder: Path) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if not folder.exists():
            return
        pause.wait(0.02)
    raise TimeoutError(folder)


@pytest.mark.usefixtures("_no_token")
def test_from_and_to_an_object_store(
    address: str, store: dict[str, str], tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = Planted(tmp_path, *USUAL)
    monkeypatch.chdir(planted.folder)  # from which nodes of this machine could import
    for name, value in store.items():
        monkeypatch.setenv(name, value)
    s3 = pyarrow.fs.S3FileSystem(endpoint_override=store["AWS_ENDPOINT_URL"], allow_bucket_creation=True)
    for bucket in ("images", "answers"):
        s3.create_dir(bucket)
    for path in SAMPLES.iterdir():
        with s3.open_output_stream(f"images/digits/{path.name}") as file:
            file.write(path.read_bytes())
    with s3.open_output_stream("images/digits/cut.png") as file:
        file.write(b"\x89PNG")
    index = pa.table({"path": ["s3://images/digits/two_0051.png", "s3://images/lost.png"], "n": [1, 2]})
    pq.write_table(index, "images/index.parquet", filesystem=s3)

    signed = "http://me:hush@127.0.0.1:1/x?sig=hush#hush"
    inputs = (signed, "s3://images/digits/", "--files-from", "s3://images/index.parquet")
    ended = shell("resnest", "predict", *inputs, *DIGITS, "--ray-address", address, "-o", "s3://answers/run")
    assert ended.returncode == ExitCode.SOME_FAILED, ended.stderr
    local = [json.loads(line) for line in without_ray(shell, "predict", *inputs, *DIGITS).splitlines()]
    assert [row["path"] for row in local[-3:]] == [
        "s3://images/digits/zero_0078.png",
        "s3://images/digits/two_0051.png",
        "s3://images/lost.png",
    ]
    there = pq.read_table("answers/run", filesystem=s3).to_pylist()
    assert there[0]["path"] == "http://***@127.0.0.1:1/x?sig=***#***"
    written = [
        s3.open_input_stream(entry.path).read() for entry in s3.get_file_info(pyarrow.fs.FileSelector("answers/run"))
    ]
    assert len(written) == 3  # rows, how they were begun, and the summary
    assert "hush" not in str(there)
    assert not any(b"hush" in content for content in [*written, ended.stdout, ended.stderr])
    assert [(row["path"], row["status"], row["error_type"]) for row in there] == [
        (row["path"], row["status"], row.get("error", {}).get("type")) for row in local
    ]
    assert [[p["label"] for p in row["predictions"]] for row in there] == [
        [p["label"] for p in row["predictions"]] for row in local
    ]
    summary = json.loads(s3.open_input_stream("answers/run/_summary.json").read())
    assert (summary["rows"], summary["failed"], summary["files"]) == (16, 3, 1)
    assert planted.imported() == []


@pytest.mark.usefixtures("_no_token")
def test_a_node_with_another_version_is_refused_and_has_no_say_when_it_has_left(address: str, tmp_path: Path) -> None:
    older = tmp_path / "older" / "resnest_cli-0.0.1.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: resnest-cli\nVersion: 0.0.1\n")
    folder = os.open(SAMPLES, os.O_RDONLY)
    os.set_inheritable(folder, True)  # noqa: FBT003 - it takes no keyword
    path = f"/proc/self/fd/{folder}/two_0051.png"  # which no other process can read
    command = [*PLAIN, "predict", path, *DIGITS, "--ray-address", address]

    def refused() -> str:
        ended = subprocess.run(command, capture_output=True, close_fds=False, timeout=LIMIT_S, check=False)
        assert ended.returncode == ExitCode.USAGE, ended.stderr
        return ended.stderr.decode()

    with ExitStack() as ends:
        join(ends, f"--address={address}", 2, tmp_path / "log", PYTHONPATH=str(older.parent), RAY_AUTH_MODE="disabled")
        assert re.search(r"on node \S+ resnest-cli is 0.0.1, here it is .*pip install 'resnest-cli==", refused())
    assert f"{path} can be read here, but not on node" in refused()
    os.close(folder)


def test_a_token_and_too_few_cpus(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    with ray_cluster(tmp_path, 1, **token) as address:
        command = ("resnest", "predict", SAMPLES, *DIGITS, "--ray-address", address)
        ended = shell(*command, RAY_AUTH_MODE="disabled")
        assert ended.returncode == ExitCode.USAGE
        assert "the cluster does not let us in" in ended.stderr.decode()
        assert "RAY_AUTH_TOKEN" in ended.stderr.decode()
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN", token["RAY_AUTH_TOKEN"])
        ended = shell(*command)
    assert ended.returncode == ExitCode.USAGE
    assert "too few CPUs: no node of 1 has more than 1, and one needs 2" in ended.stderr.decode()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ray-address", "127.0.0.1:{free}"), "nobody answers there (.*). Is the cluster up?"),
        (("--ray-address", "ray://127.0.0.1"), "use auto, or HOST:PORT"),
        (("--ray-address", "127.0.0.1:\u00b2"), "use auto, or HOST:PORT"),
        (("--ray-address", f"127.0.0.1:{'9' * 5000}"), "nobody answers there (.*). Is the cluster up?"),
        (("-o", "rows/"), r"add --ray, or name a file\."),
        (("--ray", "-o", "rows/", "-f", "csv"), "a folder has Parquet files; leave out -f csv"),
        (("--ray", "-o", "rows/"), r"--ray needs Ray Data, which is not here: pip install 'resnest-cli\[ray\]'"),
    ],
)
def test_what_cannot_be_is_said_in_words(words: tuple[str, ...], said: str, shell: Shell) -> None:
    without = "import sys; sys.modules['ray'] = None" if words[-1] == "rows/" else ""  # as if it were not installed
    program = f"{without}\nfrom resnest_cli.cli import main; main()"
    given = [word.format(free=free_port()) for word in words]
    ended = shell(sys.executable, "-c", program, "predict", SAMPLES, *DIGITS, *given, RAY_ADDRESS="")
    assert re.search(said, ended.stderr.decode()), ended.stderr.decode()
    assert (ended.returncode, ended.stdout) == (ExitCode.USAGE, b"")


@pytest.mark.usefixtures("_no_token")
def test_standard_input_stays_here(address: str, shell: Shell) -> None:
    ended = shell("resnest", "predict", "-", *DIGITS, "--ray-address", address, stdin=b"x")
    assert "-: standard input is on this machine only; leave out --ray." in ended.stderr.decode()
    assert ended.returncode == ExitCode.USAGE


def nodes(*cpus: int, gpus: int = 0) -> list[Node]:
    return [Node(str(i), f"10.0.0.{i}", count, gpus) for i, count in enumerate(cpus)]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (nodes(2), Plan(1, 1, 1, 0, 2)),
        (nodes(3, 3), Plan(2, 2, 2, 0, 3)),
        (nodes(4, 16), Plan(2, 6, 3, 0, 3)),  # 18 of the 18 that could be given, and none of the large left idle
        (nodes(2, 64), Plan(2, 1, 63, 0, 63)),  # not 64 actors of one, each with the weights in memory
        (nodes(1, 8), Plan(2, 1, 7, 0, 7)),
    ],
)
def test_a_plan_leaves_a_cpu_of_every_node_to_rays_own_tasks(found: list[Node], expected: Plan) -> None:
    assert plan(found, on_gpu=False) == expected


def test_a_plan_for_gpus_has_an_actor_for_each() -> None:
    assert plan(nodes(16, 16, gpus=2), on_gpu=True) == Plan(2, 4, 7, 1, 7)
    with pytest.raises(UsageError, match="0 GPUs and 16 CPUs"):
        plan(nodes(16), on_gpu=True)
    with pytest.raises(UsageError, match="8 GPUs and 8 CPUs"):
        plan(nodes(8, gpus=8), on_gpu=True)


def test_silence_is_reported(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    reported = threading.Event()
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            reported.set()

    def slow() -> Iterator[int]:
        yield 1
        assert reported.wait(LIMIT_S)
        yield 2

    caplog.set_level("WARNING", "resnest_cli")  # whatever other tests and libraries have set
    monkeypatch.setattr(logging.getLogger("resnest_cli"), "handlers", [Listener()])
    monkeypatch.setattr(session, "STALL_S", 0.01)
    monkeypatch.setattr(session, "_state", lambda: "2 nodes are there")
    items = watched(slow())
    assert next(items) == 1
    assert not reported.wait(0.1)  # it is not the cluster that takes so long
    assert list(items) == [2]
    assert said[0] == "nothing has come back for 0.01 s: 2 nodes are there"


ITEMS = [Source(f"{i}.png") for i in range(10)]


def test_what_has_rows_is_passed_over() -> None:
    spans = [Span(0, 2, "0.png", "2.png", {}), Span(5, 5, "5.png", "5.png", {})]
    assert [number for number, _ in remaining(ITEMS, spans)] == [3, 4, 6, 7, 8, 9]
    assert list(remaining(ITEMS, [])) == list(enumerate(ITEMS))
    with pytest.raises(UsageError, match=r"input 5 was other.png and is now 5.png"):
        list(remaining(ITEMS, [Span(5, 6, "other.png", "6.png", {})]))
    with pytest.raises(UsageError, match="there are only 10 inputs now"):
        list(remaining(ITEMS, [Span(8, 12, "8.png", "12.png", {})]))


def test_rows_with_gaps_become_a_file_for_each_run(tmp_path: Path) -> None:
    folder = Folder.at(f"{tmp_path}/rows/", {"model": "m"})
    assert folder.begin({"model": "m"}, overwrite=False, resume=True) == []
    table = pa.table(
        {
            "path": ["a", "b", "c"],
            "error_type": [None, "BrokenImage", None],
            "number": [3, 4, 9],
            "input": ['"a"', '"b"', '"\\udcff"'],
            "seconds": pa.FixedSizeListArray.from_arrays(pa.array(range(9), pa.float32()), 3),
        }
    )
    block = folder.save(table)
    assert block["seconds"].tolist() == [[3, 5, 7], [6, 7, 8]]
    expected = [Span(3, 4, "a", "b", {"BrokenImage": 1}), Span(9, 9, "\udcff", "\udcff", {})]
    assert folder.begin({"model": "m"}, overwrite=False, resume=True) == expected
    assert pq.read_table(tmp_path / "rows" / expected[1].name).column_names == ["path", "error_type"]
    with pytest.raises(OutputError, match="model m, now n"):
        folder.begin({"model": "n"}, overwrite=False, resume=True)
    folder.finish(expected, 1.0)
    assert folder.is_finished()
    with pytest.raises(OutputError, match="rows exists; add overwrite=True to replace it"):
        folder.begin({"model": "m"}, overwrite=False, resume=False)
    assert folder.begin({"model": "m"}, overwrite=False, resume=True) == expected
    items = [Source(name) for name in ("", "", "", "a", "b", "", "", "", "", "\udcff")]
    with pytest.raises(OutputError, match=r"is finished: it has 3 rows, and the inputs go on with ''"):
        folder.refuse_more(items, expected)
    with pytest.raises(OutputError, match=r"has 2 of the 3 rows that it had when its job was finished: remove"):
        folder.refuse_more(items, expected[:1])
    (tmp_path / "rows" / "_summary.json").unlink()
    (tmp_path / "rows" / expected[1].name).unlink()
    with pytest.raises(OutputError, match="give an output that all nodes share"):
        folder.finish(expected, 1.0)
    (tmp_path / "rows" / "other.txt").touch()
    assert folder.begin({"model": "n"}, overwrite=True, resume=False) == []
    assert {path.name for path in (tmp_path / "rows").iterdir()} == {"_job.json", "other.txt"}


def test_rows_of_no_known_job_are_neither_mixed_with_others_nor_removed_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, place = Folder.at(f"{tmp_path}", {}), tmp_path / "rows-000000000000-000000000002.parquet"
    assert folder.begin({"model": "m"}, overwrite=False, resume=False) == []
    place.touch()
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "_put", _killed)  # when what is to be replaced is removed
        with pytest.raises(KeyboardInterrupt):
            folder.begin({"model": "n"}, overwrite=True, resume=False)
    assert {path.name for path in tmp_path.iterdir()} == {"_job.json"}  # so it is known whose rows those were
    place.touch()
    (tmp_path / "_job.json").unlink()
    for resume in (True, False):
        with pytest.raises(OutputError, match=rf"{place} is in the way, and not of a job that was begun here: move it"):
            folder.begin({"model": "n"}, overwrite=False, resume=resume)
    assert place.exists()
    assert folder.begin({"model": "n"}, overwrite=True, resume=False) == []
    assert {path.name for path in tmp_path.iterdir()} == {"_job.json"}


@pytest.mark.parametrize("content", [b"[]", b"5", b"", b"\xff", b"[" * 100_000, b'{"a": NaN}', b'{"a": 1, "a": 1}'])
def test_a_beginning_of_a_folder_that_no_job_wrote_is_damaged(content: bytes, tmp_path: Path) -> None:
    folder = Folder.at(f"{tmp_path}", {})
    assert folder.begin({"a": 1}, overwrite=False, resume=False) == []
    (tmp_path / "_job.json").write_bytes(content)
    with pytest.raises(OutputError, match=r"_job\.json is damaged: add overwrite=True"):
        folder.begin({"a": 1}, overwrite=False, resume=True)


@pytest.mark.parametrize(
    "content",
    [
        *(b'{"rows": -1}', b'{"rows": "3"}', b'{"rows": true}', b'{"rows": 1e400}', b'{"rows": 1e15}'),
        *(b"[]", b"{}", b"", b"\xff", b"[" * 100_000, b'{"rows": NaN}', b'{"rows": 0, "rows": 0}'),
    ],
)
def test_a_summary_that_no_job_wrote_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "_summary.json").write_bytes(content)
    with pytest.raises(OutputError, match=r"whole number|no object|Expecting|UTF-8|deeply|NaN|twice"):
        Folder.at(f"{tmp_path}", {}).refuse_more([], [])


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_items_travel_as_they_are() -> None:
    for item in (Source("a\udcff\n.png"), Source("https://a", "https://u:p@a"), Failure("\udcff", "T", 'm"\udcfe')):
        assert unpack(pack(item)) == item


def test_small_pictures_travel_with_their_rows() -> None:
    values = np.zeros(3, np.float32)
    rows: list[stream.Row | Failure] = [
        stream.Row("/a", values, "data:a"),
        Failure("b", "T", "m"),
        stream.Row("c", values),
    ]
    block = as_block(np.arange(3), rows, 3, np.zeros((3, 3), np.float32))
    back = list(trunk._rows(block, [Source("a"), Source("b"), Source("c")]))  # noqa: SLF001 - what has no name outside
    assert [(row.path, getattr(row, "thumbnail", None)) for row in back] == [("a", "data:a"), ("b", None), ("c", "")]


def test_an_index_gives_the_column_path(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1, 2, 3], "path": ["a.png", None, "b.png"]}), tmp_path / "i.parquet")
    assert list(columns.index(str(tmp_path / "i.parquet"))) == ["a.png", "b.png"]
    pq.write_table(pa.table({"file": ["a.png"]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="no column `path`; it has file"):
        list(columns.index(str(tmp_path / "other.parquet")))
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="the index cannot be read"):
        list(columns.index(str(tmp_path / "no.parquet")))
