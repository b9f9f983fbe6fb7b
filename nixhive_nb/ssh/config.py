"""The OpenSSH configuration of a deployment, rendered into a private folder.

`config` is for people (`nix-hive ssh`), `batch` for machines (`nix copy`, jump hosts, lookups with `ssh -G`). Both
extend the user's own configuration: in ssh_config the first value wins, so the deployment's blocks stand in front.
What `NIX_SSHOPTS` says stands between both, so that it counts for commands as for copies.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shlex
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.sources.ssh_words import ssh_options
from nixhive_nb.errors import ConnectionFailed, OptionError
from nixhive_nb.ssh.own_files import home, read_options, refused_by_ssh
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixhive_nb.deployment.inventory import Instance, Inventory
    from nixhive_nb.deployment.ways import SshOptions

_log = logging.getLogger(__name__)

SESSIONS = 5
"""Commands at a time in one connection. sshd allows 10 sessions (`MaxSessions`), and counts one that was closed until
it has taken all that came with that: in the place of each that ends another may begin, and both count."""
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
ClearAllForwardings yes
ExitOnForwardFailure no
Tunnel no
AddKeysToAgent no
LogLevel ERROR
"""
_NEWER = {"SessionType": "default", "StdinNull": "no", "ForkAfterAuthentication": "no"}
"""What would keep a command from its input or output. An ssh before 8.7 does not know them: then nobody says them."""
_CHANNELS, _IGNORED = "channeltimeout", "ignoreunknown"
"""What would end a copy that rests, and how somebody says it whose ssh may be too old to know it."""
# What hosts say is read: it is not to come in the language of whoever works here.
_LAST = f"""\

Match all
ConnectTimeout {CONNECT_TIMEOUT}
ConnectionAttempts 1
ServerAliveInterval 15
ServerAliveCountMax 4
SendEnv -*
"""
_SYSTEM_CONFIG = "/etc/ssh/ssh_config"
# A control socket's name gets a suffix while it is made, and the kernel allows 107 bytes in all.
_LONGEST_FOLDER = 60
_OURS = "hive-"
_DIGITS = 12
NIX_SSHOPTS = "NIX_SSHOPTS"
"""The variable in which Nix takes words for ssh."""
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
    texts: dict[Path, str] = {}
    """What was written into each file."""
    warnings: tuple[str, ...] = ()
    """What of the user's own was left out, and why."""
    shell: str = ""
    """The shell that ssh runs a ProxyCommand of ours by; empty for that of the user, which has start-up files."""

    @property
    def environment(self) -> dict[str, str]:
        """What a program has to have in its environment beside what it has, where it is or starts an ssh of these."""
        return {"SHELL": self.shell} if self.shell else {}


def private_folder() -> Path:
    """Make a folder that only we can enter, with a short name without blanks, fit for sockets and `NIX_SSHOPTS`."""
    places = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]  # noqa: S108 - mkdtemp makes it safe
    fit = [place for place in places if place and len(place) < _LONGEST_FOLDER and not _has_blank(place)]
    usable = next((place for place in fit if os.access(place, os.W_OK | os.X_OK)), tempfile.gettempdir())
    _sweep(Path(usable))
    folder = Path(tempfile.mkdtemp(prefix=_OURS, dir=usable))
    _hold(folder)
    return folder


