"""What the tests on fleets share."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

import pytest

from nixhive_nb.lab import debian
from tests.real import NOT_TESTED


@pytest.fixture
def gate():
    """A pipe on this machine that a build user can open, unlike what stands below pytest's own folder."""
    with tempfile.TemporaryDirectory(prefix="hive-test-") as folder:
        Path(folder).chmod(0o755)
        pipe = Path(folder) / "gate"
        os.mkfifo(pipe)
        pipe.chmod(0o666)
        yield pipe


@pytest.fixture(params=["this machine", "trixie"])
def nix(request, tmp_path, monkeypatch):
    """A word that no system has had in it, for tests with this machine's Nix and with that of Debian 13.

    The latter is that of the Debian below practice hosts, whose `/usr` it sees in place of ours.
    """
    if request.param == "trixie":
        root = debian.place_of("trixie")
        if not root.is_dir():
            pytest.skip(f"{NOT_TESTED}Debian 13 must be made before, by tools/practice_debians.py")
        programs = tmp_path / "nix-of-trixie"
        programs.mkdir()
        for program in (root / "usr/bin").glob("nix*"):
            own = f"""mount --bind {root}/usr /usr && exec /usr/bin/{program.name} "$@" """
            (programs / program.name).write_text(f"#!/bin/sh\nexec unshare --mount sh -c '{own}' sh \"$@\"\n")
            (programs / program.name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return secrets.token_hex(6)
