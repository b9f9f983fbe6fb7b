"""The end of a control master, and what is said of it."""

from __future__ import annotations

import subprocess

import pytest

from nixhive_nb.ssh.openssh import Master
from nixhive_nb.ssh.pipes import Pipes


@pytest.fixture
def master(tmp_path):
    """One that ends as OpenSSH does: it says why, removes its socket, hangs up, and is gone only after that."""
    control, log = tmp_path / "control", tmp_path / "log"
    control.touch()
    script = 'echo "Timeout, server web not responding." >&2; rm "$0"; echo hung up; read -r _; exec sleep 0.3'
    with log.open("wb") as said:
        words = ["sh", "-c", script, str(control)]
        running = subprocess.Popen(words, stderr=said, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    made = Master("web", running, control, log, Pipes(), silence=2)
    yield made, running
    made.close()
    running.stdout.close()


def test_who_hears_of_the_end_before_the_program_is_gone_is_told_why(master):
    made, running = master
    assert running.stdout.readline() == b"hung up\n"
    running.stdin.close()
    assert not made.alive
    assert made.why_ended() == "nothing was heard from it for 2 s"
