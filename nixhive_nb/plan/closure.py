"""What differs between two closures, package by package. Sizes are bytes."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Change = Literal["added", "removed", "changed"]

_STORE_NAME = re.compile(r"(?:.*/)?[0-9a-z]{32}-(.+)")
_VERSION = re.compile(r"-(?=[^A-Za-z])")
# A store path does not tell whether its last word is an output or a part of the version: these are outputs by habit.
_OUTPUT = re.compile(
    r"-(?:bin|data|debug|dev|devdoc|dist|doc|getent|info|lib|lib32|lib64|libgcc|login|man|modules|mount|out|static|su|swap)$"
)


class PackageChange(msgspec.Struct, frozen=True, kw_only=True):
    """A package whose paths are not the same in two closures."""

    package: str
    change: Change
    """Of a changed package both closures have some path; its versions may be the same, as after a rebuild."""
    old_versions: tuple[str, ...] = ()
    """All its versions in the old closure, also those that stay. Empty for names without a version."""
    new_versions: tuple[str, ...] = ()
    size: int = 0
    """What the package takes more in the new closure; negative where it takes less."""


def closure_changes(old: Mapping[str, int], new: Mapping[str, int]) -> tuple[PackageChange, ...]:
    """Return what differs between two closures, each the size of its store paths; ordered by package."""
    before, after = _by_package(old), _by_package(new)
    changes = []
    for package in sorted(before.keys() | after.keys()):
        here, there = before.get(package, {}), after.get(package, {})
        if here.keys() == there.keys():
            continue
        changes.append(
            PackageChange(
                package=package,
                change="added" if not here else "removed" if not there else "changed",
                old_versions=_versions(here.values()),
                new_versions=_versions(there.values()),
                size=sum(new[path] for path in there) - sum(old[path] for path in here),
            )
        )
    return tuple(changes)


def split_name(name: str) -> tuple[str, str]:
    """Split a derivation's name into package and version as `builtins.parseDrvName` does."""
    found = _VERSION.search(name)
    return (name[: found.start()], name[found.end() :]) if found else (name, "")


def package_of(path: str) -> tuple[str, str]:
    """Return the package and version of a store path; one output of a package is that package."""
    named = _STORE_NAME.fullmatch(path)
    package, version = split_name(named[1] if named else path)
    return package, _OUTPUT.sub("", version)


def _by_package(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the paths of each package, with their versions."""
    packages: dict[str, dict[str, str]] = defaultdict(dict)
    for path in paths:
        package, version = package_of(path)
        packages[package][path] = version
    return packages


def _versions(versions: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({version for version in versions if version}))
