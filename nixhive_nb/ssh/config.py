"""The OpenSSH configuration of a deployment, rendered into a private folder.

`config` is for people (`nix-hive ssh`), `batch` for machines (`nix copy`, jump hosts, lookups with `ssh -G`). Both
extend the user's own configuration: in ssh_config the first value wins, so the deployment's blocks stand in front.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import OptionError
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixhive_nb.deployment.inventory import Instance, Inventory

_log = logging.getLogger(__name__)

SESSIONS = 8
"""Commands at a time in one connection: sshd allows 10 sessions (`MaxSessions`)."""
CONNECT_TIMEOUT = 10
"""Seconds for a connection, where neither the deployment nor the user says otherwise."""

_FIRST = """\
# For machines: nothing asks, nothing is shared with the user's own sessions.
BatchMode yes
StrictHostKeyChecking yes
UpdateHostKeys no
ControlMaster no
ControlPath none
ForwardAgent no
ForwardX11 no
PermitLocalCommand no
RemoteCommand none
RequestTTY no
ExitOnForwardFailure no
LogLevel ERROR
"""
_LAST = f"""\

Match all
ConnectTimeout {CONNECT_TIMEOUT}
ConnectionAttempts 1
ServerAliveInterval 15
ServerAliveCountMax 4
"""
_SYSTEM_CONFIG = "/etc/ssh/ssh_config"
# A control socket's name gets a suffix while it is made, and the kernel allows 107 bytes in all.
_LONGEST_FOLDER = 60
_OURS = "hive-"
_ALIVE = "alive"
"""A file in each private folder, locked while its program lives."""
_locks: dict[Path, int] = {}


class SshFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What was rendered, and where."""

    folder: Path
    config: Path
    """For a person's `ssh -F` and `scp -F`."""
    batch: Path
    """The same for programs: it never asks, and never uses a person's control sockets."""
    known_hosts: Path
    """The keys that the deployment names."""
    extends: tuple[Path, ...] = ()
    """The configurations of the user and of the system that both include."""


