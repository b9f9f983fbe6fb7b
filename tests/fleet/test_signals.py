"""Ends that come from outside: a cancelled CI job, a closed terminal, a stopped Jupyter server (D3, case 13)."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from tests.fleet.faults import line_of, saw
from tests.practice import read_until, start
from tests.sshd import descendants, eventually, is_running

pytestmark = pytest.mark.fleet

DEPLOY = ("deploy", "-c", "example", "--force", "--confirm", "3", "portico")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A host whose activation says that it is there, and waits until it may go on."""
    one = start(tmp_path_factory.mktemp("signals"), web=0)
    assert one.nix_hive("deploy", "-c", "example", "portico").returncode == 0
    one.lab.exec("portico", ["mkfifo", "/var/here", "/var/go"])
    portico = one.example / "portico.nix"
    held = 'system.activationScripts.held = "echo here > /var/here; read line < /var/go";'
    portico.write_text(portico.read_text().replace("networking.hostName", f"{held}\n  networking.hostName", 1))
    yield one
    one.lab.down()


def here(fleet):
    fleet.lab.exec("portico", ["cat", "/var/here"])


def go(fleet):
    fleet.lab.exec("portico", ["sh", "-c", "echo go > /var/go"])


def newest(fleet):
    """The line of `history` about the last run."""
    return fleet.nix_hive("history", "-c", "example").stdout.splitlines()[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_first_signal_lets_a_running_activation_end_and_starts_no_other(fleet, number):
    process = fleet.begin(*DEPLOY, "*")
    here(fleet)
    process.send_signal(number)
    said = "".join(read_until(process, "Stopping"))
    go(fleet)
    said += process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert "activate:portico: done" in said, said
    assert "activate:depot: cancelled" in said
    assert "killed" not in newest(fleet)
    saw(f"{number.name} during an activation", f"{line_of(said, 'portico')}; {line_of(said, 'depot')}")


def test_a_cancelled_job_of_ci_leaves_a_host_that_goes_back_and_nothing_else(fleet):
    """It sends an interrupt, then SIGTERM some seconds later."""
    before = fleet.runs("portico"), fleet.boots("portico")
    process = fleet.begin(*DEPLOY, cold=True)
    here(fleet)
    started = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    read_until(process, "Interrupt again")
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "activate:portico: unknown" in said
    eventually(lambda: not any(map(is_running, started)), "the end of all that it started")
    go(fleet)
    with contextlib.suppress(Exception):
        fleet.lab.exec("portico", ["sh", "-c", "timeout 5 cat /var/here && echo go > /var/go"])  # on its way back
    fleet.lab.exec("portico", ["flock", "/run/nixhive/lock", "true"])
    assert (fleet.runs("portico"), fleet.boots("portico")) == before
    saw("a CI job is cancelled (INT, then TERM) during an activation", line_of(said, "portico"))


def test_a_terminal_that_is_closed_lets_a_running_activation_end(fleet):
    words = [sys.executable, "-m", "nixhive_nb", DEPLOY[0], "--yes", *DEPLOY[1:]]
    pid, master = pty.fork()
    if not pid:
        os.chdir(fleet.folder)
        os.execvp(words[0], words)
    here(fleet)
    os.close(master)  # the kernel sends SIGHUP, and what is written fails
    go(fleet)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGHUP
    report = fleet.nix_hive("report", "-c", "example").stdout
    assert "killed" not in newest(fleet)
    saw("the terminal is closed during an activation", line_of(report, "portico"))


def test_a_jupyter_server_that_is_stopped_leaves_a_host_that_goes_back(fleet):
    before = fleet.runs("portico"), fleet.boots("portico")
    kernel, client = start_new_kernel(kernel_name="python3", cwd=str(fleet.folder))
    try:
        client.execute("%load_ext nixhive_nb")
        client.execute("%hive deploy -c example --yes --force --confirm 3 portico")
        here(fleet)
        started = [pid for pid in descendants(kernel.provisioner.pid) if "nixhive-lifeline" in command(pid)]
        assert started
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=False)  # as the server does it: asked, then SIGTERM, then SIGKILL
    eventually(lambda: not any(map(is_running, started)), "the end of all that it started")
    go(fleet)
    with contextlib.suppress(Exception):
        fleet.lab.exec("portico", ["sh", "-c", "timeout 5 cat /var/here && echo go > /var/go"])  # on its way back
    fleet.lab.exec("portico", ["flock", "/run/nixhive/lock", "true"])
    assert (fleet.runs("portico"), fleet.boots("portico")) == before
    last = newest(fleet)
    assert "killed" in last
    saw("the Jupyter server is stopped during an activation", "the host goes back; `history`: killed")


def command(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""
