"""What needs no host: what the notebook's extension adds to a start, and `benchmarks/scale.py`: 10,000 instances."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from benchmarks.harness import Line, Outcome, Row, Way
from benchmarks.setting import ROOT, quietly

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.setting import Setting

_EXTENSION = """
import time, IPython, pandas
shell = IPython.core.interactiveshell.InteractiveShell.instance()
before = time.process_time()
shell.run_line_magic("load_ext", "nixhive_nb")
print(time.process_time() - before)
"""
_SCALE = ROOT / "benchmarks" / "scale.py"
_VALUE = re.compile(r"\| ([0-9][0-9.e+-]*) (s|ms|x|MB) \|")


def extension(_: Setting) -> list[Way]:
    """Return what counts the processor time of `%load_ext` where IPython and pandas are imported."""

    def load() -> Outcome:
        return Outcome(value=float(quietly([sys.executable, "-c", _EXTENSION], ROOT).stdout.split()[-1]))

    return [Way("%load_ext", load, 1)]


def scaled(*rows: str) -> Callable[[Setting], list[Way]]:
    """Return what has `scale.py` measure its rows, each in a process of its own."""

    def ways(_: Setting) -> list[Way]:
        return [Way(row, lambda row=row: _once(row), 1) for row in rows]

    return ways


def _once(row: str) -> Outcome:
    if not _SCALE.exists():
        raise FileNotFoundError("benchmarks/scale.py is not there")
    said = quietly([sys.executable, str(_SCALE), "-r", "1", row], ROOT).stdout.decode()
    found = _VALUE.search(said)
    if found is None:
        raise ValueError(f"scale.py said no value of {row}: {said[-200:]}")
    return Outcome(value=float(found[1]))


ROWS = (
    Row(
        "extension",
        "`%load_ext` after IPython and pandas",
        (Line("%load_ext", "", "least", 0.05, "0.2 s", "s"),),
        "The imports of ipywidgets and anywidget, and of what the magics are made of.",
        extension,
        rounds=7,
    ),
    Row(
        "scale",
        "10,000 instances, 20 relays, nothing but this machine",
        (
            Line("plan", "", "least", 0.15, "0.53 s", "s for a plan"),
            Line("patterns", "", "least", 0.1, "1.9 s", "s for 1,000 names as patterns"),
            Line("load", "", "least", 1.2, "2.4 ×", "× `nix-instantiate` of the same to load"),
            Line("step", "", "least", 0.05, "0.09 ms", "ms a step of the engine, 32 at once"),
            Line("step_crowded", "", "least", 0.05, "0.14 ms", "ms a step of the engine, 1,000 at once"),
            Line("memory", "", "least", 100, "88 MB", "MB of memory, 32 at once"),
            Line("memory_crowded", "", "least", 100, "181 MB", "MB of memory, 1,000 at once"),
        ),
        "Of the load: to print 10,000 instances with no look at what they hold takes Nix 1.12 times as long as to print"
        " them alone (tried), and 1.27 with the looks (with words for errors 1.41). To make objects of them adds "
        "0.15 with no look at a value (tried), and 0.6 with all. So 1.2 is out of reach where mistakes are told. Of a "
        "step: five waits of a simulated host, each a turn of asyncio's loop; where hosts answer at once, a step takes "
        "0.015 ms. Of a plan: some 20,000 steps and as many sets of terms.",
        scaled("plan", "patterns", "load", "step", "step_crowded", "memory", "memory_crowded"),
    ),
)
