"""The Debian below hosts with systemd: made once, kept for all fleets, and never changed after that."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.lab.commands import run
from nixhive_nb.lab.model import DEBIANS, LabError
from nixhive_nb.lab.places import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nixhive_nb.lab.model import Debian

_SCRIPT = Path(__file__).with_name("debian.sh")

_PACKAGES = (
    "busybox",
    "dbus",
    "hostname",
    "iproute2",
    "libpam-systemd",
    "nix-bin",
    "openssh-server",
    "polkitd",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
    "util-linux",
    # Login shells that people have.
    "fish",
    "tcsh",
    "zsh",
    # For NixOS's own switch-to-configuration, as it was until 25.05.
    "libconfig-inifiles-perl",
    "libfile-slurp-perl",
    "perl",
)

# A deployment may make a folder of its own of /etc/systemd/system, as NixOS does: what a host needs stands elsewhere.
_UNITS = "usr/lib/systemd/system"
_STAGE_2 = """\
[Unit]
Description=Activate the system that the boot loader names
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/practice-stage-2
# What the system brought may not be what systemd found at its start.
ExecStartPost=systemctl daemon-reload
ExecStartPost=systemctl --no-block start default.target
"""
_NIX_DAEMON = """\
[Unit]
Description=Nix Daemon

[Service]
ExecStart=/usr/bin/nix-daemon
KillMode=process
"""
_OWN_UNITS = {
    "practice-stage-2.service": (_STAGE_2, "sysinit.target"),
    "nix-daemon.service": (_NIX_DAEMON, "multi-user.target"),
}

# The place of a first boot's questions, of a second way to start sshd, and of what each host is to have for itself.
_NOT_WANTED = (
    "etc/machine-id",
    "etc/ssh/ssh_host_*",
    "etc/systemd/system/*",
    "usr/lib/systemd/system/nix-daemon.*",
    "usr/lib/systemd/system/ssh.socket",
    "usr/lib/systemd/system/systemd-firstboot.service",
    "usr/lib/systemd/system/*/systemd-firstboot.service",
    "var/lib/dbus/machine-id",
    "var/log/journal",
)

_SYSTEM_USERS = range(100, 1000)
_FAR = 58000
"""How far their numbers are moved. When a build ends, Nix kills all processes of its build user on the whole machine,
those in containers too, and Debian gives its build users numbers of the same range."""

_OF_THE_CALLER = ("http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE")
_SECONDS_KEPT = 24 * 3600.0
"""How long one that nobody uses stays: other checkouts may use another one in turn."""


@contextlib.contextmanager
def held(suites: Iterable[Debian], tell: Callable[[str], None]) -> Iterator[dict[Debian, Path]]:
    """Return the folders of these Debians, made if they are not there yet, and let nobody remove them meanwhile."""
    with contextlib.ExitStack() as stack:
        roots: dict[Debian, Path] = {}
        for suite in sorted(set(suites)):
            root = place_of(suite)
            while (handle := hold(root)) is None:
                _make_once(suite, root, tell)
            stack.callback(os.close, handle)
            os.utime(root)
            roots[suite] = root
        yield roots


def place_of(suite: Debian) -> Path:
    """Tell where a Debian is kept, or will be. Its name is by what makes it: the two files of ours."""
    text = b"".join((_SCRIPT.read_bytes(), Path(__file__).read_bytes(), suite.encode()))
    return cache_folder() / f"lab-{suite}-{hashlib.sha256(text).hexdigest()[:12]}"


def hold(root: Path) -> int | None:
    """Open a kept Debian, so that nobody removes it while the handle is open; None if it is not there."""
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    fcntl.flock(handle, fcntl.LOCK_SH)
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle), root.stat()):
            return handle
    os.close(handle)  # Whoever had the lock removed it.
    return None


def _make_once(suite: Debian, root: Path, tell: Callable[[str], None]) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    with (root.parent / f"lab-{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root.exists():
            return
        tell(f"making a {DEBIANS[suite]} for hosts with systemd in {root}, once: a minute or two")
        fresh = root.with_name(f"{root.name}.new")
        _remove(fresh)  # of one who was killed
        fresh.mkdir()
        try:
            _make(suite, fresh)
        except BaseException:
            _remove(fresh)
            raise
        fresh.rename(root)
        _remove_old(root, suite)


def _make(suite: Debian, root: Path) -> None:
    # Mounts and processes of its own: whatever happens to us, nothing of it stays.
    apart = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
    env = {name: os.environ[name] for name in _OF_THE_CALLER if name in os.environ}
    try:
        run([*apart, "bash", str(_SCRIPT), suite, str(root), *_PACKAGES], env=env)
    except LabError as error:
        raise LabError(f"No {DEBIANS[suite]} could be made for hosts with systemd: {error}") from None
    for pattern in _NOT_WANTED:
        for place in root.glob(pattern):
            _remove(place)
    _move_system_users(root)
    for name, (text, target) in _OWN_UNITS.items():
        (root / _UNITS / name).write_text(text)
        _want(root, name, target)
    _want(root, "ssh.service", "multi-user.target")
    (root / _UNITS / "sshd.service").symlink_to("ssh.service")


def _move_system_users(root: Path) -> None:
    accounts = root / "etc" / "passwd"
    lines = [line.split(":") for line in accounts.read_text().splitlines()]
    for fields in lines:
        number = int(fields[2])
        if number in _SYSTEM_USERS:
            fields[2] = str(number + _FAR)
            own = ["find", str(root), "-xdev", "-uid", str(number)]
            run([*own, "-exec", "chown", "--no-dereference", fields[2], "{}", "+"])
    accounts.write_text("".join(":".join(fields) + "\n" for fields in lines))


def _want(root: Path, unit: str, target: str) -> None:
    wants = root / _UNITS / f"{target}.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit).symlink_to(f"../{unit}")


def _remove_old(root: Path, suite: Debian) -> None:
    """Remove those of the same Debian that nobody uses, nor used of late."""
    for old in root.parent.glob(f"lab-{suite}-*"):
        if old == root or not old.is_dir() or time.time() - old.stat().st_mtime < _SECONDS_KEPT:
            continue
        handle = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(old)
        finally:
            os.close(handle)


def _remove(place: Path) -> None:
    run(["rm", "-rf", "--one-file-system", str(place)])
