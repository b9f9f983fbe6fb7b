"""`tools/apart`: a world of its own for tests, of which nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import side_by_side
from tests.sshd import eventually

APART = str(side_by_side.APART)

pytestmark = pytest.mark.fleet


def apart(script: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [APART, "bash", "-c", script], capture_output=True, text=True, timeout=60, check=False, **options
    )


def processes_with(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words:
            found.append(int(entry.parent.name))
    return found


def test_its_network_names_and_processes_are_its_own():
    script = "ip link add nixhive0 type veth peer name nixhive0p; ip netns add nixhive0-portico; ip netns list; ls /run"
    first, second = apart(script), apart(script)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout == second.stdout == "nixhive0-portico\nmount\nnetns\nuser\n"
    assert not Path("/sys/class/net/nixhive0p").exists()
    assert apart("ls /sys/class/net; [ $(ls -d /proc/[0-9]* | wc -l) -lt 9 ]").stdout == "lo\n"


def kilobytes_free() -> int:
    return int(Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()[0])


@pytest.mark.skipif(kilobytes_free() < 9_000_000, reason="where there is no memory to spare they are where they were")
def test_temporary_files_are_in_memory_and_those_of_a_world_around_it_stay(tmp_path):
    write = f"mktemp -d >{tmp_path}/outer; {APART} sh -c 'test -d $(cat {tmp_path}/outer) && mktemp -d'"
    argv = [APART, "--in-memory", "bash", "-c", f"{write}; stat -f -c %T $TMPDIR"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    inner, kind = ended.stdout.split()
    assert kind == "tmpfs"
    room = Path(inner).parent
    assert room.match("/tmp/apart.*")
    assert not room.exists()


def test_it_ends_as_its_command_does_and_hands_on_what_comes_in():
    assert apart("exit 7").returncode == 7
    assert apart("cat", input="what comes in").stdout == "what comes in"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_whatever_ends_it_nothing_of_it_stays(number, tmp_path):
    mark, gate = f"{tmp_path}/mark", tmp_path / "gate"
    os.mkfifo(gate)
    script = f'setsid --fork sh -c "read x" "{mark}" <>"{gate}"; echo up; exec sh -c "read x" "{mark}" <>"{gate}"'
    process = subprocess.Popen([APART, "sh", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "up\n"
    eventually(lambda: len(processes_with(mark)) == 2, "both processes")
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)  # as a terminal, or `.ci/run`, does
    process.wait(30)
    eventually(lambda: not processes_with(mark), "the end of all that ran in there")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_for_it_alone_is_handed_on_and_nothing_of_it_stays(number, tmp_path):
    """Make ends with its shell alone when it is ended, and what that has started would go on."""
    mark = f"{tmp_path}/mark"
    beside = 'setsid --fork sh -c "sleep 3600; :" "$0"'
    script = f'trap "echo heard; exit 5" TERM HUP; {beside}; echo up; while :; do sleep 0.1; done'
    argv = [APART, "sh", "-c", script, mark]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    assert process.wait(30) == 5
    assert process.stdout.read() == "heard\n"
    eventually(lambda: not processes_with(mark), "the end of all that ran in there")


def test_what_a_test_leaves_is_a_failure_of_the_run_and_is_named(tmp_path):
    (tmp_path / "test_leaves.py").write_text(
        "import subprocess\ndef test_it():\n    subprocess.Popen(['setsid', '--fork', 'sleep', '3600'])\n"
    )
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['tests.side_by_side']\n")
    options = ["-q", "-p", "no:cacheprovider", "-n", "2", "--rootdir", str(tmp_path), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(side_by_side.ROOT), "NIXHIVE_TEST_LEFT_SECONDS": "1"}
    argv = [sys.executable, "-m", "pytest", *options]
    ended = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 1
    assert "1 passed" in ended.stdout
    assert "LEFT BEHIND by the tests: process" in ended.stdout
    assert "sleep 3600" in ended.stdout
