"""Which revision a system was made from, as our own runs have noted it: for hosts that do not say it themselves.

`revisions` in the folder of `places` has a line for each system of a run, `PATH REVISION`. A record for people, as the
journals are, and never the truth: a host says what it runs.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from nixhive_nb.deployment.revision import DIRTY
from nixhive_nb.util.files import make_folder, private_opener, read_tail, write_whole
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from pathlib import Path

    from nixhive_nb.plan.plan import Plan

_log = logging.getLogger(__name__)
_FILE = "revisions"
_MOST = 512 * 1024
"""As many bytes are kept: some thousand systems."""


def note(folder: Path, plan: Plan) -> None:
    """Note what the systems of a plan are made from. What cannot be written is not."""
    if plan.revision is None:
        return
    known = noted(folder)
    new = {one.path: str(plan.revision) for one in plan.wanted if one.path}
    lines = "".join(f"{path} {said}\n" for path, said in new.items() if known.get(path) != said)
    if not lines:
        return
    file = folder / _FILE
    with swallowed(_log, "noting revisions", OSError):
        make_folder(folder)
        with open(file, "ab", opener=_appending) as stream:
            stream.write(lines.encode())
            size = stream.tell()
        if size > 2 * _MOST:
            write_whole(file, read_tail(file, most=_MOST).partition("\n")[2].encode(), shared=True)


def noted(folder: Path) -> dict[str, str]:
    """Return the revision of each system that is noted: of several the last, if it can be one without a change."""
    found: dict[str, str] = {}
    with swallowed(_log, "reading revisions", OSError):
        for line in read_tail(folder / _FILE, most=2 * _MOST).splitlines():
            path, _, said = line.partition(" ")
            is_worse = said.endswith(DIRTY) and path in found and not found[path].endswith(DIRTY)
            if said and not is_worse:
                found[path] = said
    return found


def _appending(name: str, flags: int) -> int:
    return private_opener(name, flags | os.O_APPEND)
