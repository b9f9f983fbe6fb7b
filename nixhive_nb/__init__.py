"""NixOS fleets from a notebook: `%load_ext nixhive_nb`, then `%hive`; or `Hive` from Python; or `nix-hive`.

Importing this package is cheap: pandas, Fabric and IPython are imported when they are needed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nixhive_nb.errors import (
    ConnectionFailed,
    DeploymentError,
    HiveError,
    HostKeyError,
    LinkLost,
    MissingProgram,
    NixError,
    OptionError,
    RunFailed,
    StateError,
    StepFailed,
    TargetError,
)

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from nixhive_nb.hive import Hive

    __version__: str

__all__ = [
    "ConnectionFailed",
    "DeploymentError",
    "Hive",
    "HiveError",
    "HostKeyError",
    "LinkLost",
    "MissingProgram",
    "NixError",
    "OptionError",
    "RunFailed",
    "StateError",
    "StepFailed",
    "TargetError",
    "__version__",
    "load_ipython_extension",
    "unload_ipython_extension",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Bring in `%hive` and `%%hive`: what `%load_ext nixhive_nb` calls."""
    from nixhive_nb.notebook.extension import load  # noqa: PLC0415 - IPython, pandas and Fabric only when asked for

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take them away again, and close every connection: what `%unload_ext nixhive_nb` calls."""
    from nixhive_nb.notebook.extension import unload  # noqa: PLC0415 - see above

    unload(shell)


def __getattr__(name: str) -> object:
    if name == "Hive":
        from nixhive_nb.hive import Hive  # noqa: PLC0415 - see above

        return Hive
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - see above

        return version("nixhive_nb")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
