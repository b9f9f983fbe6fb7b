"""Tests side by side: each worker in a world of its own, whole files, the long ones first, and nothing left of any.

As root, `pytest -n 6` starts its workers through `tools/apart`: each has its own network, mounts, /run and processes,
so that fleets, ports and browsers of two workers, or of two checkouts, cannot meet. When a worker has run its last
test it looks for what is left in its world, and what is left is a failure.
"""

from __future__ import annotations

import gc
import os
import shlex
import sys
import time
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.real import groups_below

ROOT = Path(__file__).parent.parent
APART = ROOT / "tools" / "apart"
LONG = (
    "tests/ui",
    "tests/fleet/test_reliability.py",
    "tests/test_docs.py",
    "tests/fleet",
    "tests/lab",
    "tests/notebook",
    "tests/ssh",
    "tests/hosts",
)
"""Where the long tests are, those first that take longest: who begins with them ends soonest."""
_SECONDS = float(os.environ.get("NIXHIVE_TEST_LEFT_SECONDS", "10"))
"""How long what was ended may take until it is gone."""


BY_PAGE = "tests/test_docs.py"
"""The file whose tests belong together by the page that they are of; each page could have a fleet of its own."""
BROWSER = "tests/ui"
"""The folder whose tests share a server and a browser, on one worker, which begins with them."""


class WholeFiles(LoadScopeScheduling):
    """Gives each worker whole files, so that a fleet is brought up once for all tests of a file."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file.startswith(BROWSER):
            return BROWSER
        return f"{file}[{test.partition('[')[2]}" if file == BY_PAGE else file

    def _reschedule(self, node) -> None:
        # A worker runs a test when it knows the one after it. More in advance would only wait behind it.
        if self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)


def rank(nodeid: str) -> int:
    """Return where a test stands in the order in which files are handed out."""
    return next((at for at, place in enumerate(LONG) if nodeid.startswith(place)), len(LONG))


def pytest_cmdline_main(config) -> None:
    # After xdist, which makes `tx` of -n, and before pytest itself, whose answer is the last that is asked for.
    if os.geteuid() == 0 and config.getoption("tx", None):
        # A worker that does not hear us any more would end its test first.
        python = f"setpriv --pdeathsig KILL {shlex.quote(str(APART))} {shlex.quote(sys.executable)}"
        config.option.tx = [f"popen//python={python}" if spec == "popen" else spec for spec in config.option.tx]


def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False  # its order is by the number of tests
    return WholeFiles(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items) -> None:
    if config.getoption("tx", None) or hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))


def pytest_collection_finish() -> None:
    # What has been imported and collected stays: collecting garbage need not look at half a million objects each time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def pytest_runtest_setup(item) -> None:
    # An interrupt that comes just as Python collects garbage is lost in there: hypothesis takes the time of that.
    gc.callbacks[:] = [one for one in gc.callbacks if not str(getattr(one, "__module__", "")).startswith("hypothesis")]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session) -> None:
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["left"] = left_behind(config) if _is_apart() else []
    elif not config.getoption("tx", None):
        _left(config).extend(left_behind(config) if _is_apart() else [])
    if _left(config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_runtest_logreport(report) -> None:
    """Say at once what failed and why: the run may go on for minutes."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        file = ROOT / "build" / "failures.txt"
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as failures:
            failures.write(f"{report.nodeid} ({report.when})\n{report.longreprtext}\n\n")


def pytest_testnodedown(node, error) -> None:
    _left(node.config).extend(getattr(node, "workeroutput", {}).get("left", []))


def pytest_terminal_summary(terminalreporter, config) -> None:
    for one in _left(config):
        terminalreporter.write_line(f"LEFT BEHIND by the tests: {one}", red=True)


def _is_apart() -> bool:
    return "NIXHIVE_APART" in os.environ


def _left(config) -> list[str]:
    return config.stash.setdefault(_LEFT, [])


_LEFT = pytest.StashKey[list[str]]()


def left_behind(config) -> list[str]:
    """Return what is left in this world once it had the time to go: processes, practice fleets and their parts."""
    deadline = time.monotonic() + _SECONDS
    below = Path(config._tmp_path_factory.getbasetemp())
    # One look can miss what a process starts that ends while we look: another one, begun when that had ended, does not.
    while left := _left_now(below) or _left_now(below):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return left


def _left_now(below: Path) -> list[str]:
    return [
        *_processes(),
        *_entries("/run/nixhive-lab", "[0-9]*"),
        *_entries("/run/netns", "*"),
        *_mounts(),
        *groups_below(below),  # the machine's, which all worlds see
    ]


def _mounts() -> list[str]:
    """What is mounted for hosts with systemd, which all have our name as the source."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [f"mount {line.split()[4]}" for line in lines if " overlay nixhive-lab-" in line]


def _processes() -> list[str]:
    own = {1, os.getpid()}
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it has ended
            continue
        # Not by its words, of which it has none while it becomes another program. The shell that ends what a test
        # starts in this process ends with it.
        if state not in "ZX" and int(path.name) not in own and "nixhive-lifeline" not in words:
            found.append(f"process {path.name}: {words}")
    return found


def _entries(folder: str, pattern: str) -> list[str]:
    return [str(path) for path in Path(folder).glob(pattern)]
