"""Asking hosts something outside of a run: their generations, their closures."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from nixhive_nb.errors import HiveError
from nixhive_nb.hosts.closures import closure_sizes, local_closure_sizes
from nixhive_nb.hosts.facts import GENERATIONS, parse_generations
from nixhive_nb.hosts.scripts import LOOK_SECONDS
from nixhive_nb.plan.closure import closure_changes
from nixhive_nb.ssh.fabric_links import FabricLinks
from nixhive_nb.ssh.gather import ask_all
from nixhive_nb.util.said import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from nixhive_nb.plan.closure import PackageChange
    from nixhive_nb.plan.facts import Generation, Seen
    from nixhive_nb.ssh.link import HostLinks
    from nixhive_nb.ssh.pool import Connections

T = TypeVar("T")


def generations_of(
    connections: Connections, names: Sequence[str], *, parallel: int
) -> tuple[dict[str, tuple[Generation, ...]], dict[str, str]]:
    """Return the generations of each instance, the newest first, and why some could not be asked."""

    async def ask(links: HostLinks, name: str) -> tuple[Generation, ...]:
        return parse_generations((await links.kept(name).run(GENERATIONS, seconds=LOOK_SECONDS)).stdout)

    return _asked(connections, names, ask, parallel)


def diffs_of(
    connections: Connections, seen: Sequence[Seen], wanted: Mapping[str, str], *, parallel: int
) -> tuple[dict[str, tuple[PackageChange, ...]], dict[str, str]]:
    """Return what differs between what each instance runs and its `wanted` path in this store, and why some have none.

    What runs needs to be on the host alone. Instances that run the same are alike: one of them is asked.
    """

    async def ask(links: HostLinks, name: str) -> dict[str, int]:
        return await closure_sizes(links, name, running[name])

    running = {one.instance: one.facts.current for one in seen if one.facts is not None}
    asked = {path: name for name, path in reversed(running.items()) if path}
    found, missing = _asked(connections, list(asked.values()), ask, parallel)
    old = {running[name]: closure for name, closure in found.items()} | {"": {}}
    new = {path: local_closure_sizes(path) for path in set(wanted.values())}
    errors = {one.instance: one.error for one in seen if one.facts is None}
    errors |= {name: missing[asked[path]] for name, path in running.items() if path not in old}
    changes = {
        name: closure_changes(old[path], new[wanted[name]]) for name, path in running.items() if name not in errors
    }
    return changes, errors


def _asked(
    connections: Connections, names: Sequence[str], ask: Callable[[HostLinks, str], Awaitable[T]], parallel: int
) -> tuple[dict[str, T], dict[str, str]]:
    links = FabricLinks(connections)
    found = ask_all(names, lambda name: ask(links, name), parallel=parallel)
    answers = {name: answer for name, answer in found.items() if not isinstance(answer, HiveError)}
    errors = {name: one_line(str(answer)) for name, answer in found.items() if isinstance(answer, HiveError)}
    return answers, errors
