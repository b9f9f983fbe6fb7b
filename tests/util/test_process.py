"""Local programs: what they write arrives whole."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import subprocess
import sys

import pytest

from nixhive_nb.errors import HiveError, MissingProgram, TookTooLong
from nixhive_nb.run import carry
from nixhive_nb.util import process
from tests.sshd import eventually, is_running

# As OpenSSH does with the standard error that it has from Nix. What follows fills the pipe a few times.
_AS_SSH_AND_NIX = """
import os, time
os.set_blocking(2, False)
os.write(2, b"connected\\n")
deadline = time.monotonic() + 30
while not os.get_blocking(2):
    if time.monotonic() > deadline:
        raise SystemExit("nobody made it blocking again")
    time.sleep(0.001)
for number in range(50_000):
    line = memoryview(b"line %09d of those that Nix writes for each word of an archive that it copies\\n" % number)
    while line:
        line = line[os.write(2, line):]
"""


def test_no_line_is_lost_though_openssh_makes_the_standard_error_non_blocking() -> None:
    heard: list[str] = []
    ended = asyncio.run(process.stream([sys.executable, "-c", _AS_SSH_AND_NIX], on_stderr=heard.append))
    assert ended.status == 0, heard[-3:]
    assert len(heard) == 50_001
    assert heard[-1].startswith("line 000049999 of")


def test_both_outputs_come_and_without_a_reader_they_are_kept() -> None:
    ended = asyncio.run(process.stream(["sh", "-c", "echo out; echo err >&2; exit 3"]))
    assert (ended.status, ended.stdout, ended.stderr) == (3, "out\n", "err\n")


def test_nothing_stays_open() -> None:
    async def some() -> None:
        for _ in range(3):
            await process.stream(["true"])
        with pytest.raises(MissingProgram):
            await process.stream(["no-such-program"])
        here = asyncio.Event()
        task = asyncio.ensure_future(
            process.stream(["sh", "-c", "echo here >&2; exec sleep 1000"], on_stderr=lambda _: here.set())
        )
        await here.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    asyncio.run(some())
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


_HEARS_THE_SECOND = """
trap 'told=x$told; [ "$told" = xx ] && echo ended >FILE && exit' TERM
while :; do sleep 600 & echo here >&2; wait $!; done
"""


async def cancelled(script: str) -> list[str]:
    """Run a script of a shell, cancel it when it has said something, and return that."""
    said: list[str] = []
    here = asyncio.Event()

    def heard(line: str) -> None:
        said.append(line)
        here.set()

    task = asyncio.ensure_future(process.stream(["sh", "-c", script], on_stderr=heard))
    await here.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return said


def test_a_program_that_does_not_hear_that_it_is_to_end_is_told_again(tmp_path):
    """A Nix that was killed for it left its builders behind."""
    asyncio.run(cancelled(_HEARS_THE_SECOND.replace("FILE", f"{tmp_path}/ended")))
    assert (tmp_path / "ended").read_text() == "ended\n"


_IN_ANOTHER_SESSION = "trap '' TERM; setsid sh -c 'echo $$ >&2; exec sleep 600' & while :; do wait; done"


def test_of_a_program_that_is_killed_nothing_stays_whatever_session_it_is_in(monkeypatch):
    """As the builders of Nix; and nothing is said of a loop that is closed."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    monkeypatch.setattr(process, "_GRACE", 0.3)
    (pid,) = asyncio.run(cancelled(_IN_ANOTHER_SESSION))
    gc.collect()
    eventually(lambda: not is_running(int(pid)), "the end of what it started")
    assert not unraisable


_STARTS_OTHERS = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    signal.pause()
os.setsid()
for _ in range(1000):
    if not os.fork():
        os.setsid()
        time.sleep(600)
        os._exit(0)
    time.sleep(0.001)
signal.pause()
"""


def marked(mark):
    """Processes that have a word among theirs."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listed.splitlines() if line.endswith(f" {mark}")]


def test_so_it_is_with_what_it_starts_while_it_is_killed(monkeypatch):
    """What was seen of it at one look was killed, and not what it had started since."""
    monkeypatch.setattr(process, "_GRACE", 0.3)
    mark = secrets.token_hex(8)
    with pytest.raises(TookTooLong):
        process.run([sys.executable, "-c", _STARTS_OTHERS, mark], timeout=0.3)
    eventually(lambda: not marked(mark), "the end of what it started")


def test_so_it_is_with_a_short_one(monkeypatch):
    monkeypatch.setattr(process, "_GRACE", 0.3)
    said: list[str] = []
    with pytest.raises(TookTooLong):
        process.run(["sh", "-c", _IN_ANOTHER_SESSION], timeout=1, on_stderr=said.append)
    eventually(lambda: not is_running(int(said[0])), "the end of what it started")


def test_a_program_that_takes_too_long_is_ended_and_that_is_a_message():
    """D11: it was an error of Python, which two of five callers did not know."""
    with pytest.raises(TookTooLong, match=r"^sleep 600 took longer than 0\.2 s, and was ended\.$"):
        process.run(["sleep", "600"], timeout=0.2)
    assert issubclass(TookTooLong, HiveError)


def test_a_nix_that_does_not_tell_its_version_holds_up_no_run(tmp_path, monkeypatch):
    """D11: on a cold store in the network it takes longer than we wait."""
    slow = tmp_path / "nix-store"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(carry, "VERSION_SECONDS", 0.2)
    carry._nix_version.cache_clear()
    try:
        assert carry._versions("").keys() == {"nixhive_nb", "python"}
        # Its evaluation tells it, and then it need not be asked.
        assert carry._versions("2.8.0")["nix"] == "2.8.0"
    finally:
        carry._nix_version.cache_clear()
