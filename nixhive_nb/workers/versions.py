"""What must fit between the operator, the scheduler and the workers, before anything is done."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOL = "2"
"""The words between an operator and a worker: raised when they change."""
_COMPARED = ("nixhive_nb", "dask", "distributed", "msgpack", "cloudpickle")
_PYTHON = "python"
_WORDS = "protocol"


def own_versions() -> dict[str, str]:
    """Return the versions of this machine, by name. Of Python, what comes after the second number may differ."""
    found = {_WORDS: PROTOCOL, _PYTHON: f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in _COMPARED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def misfits(ours: Mapping[str, str], others: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a line for each that differs from ours, by who it is; what one does not say is not compared."""
    return [
        f"  {who}: {name} {theirs[name]}, here {ours[name]}{_remedy(name, ours[name])}"
        for who, theirs in others.items()
        for name in ours
        if name in theirs and theirs[name] != ours[name]
    ]


def _remedy(name: str, wanted: str) -> str:
    if name == _WORDS:
        return " (install the same nixhive_nb on both)"
    if name == _PYTHON:
        return f" (run both with Python {wanted})"
    return f" (there: pip install '{name}=={wanted}')"
