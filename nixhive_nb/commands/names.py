"""The names of a deployment, left in a file by each load: what Tab in a shell reads in place of an evaluation.

The file lies in the user's own folder for state, readable by us alone: never beside the deployment, where it would be
taken into the store by a configuration that takes its own folder.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.places import own_places
from nixhive_nb.util.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from nixhive_nb.deployment.inventory import Inventory

_log = logging.getLogger(__name__)

NAMES = "names.json"
_FORMAT = 1
_MOST_BYTES = 4_000_000
"""What such a file may have: a fleet of 10,000 has a tenth of that. A larger one is neither written nor read."""


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """The names of a deployment."""

    systems: tuple[str, ...] = ()
    """All of them, also those that no instance runs."""
    instances: dict[str, str] = {}
    """The system of each instance."""
    tags: dict[str, int] = {}
    """How many instances have each tag."""


class _Noted(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds."""

    format: int
    names: Names


NOTHING = Names()


def names_of(inventory: Inventory) -> Names:
    """Return the names of a deployment that is loaded."""
    found = inventory.instances
    return Names(
        systems=tuple(inventory.systems),
        instances={name: one.system for name, one in found.items()},
        tags=dict(Counter(tag for one in found.values() for tag in sorted(set(one.tags)))),
    )


def note_names(deployment: Path, inventory: Inventory) -> None:
    """Leave the names of a deployment for the next Tab, in the user's own folder for state, readable by us alone.

    Nothing is written where the file says the same already, where there is no such folder, or where it cannot be.
    """
    places = own_places(deployment)
    if places is None:
        return
    noted = _Noted(format=_FORMAT, names=names_of(inventory))
    content, file = msgspec.json.encode(noted), places.folder / NAMES
    try:
        if len(content) <= _MOST_BYTES and _content(file) != content:
            write_whole(places.make() / NAMES, content)
    except OSError:
        _log.debug("the names of %s cannot be left for Tab", deployment, exc_info=True)


def read_names(deployment: Path) -> Names:
    """Return the names that the last load of a deployment has left; none where it left none that can be read."""
    places = own_places(deployment)
    if places is None:
        return NOTHING
    try:
        noted = msgspec.json.decode(_content(places.folder / NAMES), type=_Noted)
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError):
        _log.debug("no names are known of %s", deployment, exc_info=True)
        return NOTHING
    return noted.names if noted.format == _FORMAT else NOTHING


def _content(file: Path) -> bytes:
    """Return what a file of names holds, nothing for one that is missing or too long to be one. Raises `OSError`."""
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return b""
    return content if len(content) <= _MOST_BYTES else b""
