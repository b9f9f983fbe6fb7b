"""Where our own files of a deployment lie, so that they are found again, shared by a team, and in nobody's `./.`.

The state file lies where the user says, by default where Nix-Hive reads it. All else (journals, outputs, keys of
`--once`, roots) has a folder: the one that is named; or a `.hive` that is there, as a team has it; or one below the
user's own folder for state, by the absolute path of the deployment.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.util.files import make_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
_log = logging.getLogger(__name__)

DEFAULT_CONFIG = "hive.nix"
"""The deployment, where none is named."""
DEFAULT_STATE = ".hive.state"
"""The state file, where none is named."""
BESIDE = ".hive"
"""The name of a folder that lies beside a state file or a deployment."""
_OURS = "nixhive_nb"
_MARK = "deployment"
"""The file that says which deployment a folder belongs to."""
_DEFAULT_NIX = "default.nix"
ROOTS = "gcroots"
"""The folder of links that keep results from being collected."""
_UNUSED = 30 * 24 * 3600.0
"""Seconds after which the roots of a deployment that is not there any more are let go of."""
_HASH = 12
_LONGEST = 60


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Absolute paths of what is ours."""

    deployment: Path
    state: Path
    """The state file."""
    folder: Path
    """Journals, outputs, keys, roots and the ssh configuration."""

    @property
    def kept_state(self) -> Path:
        """The state file that stands in for `state` where a system takes the folder of that into the store."""
        return self.folder / "hive.state"

    def make(self) -> Path:
        """Make the folder if it is not there, and return it. Raises `OSError`."""
        is_new = not self.folder.is_dir()
        make_folder(self.folder)
        if is_new and self.folder.name != BESIDE:
            write_whole(self.folder / _MARK, f"{self.deployment}\n".encode(), shared=True)
            if self.folder.parent.name == _OURS:
                _sweep_roots(self.folder.parent)
        return self.folder


def places_of(deployment: str | Path, state: str | Path, state_dir: str | Path | None = None) -> Places:
    """Return where the files of a deployment lie. Nothing is made.

    Where the user has no folder for state that could be written, `.hive` beside the state file is the last resort.
    """
    path, file = Path(deployment).absolute(), Path(state).absolute()
    if state_dir:
        return Places(deployment=path, state=file, folder=Path(state_dir).expanduser().absolute())
    holder = path if path.is_dir() else path.parent
    beside = [one for one in (file.parent / BESIDE, holder / BESIDE) if os.path.isdir(one)]  # noqa: PTH112 - as below
    own = _own_folder(path)
    last = own if own is not None and _can_be_made(own) else file.parent / BESIDE
    return Places(deployment=path, state=file, folder=next(iter(beside), last))


def own_places(deployment: Path) -> Places | None:
    """Return where the files of a deployment lie that no team shares; None for a user without a home."""
    folder = _own_folder(deployment.absolute())
    if folder is None:
        return None
    return Places(deployment=deployment.absolute(), state=folder / "hive.state", folder=folder)


def trusted_mark(deployment: Path, words: Mapping[str, str]) -> Path | None:
    """Return the file that stands for the user's trust in a deployment that says these words; None without a home.

    It lies below the user's own folder, never beside a deployment: who writes that could write the file as well.
    """
    home = _state_home()
    text = "\0".join([os.path.realpath(deployment), *(f"{name}\0{value}" for name, value in sorted(words.items()))])
    digest = _sha256(text.encode("utf-8", "surrogateescape"))
    return home / _OURS / "trusted" / digest if home is not None else None


def _sweep_roots(folder: Path) -> None:
    """Let go of what deployments that are no more keep from being collected; their journals stay.

    Those that were used of late keep it: a deployment may be on a disk that is not there today.
    """
    for mark in folder.glob(f"*/{_MARK}"):
        roots = mark.parent / ROOTS
        try:
            gone = not os.path.lexists(mark.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n"))
            if gone and time.time() - roots.stat().st_mtime > _UNUSED:
                import shutil  # noqa: PLC0415 - as above

                shutil.rmtree(roots)
        except OSError:
            _log.debug("sweeping %s", roots, exc_info=True)  # there are none, or somebody else did it


def _own_folder(deployment: Path) -> Path | None:
    """Return the folder of a deployment below the user's; None for a user without a home. Links lead to one folder."""
    home = _state_home()
    if home is None:
        return None
    real = Path(os.path.realpath(deployment))
    real = real.parent if real.name == _DEFAULT_NIX else real
    told = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(real.parts[-2:])).strip("-.")[:_LONGEST]
    digest = _sha256(os.fsencode(real))[:_HASH]
    return home / _OURS / f"{told}-{digest}"


def _sha256(text: bytes) -> str:
    import hashlib  # noqa: PLC0415 - OpenSSL, which no help needs

    return hashlib.sha256(text).hexdigest()


def _state_home() -> Path | None:
    """Return `$XDG_STATE_HOME`, or its default. What is not absolute does not count, as the specification has it."""
    for found in (os.environ.get("XDG_STATE_HOME", ""), _below(os.environ.get("HOME", "")), _below(_home_of_user())):
        if os.path.isabs(found):  # noqa: PTH117 - of a text that may be empty
            return Path(found)
    return None


def _below(home: str) -> str:
    return f"{home}/.local/state" if home else ""


def _home_of_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def _can_be_made(folder: Path) -> bool:
    there = next(str(one) for one in (folder, *folder.parents) if os.path.lexists(one))
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)  # noqa: PTH112 - pathlib fails
