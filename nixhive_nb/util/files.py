"""Files and folders that are ours: written whole or not at all, and for us alone unless a team shares their folder.

A team shares a folder that is setgid and writable for its group (`chmod 2770`). What we make there is for that group.
Beside it: names for files, and the ends of long ones.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from nixhive_nb.util.swallowed import swallowed

_log = logging.getLogger(__name__)

_TEAM = stat.S_ISGID | stat.S_IWGRP
MOST_NAME = 180
"""The longest name that is kept as it is: file systems allow 255 bytes, and endings take some of them."""
TAIL = 65536
"""How many bytes of the end of a log are read."""


def file_name(name: str) -> str:
    """Return a name of a system or an instance as that of one file: never `.` or `..`, a path, or too long.

    Names are told apart by it, and an ordinary one stays as it is.
    """
    from urllib.parse import quote  # noqa: PLC0415 - as below

    plain = quote(name.encode("utf-8", "surrogatepass"), safe="")
    if plain.startswith("."):
        plain = f"%2E{plain[1:]}"
    if len(plain) <= MOST_NAME:
        return plain
    import hashlib  # noqa: PLC0415 - OpenSSL, which no help needs

    digest = hashlib.sha256(plain.encode()).hexdigest()
    return f"{plain[: MOST_NAME - 33]}-{digest[:32]}"


def read_tail(file: Path, *, start: int = 0, most: int = TAIL) -> str:
    """Return the text of a file from byte `start` on, or only its last bytes where that is more. Raises `OSError`."""
    with file.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(start, end - most))
        return stream.read(most).decode("utf-8", errors="replace")


def write_whole(file: Path, content: bytes, *, shared: bool = False) -> None:
    """Put a file in place, readable by us alone (0600). A crash leaves the old one or the new one. Raises `OSError`.

    With `shared` it keeps the mode and the group of one that its group can write, and a new one is the team's in its
    folder.
    """
    import tempfile  # noqa: PLC0415 - as above

    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")
    try:
        with open(handle, "wb") as temporary:  # noqa: PTH123 - a descriptor; mkstemp made it for us alone (0600)
            temporary.write(content)
            temporary.flush()
            if shared:
                _share_as(temporary.fileno(), file)
            os.fsync(temporary.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_new(file: Path, content: bytes) -> None:
    """Put a file in place that is not there yet, whole or not at all. Raises `FileExistsError`, and other `OSError`."""
    import secrets  # noqa: PLC0415 - as above

    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(temporary, file)  # which never replaces one
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it, for us alone (0700), or for the team that shares the one above. Return it.

    One of ours that a team's folder already holds is opened to the team. Raises `OSError`.
    """
    if not folder.is_dir():
        if folder.parent != folder:
            make_folder_above(folder)
        folder.mkdir(mode=0o700, exist_ok=True)
    if is_shared(folder.parent) and not is_shared(folder):
        _open_to_team(folder)
    return folder


def make_folder_above(file: Path) -> None:
    """Make the folder of a file, where there is none. Raises `OSError`."""
    if not file.parent.is_dir():
        make_folder(file.parent)


def private_opener(name: str, flags: int) -> int:
    """Open a file of ours, for `open(opener=…)`: a new one is for us alone (0600), or for the team of its folder."""
    descriptor = os.open(name, flags, 0o600)
    if is_shared(Path(name).parent):
        with swallowed(_log, f"opening {name} to its group", PermissionError):  # somebody else's, who has opened it
            os.fchmod(descriptor, 0o660)
    return descriptor


def mode_in(folder: Path) -> int:
    """Return the mode of a new file of ours in a folder."""
    return 0o660 if is_shared(folder) else 0o600


def is_shared(folder: Path) -> bool:
    """Return whether a folder is one that a team shares: setgid, and writable for its group."""
    try:
        return folder.stat().st_mode & _TEAM == _TEAM
    except OSError:
        _log.debug("cannot look at %s", folder, exc_info=True)
        return False


def _open_to_team(folder: Path) -> None:
    """Let the group in, which a folder has from the one above; one of somebody else is for its owner to open."""
    with swallowed(_log, f"opening {folder} to its group", PermissionError):
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_ISGID | stat.S_IRWXG)


def _share_as(descriptor: int, file: Path) -> None:
    try:
        old = file.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, mode_in(file.parent))
        return
    mode = stat.S_IMODE(old.st_mode)
    if not mode & stat.S_IWGRP:
        return
    if os.fstat(descriptor).st_gid != old.st_gid:
        try:
            os.fchown(descriptor, -1, old.st_gid)
        except PermissionError:  # not in that group: what it may do, another one must not
            _log.debug("%s cannot have the group of its folder", file, exc_info=True)
            mode &= ~stat.S_IRWXG
    os.fchmod(descriptor, mode)
