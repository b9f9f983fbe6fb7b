"""What a failed test leaves to look at: `build/failed/TEST/` has the end of each log of its fleets and of its runs."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixhive_nb.lab import Lab, LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINES = 300
_BYTES = 200_000
_FLEETS = ("*/lab/lab.json", "*/state/nixhive-lab/lab.json")
_OF_RUNS = ("*.jsonl", "*.log", "*.txt")
_OF_A_HOST = """
for log in /run/nixhive/*; do [ -f $log ] && echo "== $log" && tail -n 100 $log; done
ps -eo pid,args
[ ! -d /run/systemd/system ] || journalctl --boot --no-pager --lines 200
"""
_BEGAN = pytest.StashKey[float]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item) -> None:
    item.stash[_BEGAN] = time.time()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        base = Path(item.config._tmp_path_factory.getbasetemp())
        place = item.config.rootpath / "build" / "failed" / re.sub(r"[^\w.-]+", "-", item.nodeid)[-150:] / call.when
        shutil.rmtree(place, ignore_errors=True)  # of an earlier try
        kept = keep(base, place, since=item.stash.get(_BEGAN, 0.0))
        if kept:
            report.sections.append(("kept", f"{len(kept)} logs in {place}"))
    return report


def keep(base: Path, place: Path, since: float) -> list[Path]:
    """Copy the ends of logs that lie below `base` to `place`; of runs those that changed after `since`."""
    kept = []
    records = [record for pattern in _FLEETS for record in sorted(base.glob(pattern))]
    for record in records:
        if record.parents[-len(base.parts) - 1].is_symlink():  # pytest's own, to the newest folder of that name
            continue
        kept += _keep_fleet(record.parent, place / "fleets" / record.relative_to(base).parts[0])
    for file in _changed(base, since):
        kept.append(_keep(place / "runs" / file.relative_to(base), _end(file)))
    return kept


def _keep_fleet(folder: Path, place: Path) -> Iterator[Path]:
    for root in sorted((folder / "hosts").glob("*")):
        for log in [
            root / "start.log",
            folder / "containers" / root.name / "start.log",
            *sorted((root / "var" / "log").rglob("*")),
        ]:
            if log.is_file() and (text := _end(log)):
                yield _keep(place / root.name / log.name, text)
        try:
            yield _keep(place / root.name / "now", Lab.open(folder).exec(root.name, ["sh", "-c", _OF_A_HOST]))
        except LabError as error:
            yield _keep(place / root.name / "now", str(error))


def _changed(base: Path, since: float) -> list[Path]:
    found = [file for pattern in _OF_RUNS for file in base.rglob(pattern) if "hosts" not in file.parts]
    return sorted(file for file in found if file.is_file() and file.stat().st_mtime >= since)


def _end(file: Path) -> str:
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _BYTES))
        text = opened.read().decode(errors="replace")
    return "".join(text.splitlines(keepends=True)[-_LINES:])


def _keep(target: Path, text: str) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target
