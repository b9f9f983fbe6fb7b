"""Hosts whose sudo asks for a password, the ways to give it, and a look at all processes for where it stands."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.practice import with_leave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.practice import Practice

LOG = "/var/log/sudo.log"
USER = "deploy"


def set_password(fleet: Practice, host: str, secret: str) -> None:
    """Give the login user of a host a password."""
    argv = ["openssl", "passwd", "-6", "-stdin"]
    hashed = subprocess.run(argv, input=f"{secret}\n", capture_output=True, text=True, check=True).stdout.strip()
    fleet.lab.exec(host, ["sed", "-i", f"s|^{USER}:[^:]*|{USER}:{hashed}|", "/etc/shadow"])


def has_password(fleet: Practice, host: str, secret: str, *, defaults: str = "") -> None:
    """Give the login user of a host a password, which its sudo asks for, and have sudo write down what it does."""
    set_password(fleet, host, secret)
    lines = f"Defaults logfile={LOG},loglinelen=0\n{defaults}\n{USER} ALL=(ALL:ALL) ALL\n"
    fleet.lab.exec(host, ["sh", "-c", "cat >>/etc/sudoers"], text=lines)


def started(fleet: Practice, host: str) -> list[str]:
    """Return what sudo has started or refused there, a line each."""
    return fleet.lab.exec(host, ["sh", "-c", f"cat {LOG} 2>/dev/null || true"]).splitlines()


def begin(fleet: Practice, password: str, *words: str) -> subprocess.Popen[str]:
    """Start `nix-hive` with a password in a descriptor."""
    read, write = os.pipe()
    os.write(write, f"{password}\n".encode())
    os.close(write)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "nixhive_nb", *with_leave(words)],
            cwd=fleet.folder,
            env={**fleet._environment(), "NIXHIVE_PASSWORD_FD": str(read)},
            pass_fds=[read],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(read)


def given(fleet: Practice, password: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `nix-hive` with a password in a descriptor."""
    process = begin(fleet, password, *words)
    out, err = process.communicate(timeout=240)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def typed(fleet: Practice, answers: Sequence[str], *words: str) -> tuple[int, str]:
    """Run `nix-hive` at a terminal of its own, and type an answer to each question for a password.

    Return its exit status, and all that was to be seen.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", sys.executable, "-m", "nixhive_nb", *with_leave(words)],
        cwd=fleet.folder,
        env=fleet._environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen, left, at = b"", list(answers), 0
    with contextlib.suppress(OSError):  # so a terminal ends
        while said := os.read(ours, 65536):
            seen += said
            if left and (found := seen.find(b"Password for ", at)) >= 0 and b": " in seen[found:]:
                at = len(seen)
                os.write(ours, f"{left.pop(0)}\n".encode())
    os.close(ours)
    assert not left, seen.decode()
    return process.wait(), seen.decode()


class Watch:
    """Looks at each process of this machine, those of its hosts among them, for a text, until it is told to end."""

    def __init__(self, text: str) -> None:
        self.text, self.found, self.looks = text.encode(), [], 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._go)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _go(self):
        while not self._end.wait(0.03):
            self.look()

    def look(self):
        self.looks += 1
        for place in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    if self.text in (place / name).read_bytes():
                        self.found.append(f"{place / name}")
                except OSError:  # it has ended
                    continue
