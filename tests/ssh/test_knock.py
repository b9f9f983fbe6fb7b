"""Programs that log in by OpenSSH are run again where sshd takes no more for now."""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess

import pytest

from nixhive_nb.errors import StepFailed
from nixhive_nb.nix.build import Built
from nixhive_nb.nix.copy import Transfer
from nixhive_nb.plan.step import Step
from nixhive_nb.ssh import knock
from nixhive_nb.util.process import Finished

CLOSED = "kex_exchange_identification: Connection closed by remote host"
FULL = "MaxStartups 1:100:1"
"""One login at a time; who comes beside it is hung up on."""


class Told:
    """What a step tells. A line of it has the place of the one who logs in before us made free."""

    def __init__(self, first: socket.socket) -> None:
        self.lines: list[str] = []
        self._first = first

    def line(self, text):
        self.lines.append(text)
        if "hung up before the login" in text:
            self._first.close()

    def progress(self, done, expected):
        pass


def pushed(site, tmp_path, told, server):
    """Push a file to a store on the server."""
    file = tmp_path / f"it-{secrets.token_hex(4)}"
    file.write_text("content\n")
    path = subprocess.run(["nix-store", "--add", file], capture_output=True, text=True, check=True).stdout.strip()
    _, files = site.files(site.instance("web", server))
    store = f"ssh://web?remote-store=local%3Froot%3D{tmp_path / 'there'}"

    async def nobody(instance, command, **_):
        raise AssertionError

    async def push():
        transfer = Transfer((), files, nobody, way=lambda _: None)
        return await transfer.push(Step(id="p", kind="push", store=store), Built(path=path, sizes={path: 100}), told)

    return asyncio.run(push())


@pytest.mark.nix
def test_a_copy_that_is_hung_up_on_before_the_login_goes_on_when_there_is_room(site, tmp_path):
    server = site.sshd(extra=FULL)
    with socket.create_connection((server.address, server.port)) as first:
        first.recv(1)
        told = Told(first)
        result = pushed(site, tmp_path, told, server)
    assert result.how == "from here"
    assert [line for line in told.lines if "hung up before the login: it is tried again" in line]


@pytest.mark.nix
def test_one_that_finds_no_room_at_all_says_why(site, tmp_path, monkeypatch):
    monkeypatch.setattr(knock, "TRIES", 2)
    server = site.sshd(extra=FULL)
    with socket.create_connection((server.address, server.port)) as first, socket.socket() as unused:
        first.recv(1)
        with pytest.raises(StepFailed, match=r"tried 2 times. Do too many log in at once \(MaxStartups\)\?"):
            pushed(site, tmp_path, Told(unused), server)
    assert server.logins() == 0


UNTOLD = '@nix {"action":"msg","level":0,"msg":"error: failed to start SSH connection to \'web\'"}'


def ending(*ends):
    """A program that ends in these ways, by status and standard error, one after the other; it notes that it ran."""
    left = list(ends)

    async def run(*, on_stderr):
        status, stderr = left.pop(0)
        for line in stderr.splitlines():
            on_stderr(line)
        return Finished(argv=("program",), status=status, stdout="", stderr=stderr)

    return run, left


@pytest.mark.parametrize(
    ("ssh", "copies", "reason"),
    [
        ((0, ""), 2, ""),
        ((255, CLOSED), 2, ""),
        ((255, "root@web: Permission denied (publickey)."), 1, "Permission denied"),
        ((255, "Host key verification failed."), 1, "Host key verification failed."),
    ],
    ids=["takes us by now", "hangs up on it as well", "refuses the login", "has another key"],
)
def test_where_nix_does_not_tell_why_it_cannot_log_in_ssh_is_asked(monkeypatch, ssh, copies, reason):
    """Nix 2.34 ends its ssh, in about every second try before that has said anything."""
    monkeypatch.setattr(knock.random, "uniform", lambda *_: 0.0)
    copy, left = ending((1, UNTOLD), (0, "copied"))
    asked, _ = ending(ssh)
    heard = []
    ended = asyncio.run(knock.persist(copy, "web", heard.append, heard.append, ssh=asked))
    assert (2 - len(left), ended.status == 0) == (copies, copies == 2)
    assert reason in ended.stderr
    assert reason in "\n".join(heard)
    assert ("web did not let Nix in, and lets ssh in now: it is tried again" in heard) == (ssh[0] == 0)


def test_where_it_tells_why_or_nobody_can_be_asked_nobody_is(monkeypatch):
    monkeypatch.setattr(knock.random, "uniform", lambda *_: 0.0)
    asked, left = ending((0, ""))
    for said in (f"{UNTOLD}\nroot@web: Permission denied (publickey).", "error: path '/nix/store/x' is not valid"):
        copy, _ = ending((1, said))
        assert asyncio.run(knock.persist(copy, "web", str, ssh=asked)).status == 1
    copy, _ = ending((1, UNTOLD))
    assert asyncio.run(knock.persist(copy, "web", str)).status == 1
    assert len(left) == 1


@pytest.mark.parametrize(
    ("stderr", "again"),
    [
        (f"{CLOSED}\nConnection closed by UNKNOWN port 65535", True),
        ("kex_exchange_identification: read: Connection reset by peer", True),
        (f"error: cannot open connection\n{CLOSED}", True),
        (f"root@jump: Permission denied (publickey).\n{CLOSED}", False),
        (f"Host key verification failed.\n{CLOSED}", False),
        (f"ssh: connect to host jump port 22: No route to host\n{CLOSED}", False),
        ("root@web: Permission denied (publickey).", False),
        ("error: path '/nix/store/x' lacks a valid signature", False),
    ],
)
def test_only_one_that_was_hung_up_on_is_tried_again(stderr, again):
    """A jump host that refuses ends the ssh behind it in the same way, and another try would refuse as well."""
    assert knock.is_hung_up(stderr) is again
