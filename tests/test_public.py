"""What a person may import: `__all__`, what public methods take and give, and the reference page say the same."""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
import pathlib
import re
import subprocess
import sys
import typing

import pandas as pd
import pytest

import nixhive_nb
from nixhive_nb import errors
from tests.pages import ROOT

PAGE = ROOT / "docs" / "reference" / "python.md"
OTHERS = {"__version__", "load_ipython_extension", "unload_ipython_extension"}
EXPORTED = {name: getattr(nixhive_nb, name) for name in nixhive_nb.__all__ if name not in OTHERS}
CLASSES = {name: one for name, one in EXPORTED.items() if isinstance(one, type)}
FOREIGN = ("builtins", "collections", "contextlib", "datetime", "pandas", "pathlib", "typing", "types")

RUNBOOK = '''
"""A runbook of a user's, which imports from nixhive_nb alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd

from nixhive_nb import (
    Event, Follow, Hive, How, Limits, Listener, Pattern, Plan, Report, Run, RunFailed, RunHandle, RunInterrupted,
    Survey, Targets, Verb,
)


class Said(Listener):
    def began(self, instance: str) -> None:
        print(instance)


@contextmanager
def follow(run: Run) -> Iterator[None]:
    def heard(event: Event) -> None:
        print(event.time)

    run.subscribe(heard)
    yield


def look(hive: Hive, patterns: Sequence[Pattern]) -> list[str]:
    survey: Survey = hive.survey(*patterns)
    targets: Targets = hive.targets(*patterns)
    found = [one.facts.current for one in survey.seen if one.facts is not None]
    return [*targets.instances, *found]


def planned(hive: Hive, verb: Verb = "deploy") -> Plan:
    how: How = {"canary": 1, "no": ["checks"]}
    plan = hive.plan(verb, "portico", ["web", "db"], **how)
    print(plan.digest, plan.frame["action"].tolist(), plan.mermaid())
    return plan


def main() -> pd.DataFrame:
    followed: Follow = follow
    with Hive.load("example", limits=Limits(parallel=4), warn=print) as hive:
        try:
            report: Report = hive.deploy("*", follow=followed, confirm=60.0)
            report = hive.apply(planned(hive), reason="a runbook")
        except RunFailed as error:
            if error.report is None:
                raise
            report = error.report
        for record in report.instances():
            print(record.instance, record.outcome, [check.name for check in record.checks])
        handle: RunHandle = hive.begin(planned(hive, "reboot"))
        handle.cancel()
        print(handle.wait(60).run, handle.waits_for().seconds)
        try:
            hive.run("web", "uptime", listener=Said())
        except RunInterrupted as error:
            print(error.rows)
        report.timeline().save("run.html")
        return pd.concat([report.frame, report.timings()])
'''


def documented():
    """The names that the reference page has an entry for."""
    return set(re.findall(r"^\.\. auto(?:class|data):: nixhive_nb\.(\w+)(?:\(\))?$", PAGE.read_text(), re.MULTILINE))


def members(cls):
    """The public functions of a class, its properties too, and the class itself for its fields."""
    if not issubclass(cls, (dict, BaseException)):
        yield cls
    for name in dir(cls):
        if name.startswith("_") or cls.__module__ == "builtins":
            continue
        one = inspect.getattr_static(cls, name)
        one = one.fget if isinstance(one, property) else one
        one = one.__func__ if isinstance(one, (classmethod, staticmethod)) else one
        if inspect.isfunction(one) and (one.__module__ or "").startswith("nixhive_nb"):
            yield inspect.unwrap(one)


def named(hint):
    """The classes in an annotation."""
    if isinstance(hint, type) and not typing.get_args(hint):
        yield hint
    for one in typing.get_args(hint):
        for part in one if isinstance(one, list) else [one]:
            yield from named(part)


def namespace(module):
    """What annotations may be made of, where the module itself imports it for type checkers alone."""
    of_pandas = {"pd": pd, "Path": pathlib.Path, "AbstractContextManager": contextlib.AbstractContextManager}
    of_python = {name: getattr(collections.abc, name) for name in collections.abc.__all__}
    own = {name: one for name, one in vars(sys.modules[module]).items() if not name.startswith("__")}
    return {**of_python, **of_pandas, **EXPORTED, **own}


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "How"])
def test_what_a_public_method_takes_and_gives_is_exported(name):
    missing = set()
    for member in members(CLASSES[name]):
        hints = typing.get_type_hints(member, namespace(member.__module__), {"Self": typing.Any})
        for field, hint in hints.items():
            if field.startswith("_"):
                continue
            classes = (one for one in named(hint) if not one.__module__.startswith(FOREIGN))
            missing |= {f"{one.__module__}.{one.__name__}" for one in classes if EXPORTED.get(one.__name__) is not one}
    assert missing == set()


def kinds_of_errors():
    return {name for name, one in vars(errors).items() if inspect.isclass(one) and issubclass(one, errors.HiveError)}


def test_what_is_exported_is_on_the_reference_page_and_nothing_else():
    """The errors stand there as those of their module."""
    assert documented() == EXPORTED.keys() - kinds_of_errors()


def test_each_error_is_exported():
    assert kinds_of_errors() <= EXPORTED.keys()


def test_a_name_that_is_not_there_is_told_as_of_any_module():
    with pytest.raises(AttributeError, match="module 'nixhive_nb' has no attribute 'nothing'"):
        _ = nixhive_nb.nothing
    assert set(nixhive_nb.__all__) <= set(dir(nixhive_nb))
    assert nixhive_nb.__all__ == sorted(nixhive_nb.__all__)


def test_importing_the_package_is_cheap():
    script = "import sys, nixhive_nb; print(*{name.partition('.')[0] for name in sys.modules})"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert {"pandas", "IPython", "fabric", "paramiko", "msgspec", "click"}.isdisjoint(said)


@pytest.mark.slow
def test_a_runbook_has_types_without_a_private_import(tmp_path):
    (tmp_path / "runbook.py").write_text(RUNBOOK)
    # By our settings, which are strict: so it takes from `make lint` what that has found of our own modules.
    settings = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache"]
    argv = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *settings]
    done = subprocess.run([*argv, "runbook.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