def private_folder() -> Path:
    """Make a folder that only we can enter, with a short name without blanks, fit for sockets and `NIX_SSHOPTS`."""
    places = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]  # noqa: S108 - mkdtemp makes it safe
    fit = [place for place in places if place and len(place) < _LONGEST_FOLDER and not _has_blank(place)]
    usable = next((place for place in fit if os.access(place, os.W_OK | os.X_OK)), tempfile.gettempdir())
    _sweep(Path(usable))
    folder = Path(tempfile.mkdtemp(prefix=_OURS, dir=usable))
    handle = os.open(folder / f".{_ALIVE}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with swallowed(_log, "locking a private folder", OSError):  # a file system without locks: then nobody sweeps it
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Locked before it has its name: whoever sees it without a lock knows that we are dead.
        Path(folder, f".{_ALIVE}").rename(folder / _ALIVE)
    _locks[folder] = handle
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a folder of `private_folder` and all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    handle = _locks.pop(folder, None)
    if handle is not None:
        os.close(handle)


def _sweep(place: Path) -> None:
    """Remove the private folders of programs of ours that are dead: they were killed."""
    for alive in place.glob(f"{_OURS}*/{_ALIVE}"):
        with swallowed(_log, f"sweeping {alive.parent}", OSError):
            if alive.parent.is_symlink() or alive.parent.stat().st_uid != os.getuid():
                continue
            with alive.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(alive.parent, ignore_errors=True)


def write_ssh_files(inventory: Inventory, folder: Path, *, user_files: Sequence[Path] | None = None) -> SshFiles:
    """Render the files into `folder`, which becomes private. A file whose text is the same is left alone.

    `user_files` are the configurations to extend; by default those of the user and of the system that exist.
    """
    folder = folder.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    extends = default_user_files() if user_files is None else user_files
    files = SshFiles(
        folder=folder,
        config=folder / "config",
        batch=folder / "batch",
        known_hosts=folder / "known_hosts",
        extends=tuple(path for path in extends if os.access(path, os.R_OK)),
    )
    config = render_config(inventory, files.known_hosts, user_files=files.extends)
    _write(files.known_hosts, render_known_hosts(inventory))
    _write(files.config, config)
    _write(files.batch, render_batch(config))
    return files


def render_config(inventory: Inventory, known_hosts: Path, *, user_files: Sequence[Path] | None = None) -> str:
    """Return the text of `config`; `known_hosts` is where the deployment's keys are."""
    included = default_user_files() if user_files is None else [path for path in user_files if os.access(path, os.R_OK)]
    blocks = [_block(instance, known_hosts) for instance in inventory.instances.values()]
    # An Include belongs to the block above it, and would be read for that host alone.
    extends = ["Match all", *include_lines(included), ""] if included else []
    return "\n".join([block for block in blocks if block] + ["\n".join(extends)])


def include_lines(files: Iterable[Path]) -> list[str]:
    """Return the lines that have ssh read these configurations, too."""
    return [f"Include {_quoted(path.absolute())}" for path in files]


def render_batch(config: str) -> str:
    """Return the text of `batch`, which is that of `config` for programs."""
    return _FIRST + config + _LAST


def render_known_hosts(inventory: Inventory) -> str:
    """Return a line for each key that the deployment names, under the alias of its instance."""
    lines = dict.fromkeys(
        f"{host_key_alias(instance)} {' '.join(key.split()[:2])}\n"
        for instance in inventory.instances.values()
        for key in instance.host_keys
    )
    return "".join(lines)


def host_key_alias(instance: Instance) -> str:
    """Return the name under which the keys of an instance are kept: its own, unless the deployment sets an alias."""
    return next(
        (values[0] for name, values in instance.ssh if name.lower() == "hostkeyalias" and values), instance.name
    )


def default_user_files() -> list[Path]:
    """Return the configurations of the user and of the system, as far as they exist."""
    paths = [os.path.expanduser("~/.ssh/config"), _SYSTEM_CONFIG]  # noqa: PTH111 - pathlib fails where there is no home
    return [Path(path) for path in paths if os.access(path, os.R_OK)]


def nix_ssh_opts(files: SshFiles, existing: str | None = None) -> str:
    """Return the value of `NIX_SSHOPTS`: our configuration, then what the user has there.

    Nix splits it at blanks and knows no quotes, so a folder with a blank in its name raises `OptionError`.
    """
    if _has_blank(str(files.batch)):
        raise OptionError(
            f"{files.batch} has a blank in its name, which Nix cannot pass on to ssh. "
            "Set XDG_RUNTIME_DIR (or TMPDIR) to a folder without one."
        )
    # A control master of the user would make `nix copy` hang, and the user's options come after ours.
    ours = f"-F {files.batch} -o ControlMaster=no -o ControlPath=none"
    return f"{ours} {existing}".strip() if existing else ours


def _block(instance: Instance, known_hosts: Path) -> str:
    options = [f"  {name} {value}" for name, values in instance.ssh for value in values]
    lines = [*_key_options(instance, known_hosts), *options]
    return "\n".join([f"Host {instance.name}", *lines, ""]) if lines else ""


def _key_options(instance: Instance, known_hosts: Path) -> Iterable[str]:
    """Make the deployment's keys the only authority: they stand first, so nothing further down weakens them."""
    if not instance.host_keys:
        return ()
    return (
        f"  HostKeyAlias {host_key_alias(instance)}",
        f"  UserKnownHostsFile {_quoted(known_hosts).replace('%', '%%')}",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        "  NoHostAuthenticationForLocalhost no",
        "  VerifyHostKeyDNS no",
        "  CheckHostIP no",
        "  UpdateHostKeys no",
    )


def _quoted(path: Path) -> str:
    return f'"{path}"' if _has_blank(str(path)) else str(path)


def _has_blank(text: str) -> bool:
    return any(letter.isspace() for letter in text)


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
