"""`tools/debian-root` keeps what it makes whole: with a stand-in for debootstrap, and for what runs in the new root."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOL = ROOT / "tools" / "debian-root"
FOLDERS = "proc etc/apt/apt.conf.d etc/dpkg/dpkg.cfg.d usr/sbin var/lib/apt/lists"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


class Maker:
    """A cache of its own, and programs that do as if."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache" / "nixhive_nb"
        self.made = folder / "made"
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.program("debootstrap", f'echo made >>{self.made}; cd "$4" && mkdir -p {FOLDERS}')
        self.program("chroot", "")
        self.env = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.programs / name).chmod(0o755)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [TOOL, *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        return process.returncode, out.strip(), err

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.cache.iterdir() if path.is_dir())


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def test_it_is_made_once_and_told_where(maker: Maker) -> None:
    status, out, err = maker.run()
    assert (status, maker.kept()) == (0, [Path(out).name])
    assert err.startswith(f"Making a Debian (trixie) in {out}, once")
    assert maker.run() == (0, out, "")
    assert maker.made.read_text() == "made\n"


def test_two_that_want_it_at_once_make_it_once(maker: Maker) -> None:
    both = [maker.start(), maker.start()]
    assert len({process.communicate(timeout=60)[0] for process in both}) == 1
    assert [process.returncode for process in both] == [0, 0]
    assert maker.made.read_text() == "made\n"


def test_what_could_not_be_made_whole_is_not_kept_and_the_reason_is_shown(maker: Maker) -> None:
    maker.program("chroot", 'case "$*" in *install*) echo "E: Unable to locate package nix-bin"; exit 100 ;; esac')
    status, out, err = maker.run()
    assert (status, out, maker.kept()) == (100, "", [])
    assert "E: Unable to locate package nix-bin" in err
    maker.program("chroot", "")
    assert maker.run()[0] == 0


def test_who_is_killed_leaves_no_process_and_no_mount_and_the_next_makes_it_anew(maker: Maker, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    maker.program("chroot", f"exec 9>{gate}; sleep 1000")
    process = maker.start()
    with gate.open("rb") as reading:  # opens once the other end is
        os.kill(process.pid, signal.SIGKILL)
        assert reading.read() == b""  # the last of those that hold the other end has ended
    process.communicate(timeout=60)
    assert str(maker.cache) not in Path("/proc/self/mountinfo").read_text()
    assert [name.endswith(".new") for name in maker.kept()] == [True]
    maker.program("chroot", "")
    status, out, _ = maker.run()
    assert (status, maker.kept()) == (0, [Path(out).name])


def test_an_old_one_goes_when_nobody_uses_it(maker: Maker) -> None:
    old, used = (maker.cache / f"debian-trixie-{number}" for number in ("000000000001", "000000000002"))
    old.mkdir(parents=True)
    used.mkdir()
    handle = os.open(used, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        out = maker.run()[1]
    finally:
        os.close(handle)
    assert maker.kept() == sorted([used.name, Path(out).name])


def test_without_root_it_says_what_to_do(maker: Maker) -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "bash", TOOL],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=maker.env,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("tools/debian-root: needs root")
    assert done.stderr.endswith("Run it with sudo.\n")


@pytest.mark.parametrize("words", [["fly"], ["run"]])
def test_what_it_does_not_know_is_said(maker: Maker, words: list[str]) -> None:
    status, _, err = maker.run(*words)
    assert status == 1
    assert "usage: tools/debian-root" in err
