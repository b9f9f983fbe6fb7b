"""Hosts that say more than a machine can hold, over a real sshd: memory and disk stay those of the operator."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nixhive_nb.errors import ConnectionFailed, NixError
from nixhive_nb.hosts.closures import closure_sizes
from nixhive_nb.hosts.command import errand_of
from nixhive_nb.hosts.facts import parse_facts
from nixhive_nb.run.everywhere import Listener, run_everywhere
from nixhive_nb.ssh.fabric_links import FabricLinks
from nixhive_nb.util.kept import ANSWER
from tests.links import Links
from tests.sshd import BOTH, FABRIC

pytestmark = pytest.mark.nix
CARRIERS = BOTH

MEBIBYTE = 2**20
LINE = 40 * MEBIBYTE
STATUS = Path("/proc/self/status")


class Peak:
    """The most memory that this process has at once inside of the block, above what it had at its start."""

    def __enter__(self):
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._now()
        return self

    def __exit__(self, *_):
        self.grown = self._now() - self._before

    def _now(self):
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024


@pytest.fixture
def connections(site):
    return site.connect(site.instance("web", site.sshd()))


def run(connections, command, folder, **more):
    return run_everywhere(connections, ["web"], errand_of(command), parallel=1, spill=folder, **more)


def test_a_host_that_says_hundreds_of_megabytes_costs_a_few(connections, tmp_path):
    """D8, E4: 256 MB with a limit of 2 MB. Without one it was all of it, several times over."""
    connections.open("web")
    size = 256 * MEBIBYTE
    with Peak() as peak:
        (row,) = run(
            connections,
            f"yes {'abcdefg' * 100} | head -c {size}; echo end",
            tmp_path,
            output=2 * MEBIBYTE,
            log=8 * MEBIBYTE,
        )
    assert peak.grown < 48 * MEBIBYTE
    assert (row["exit_code"], row["error"]) == (0, "")
    assert row["stdout"].startswith("abcdefgabcdefg")
    assert row["stdout"].endswith("end\n")
    assert f"MB are left out here: see {row['log']} ..." in row["stdout"]
    assert row["whole"] == {"stdout": row["log"]}
    log = Path(row["log"])
    assert 8 * MEBIBYTE < log.stat().st_size < 8 * MEBIBYTE + 200
    assert "this log has reached its limit of 8.4 MB (--max-log)" in log.read_bytes()[-200:].decode()


@pytest.mark.parametrize(
    ("letter", "redirection", "stream"), [("x", "", "stdout"), ("x", " >&2", "stderr"), ("\\0", "", "stdout")]
)
def test_a_line_without_an_end_costs_no_more(connections, tmp_path, letter, redirection, stream):
    """D8: an open line was kept twice, whatever its length. A NUL is nothing to see, and is no way around it."""
    heard = []

    class Hears(Listener):
        def said(self, instance, stream, line):
            heard.append(len(line))

    connections.open("web")
    command = f"head -c {LINE} /dev/zero | tr '\\0' '{letter}'{redirection}"
    with Peak() as peak:
        (row,) = run(connections, command, tmp_path, output=MEBIBYTE, log=MEBIBYTE, listener=Hears())
    assert peak.grown < LINE - 8 * MEBIBYTE
    assert sum(heard) == (LINE if letter == "x" else 0)
    assert max(heard) < 5 * MEBIBYTE
    assert row["whole"].keys() == {stream}


def test_what_is_kept_of_a_stream_and_its_log_are_the_very_bytes(connections, tmp_path):
    """E4: beyond the limit the log alone has it, whole up to its own limit, each stream as it came."""
    (row,) = run(connections, "seq 100000; seq 100000 >&2", tmp_path, output=1000)
    numbers = "".join(f"{number}\n" for number in range(1, 100_001))
    assert [Path(row["whole"][stream]).read_text() for stream in ("stdout", "stderr")] == [numbers, numbers]
    assert row["log"] == row["whole"]["stdout"]
    assert row["stdout"].startswith("1\n2\n3\n")
    assert row["stdout"].endswith("\n100000\n")


def test_all_hosts_together_have_a_limit_as_well(site, tmp_path):
    """E4: a thousand hosts that each stay below theirs are still a thousand times as much."""
    server = site.sshd()
    names = [f"h{number}" for number in range(30)]
    connections = site.connect(*(site.instance(name, server) for name in names))
    errand = errand_of("head -c 1000000 /dev/zero | tr '\\0' x")
    rows = run_everywhere(connections, names, errand, parallel=2, spill=tmp_path, output=MEBIBYTE)
    assert sum(len(row["stdout"]) for row in rows) < 20 * MEBIBYTE
    assert rows[0]["stdout"] == "x" * 1_000_000
    assert Path(rows[-1]["log"]).stat().st_size == 1_000_000


def test_an_answer_to_a_question_of_ours_is_bounded(connections):
    """D8: a hostile host in a `status` filled the memory of the kernel within its 30 s."""
    lines = FabricLinks(connections)
    connections.open("web")
    with Peak() as peak:
        ended = asyncio.run(lines.kept("web").run("yes failed=a.service | head -c 20000000", seconds=60))
        facts = parse_facts(ended.stdout)
    assert peak.grown < 160 * MEBIBYTE
    assert len(ended.stdout) < ANSWER + 2 * 65536 + 200
    assert ended.is_cut
    assert facts.failed_units is None


def test_an_answer_that_is_cut_is_never_taken_for_the_whole(connections):
    """D8: the closure of a host that says too much is an error, and not a part of it."""

    async def remote(instance, _command, *, seconds):
        return await lines.kept(instance).run("yes '/nix/store/a 5' | head -c 20000000", seconds=seconds)

    lines = FabricLinks(connections)
    with pytest.raises(NixError, match=r"says more than 4\.2 MB to a question: it is not read"):
        asyncio.run(closure_sizes(Links(remote), "web", "/nix/store/a"))


@FABRIC
@pytest.mark.parametrize(
    ("said", "word"),
    [
        (b"x" * 65536, "Invalid SSH banner of more than 65.5 kB"),
        (b"a line\r\n" * 8192, "does not speak ssh"),
        (b"SSH-2.0-odd\r\n" + b"\x7f\xff\xff\xfc" + b"x" * 65536, "Invalid SSH packet of 2.1 GB"),
        (b"SSH-2.0-odd\r\n" + b"\x7f\xff\xff\xff" + b"x" * 65536, "does not speak ssh"),
    ],
    ids=["a line without an end", "lines without an end", "a packet of two gigabytes", "no packet at all"],
)
def test_a_server_that_says_more_than_a_server_has_to_say_before_the_login_costs_nothing(site, said, word):
    """D8: it was kept, until the time for the login was over."""
    sent = 0

    def speak(listener):
        nonlocal sent
        made, _ = listener.accept()
        with made, contextlib.suppress(OSError):
            while sent < 64 * MEBIBYTE:
                made.sendall(said)
                sent += len(said)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        speaking = pool.submit(speak, listener)
        connections = site.connect(site.instance("web", site.sshd(), Port=listener.getsockname()[1], ConnectTimeout=60))
        with Peak() as peak, pytest.raises(ConnectionFailed, match=word):
            connections.open("web")
        speaking.result(60)
    assert sent < 16 * MEBIBYTE
    assert peak.grown < 16 * MEBIBYTE