def _hold(folder: Path) -> None:
    """Show to other programs of ours that a folder is in use."""
    before = _locks.pop(folder, None)
    if before is not None:
        os.close(before)
    handle = os.open(folder / f".{_ALIVE}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with swallowed(_log, "locking a private folder", OSError):  # a file system without locks: then nobody sweeps it
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Locked before it has its name: whoever sees it without a lock knows that we are dead.
        Path(folder, f".{_ALIVE}").rename(folder / _ALIVE)
    _locks[folder] = handle


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
    readable = default_user_files() if user_files is None else [path for path in user_files if os.access(path, os.R_OK)]
    refused = {path: why for path in readable if (why := refused_by_ssh(path))}
    extends = tuple(path for path in readable if path not in refused)
    everywhere, unused = _of_environment(os.environ.get(NIX_SSHOPTS, ""))
    names = {name: folder / name for name in ("config", "batch", "known_hosts")}
    known_hosts = names["known_hosts"]
    config = render_config(inventory, known_hosts, user_files=extends, everywhere=everywhere)
    texts = {
        **{place: render_known_hosts(inventory, place) for place in _known_hosts_files(inventory, known_hosts)},
        names["config"]: config,
        names["batch"]: render_batch(config, newer=_undone(config, extends)),
    }
    for path, text in texts.items():
        write_new_text(path, text)
    left_out = [f"{path} is left out of our ssh configuration: {why}." for path, why in refused.items()]
    return SshFiles(
        folder=folder,
        config=names["config"],
        batch=names["batch"],
        known_hosts=known_hosts,
        extends=extends,
        texts=texts,
        warnings=tuple(left_out + ([unused] if unused else [])),
    )


def restore(files: SshFiles) -> None:
    """Make the folder anew, and what was in it, where somebody has cleaned up. Raises `ConnectionFailed`."""
    gone = [path for path in files.texts if not path.exists()]
    if not gone:
        return
    _log.info("%s is gone, and made anew", ", ".join(map(str, gone)))
    try:
        with swallowed(_log, f"making {files.folder}", FileExistsError):
            files.folder.mkdir(mode=0o700)
        found = files.folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "it is somebody else's now")
        files.folder.chmod(0o700)
        if files.folder in _locks:
            _hold(files.folder)
        for path in gone:
            write_new_text(path, files.texts[path])
    except OSError as error:
        raise ConnectionFailed(
            f"The folder of our ssh configuration, {files.folder}, is gone and cannot be made anew: {error.strerror}. "
            "Where XDG_RUNTIME_DIR has ended with a login, set another one."
        ) from None


def render_config(
    inventory: Inventory,
    known_hosts: Path,
    *,
    user_files: Sequence[Path] | None = None,
    everywhere: SshOptions = (),
) -> str:
    """Return the text of `config`; `known_hosts` is where the deployment's keys are.

    `everywhere` holds for all hosts, where the deployment does not say otherwise.
    """
    included = default_user_files() if user_files is None else [path for path in user_files if os.access(path, os.R_OK)]
    blocks = [_block(instance, known_hosts) for instance in inventory.instances.values()]
    common = [f"  {name} {value}" for name, values in everywhere for value in values]
    # An Include belongs to the block above it, and would be read for that host alone.
    extends = include_lines(included)
    end = ["Match all", *common, *extends, ""] if common or extends else []
    return "\n".join([block for block in blocks if block] + ["\n".join(end)])


def include_lines(files: Iterable[Path]) -> list[str]:
    """Return the lines that have ssh read these configurations, too."""
    return [f"Include {_quoted(path.absolute())}" for path in files]


def render_batch(config: str, newer: Iterable[str] = ()) -> str:
    """Return the text of `batch`, which is that of `config` for programs.

    `newer`: lines that undo what an older ssh does not know.
    """
    return _FIRST + "".join(f"{line}\n" for line in newer) + config + _LAST


def _undone(config: str, extends: Sequence[Path]) -> list[str]:
    """Return lines that undo what only a newer ssh knows, where somebody says it, or may since we cannot read it."""
    ours = [tuple(line.split(maxsplit=1)) for line in config.splitlines() if line.strip()]
    theirs = read_options(extends)
    known = [(words[0].lower(), words[-1]) for words in ours] + [(line.keyword, line.value) for line in theirs or ()]
    said = {keyword for keyword, _ in known}
    lines = [f"{name} {value}" for name, value in _NEWER.items() if theirs is None or name.lower() in said]
    if _CHANNELS in said:
        # Of two such lines the first one counts: it has all.
        ignored = [value.strip('"') for keyword, value in known if keyword == _IGNORED]
        lines += [f"IgnoreUnknown {','.join([*ignored, _CHANNELS])}", "ChannelTimeout none"]
    return lines


