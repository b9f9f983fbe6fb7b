"""The files beside a journal: what each instance said, and what was said on this machine (`build.log`)."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from nixhive_nb.util.files import file_name
from nixhive_nb.util.swallowed import swallowed

_log = logging.getLogger(__name__)

_BUILD_LOG = "build.log"
_LOG_OF_BUILD = "%62uild.log"
"""For an instance that is called `build`."""


def log_file(journal: Path, instance: str) -> Path:
    """Return the file that holds what an instance said, without one what was said on this machine.

    It is there once something was said.
    """
    name = f"{file_name(instance)}.log" if instance else _BUILD_LOG
    return journal.with_suffix("") / (_LOG_OF_BUILD if instance and name == _BUILD_LOG else name)


def short_file(file: str) -> str:
    """Return a path as a person here would type it: from the working folder if it is below, else from home (`~/…`)."""
    for place, mark in ((Path.cwd, ""), (Path.home, "~/")):
        with contextlib.suppress(ValueError), swallowed(_log, f"looking where {file} is", OSError, RuntimeError):
            return f"{mark}{Path(file).relative_to(place())}"
    return file
