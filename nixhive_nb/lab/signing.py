"""The signing key of a user's practice fleets. It stays when a fleet goes.

All fleets share this machine's Nix store. With a key for each of them, the paths there would gather one signature per
fleet, and all of these are sent along whenever a path is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from typing import TYPE_CHECKING

from nixhive_nb.lab.commands import run
from nixhive_nb.lab.model import LabError
from nixhive_nb.lab.places import signing_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def user_keys(nix: Mapping[str, str]) -> tuple[Path, Path]:
    """Return the user's secret and public key file, made where missing. `nix` is the environment for nix-store.

    Raises a LabError when they cannot be kept.
    """
    folder = signing_folder()
    secret, public = folder / "secret", folder / "public"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder):
            # The public half comes last: where it is, both are whole.
            if not (secret.exists() and public.exists()):
                _make(secret, public, nix)
    except OSError as error:
        raise LabError(
            f"The signing key of practice fleets cannot be kept in {folder}: {error.strerror}. "
            "Set XDG_STATE_HOME to a folder that you can write to."
        ) from None
    return secret, public


def _make(secret: Path, public: Path, nix: Mapping[str, str]) -> None:
    fresh = [path.with_suffix(".new") for path in (secret, public)]
    for path in fresh:
        path.unlink(missing_ok=True)
    name = f"nixhive-lab-{secrets.token_hex(4)}"
    run(["nix-store", "--generate-binary-cache-key", name, *map(str, fresh)], env=nix)
    fresh[0].chmod(0o600)
    public.unlink(missing_ok=True)
    fresh[0].replace(secret)
    fresh[1].replace(public)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that fleets that start at once take the same key."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
