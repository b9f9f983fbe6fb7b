"""Kernels without their start: forked from a process that has imported what all of them import.

The tests open seventy notebooks, and a kernel takes about a second of a processor to start, most of it for imports.
What is forked runs ipykernel as it is, with the arguments, the folder, the environment and the descriptors that Jupyter
gave it (tests/forks.py), as the leader of a session, as Jupyter's own kernels are. Widgets are imported by
each kernel, which they look for meanwhile.
"""

from __future__ import annotations

import atexit
import importlib
import os
import pkgutil
import sys
import threading

from tests import forks

_BEFORE = (
    "ipykernel.kernelapp",
    "ipykernel.debugger",
    "jedi",
    "pandas",
    "fabric",
    "psygnal",
    "rich.live",
    "rich.table",
)
_LATER = ("nixhive_nb.__main__", "nixhive_nb.notebook")
"""What imports widgets, or is a program."""


def serve(place: str) -> list[str]:
    """Serve until this process is ended. Returns the words of a kernel in a process that is one."""
    before = dict(os.environ)
    for name in _BEFORE:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(importlib.import_module("nixhive_nb").__path__, "nixhive_nb."):
        if not module.name.startswith(_LATER):
            importlib.import_module(module.name)
    set_by_imports = {name: text for name, text in os.environ.items() if before.get(name) != text}
    assert "ipywidgets" not in sys.modules
    return forks.serve(place, set_by_imports=set_by_imports, as_leader=True)


if __name__ == "__main__":
    sys.path.remove(os.getcwd())  # noqa: PTH109 - as it stands there
    sys.argv = ["ipykernel_launcher.py", *serve(sys.argv[1])]
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
    # As Python ends, but for taking itself to pieces.
    threading._shutdown()
    atexit._run_exitfuncs()
    os._exit(0)