def _of_environment(text: str) -> tuple[SshOptions, str]:
    """Return what NIX_SSHOPTS says as options, and a warning where it cannot be used."""
    try:
        return ssh_options(shlex.split(text)), ""
    except ValueError as error:
        _log.debug("reading %s", NIX_SSHOPTS, exc_info=True)
        return (), f"{NIX_SSHOPTS} is not used: {error}."


def render_known_hosts(inventory: Inventory, place: Path) -> str:
    """Return the lines of a file of known hosts: each key that the deployment names, under the alias of its instance.

    An instance with authorities has a file of its own, for any name: by its name the certificate is looked at.
    """
    lines: dict[str, None] = {}
    for instance in inventory.instances.values():
        if _known_hosts_of(instance, place) != place:
            continue
        name = "*" if instance.host_cas else host_key_alias(instance)
        for key in instance.host_keys:
            lines[f"{name} {' '.join(key.split()[:2])}\n"] = None
        for key in instance.host_cas:
            lines[f"@cert-authority {name} {' '.join(key.split()[:2])}\n"] = None
    return "".join(lines)


def _known_hosts_files(inventory: Inventory, known_hosts: Path) -> set[Path]:
    return {known_hosts, *(_known_hosts_of(instance, known_hosts) for instance in inventory.instances.values())}


def _known_hosts_of(instance: Instance, known_hosts: Path) -> Path:
    """Return where the keys of an instance are; those with the same authorities and keys share a file."""
    if not instance.host_cas:
        return known_hosts.with_name("known_hosts")
    words = "\n".join([*sorted(instance.host_cas), "", *sorted(instance.host_keys)])
    return known_hosts.with_name(f"known_hosts-{hashlib.sha256(words.encode()).hexdigest()[:_DIGITS]}")


def host_key_alias(instance: Instance) -> str:
    """Return the name under which the keys of an instance are kept: its own, unless the deployment sets an alias.

    Empty where an authority vouches for the host, and no alias is set: a certificate is for its host name.
    """
    alias = next((values[0] for name, values in instance.ssh if name.lower() == "hostkeyalias" and values), "")
    return alias or ("" if instance.host_cas else instance.name)


def default_user_files() -> list[Path]:
    """Return the configurations of the user and of the system, as far as they exist.

    That of the user is below HOME; where none is there, as in jobs of CI with a HOME of their own, it is the one that
    OpenSSH reads, which looks at no HOME.
    """
    homes = dict.fromkeys((os.environ.get("HOME") or home(), home()))
    own = [path for path in (f"{one}/.ssh/config" for one in homes) if os.access(path, os.R_OK)]
    return [Path(path) for path in (*own[:1], _SYSTEM_CONFIG) if os.access(path, os.R_OK)]


def nix_ssh_opts(files: SshFiles) -> str:
    """Return the value of `NIX_SSHOPTS`: our configuration, which has what the user has there.

    Nix splits it at blanks and knows no quotes, so a folder with a blank in its name raises `OptionError`.
    """
    if _has_blank(str(files.batch)):
        raise OptionError(
            f"{files.batch} has a blank in its name, which Nix cannot pass on to ssh. "
            "Set XDG_RUNTIME_DIR (or TMPDIR) to a folder without one."
        )
    restore(files)
    # A control master of the user would make `nix copy` hang.
    return f"-F {files.batch} -o ControlMaster=no -o ControlPath=none"


def _block(instance: Instance, known_hosts: Path) -> str:
    options = [f"  {name} {value}" for name, values in instance.ssh for value in values]
    lines = [*_key_options(instance, known_hosts), *options]
    return "\n".join([f"Host {instance.name}", *lines, ""]) if lines else ""


def _key_options(instance: Instance, known_hosts: Path) -> Iterable[str]:
    """Make the deployment's keys the only authority: they stand first, so nothing further down weakens them."""
    if not instance.host_keys and not instance.host_cas:
        return ()
    alias = host_key_alias(instance)
    return (
        *([f"  HostKeyAlias {alias}"] if alias else []),
        f"  UserKnownHostsFile {_quoted(_known_hosts_of(instance, known_hosts)).replace('%', '%%')}",
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


def write_new_text(path: Path, text: str) -> None:
    """Write a file whole, unless it holds that text already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
