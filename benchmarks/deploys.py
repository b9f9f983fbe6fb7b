"""Deploys: one that finds nothing to change, the first one, the activation alone, and what goes over the link."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from benchmarks import bases
from benchmarks.harness import Line, Outcome, Row, Way
from benchmarks.setting import quietly

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.setting import Fleet, Setting

_NIX = ("nix", "--extra-experimental-features", "nix-command")
_FEW = 6
"""Hosts on which the way of one process a step is measured: it takes the same time for each, however many there are."""


def redeploy(setting: Setting) -> list[Way]:
    """Return the ways to deploy what runs already: ours as a notebook has it, warm, and as a program."""
    fleet = setting.fleet()
    path, hosts = fleet.settle(), len(fleet.web)
    few = fleet.web[:_FEW]
    steps = (f"nix-store --realise {path}", f"{path}/bin/switch-to-configuration switch")
    bases.open_jump(fleet)
    return [
        Way("API", lambda: unchanged(fleet), hosts),
        Way("program", without_answer(lambda: fleet.program("deploy", "--yes", "web")), hosts),
        Way("reference", lambda: bases.one_by_one(fleet, few, *steps), len(few)),
        Way("xargs -P16", lambda: bases.loop(fleet.jump_config, 16, fleet.web, " && ".join(steps)), hosts),
    ]


def first(setting: Setting) -> list[Way]:
    """Return the ways to deploy a system of which nobody has any part yet. It is built before."""
    fleet = setting.fleet()
    hosts, path = len(fleet.web), ""
    bases.open_jump(fleet)

    def renew() -> None:
        nonlocal path
        path = fleet.renew()

    def looped(at_once: int) -> Callable[[], Outcome]:
        def work() -> Outcome:
            signed_to_relay(fleet, path)
            steps = f"nix-store --realise {path} && {path}/bin/switch-to-configuration switch"
            return bases.loop(fleet.jump_config, at_once, fleet.web, steps)

        return work

    return [
        Way("ours, on trial", without_answer(lambda: fleet.hive.deploy("web")), hosts, renew),
        Way("xargs -P8", looped(8), hosts, renew),
        Way("xargs -P16", looped(16), hosts, renew),
    ]


def activation(setting: Setting) -> list[Way]:
    """Return the ways to activate what is on the hosts already."""
    fleet = setting.fleet()
    path, hosts = fleet.settle(), len(fleet.web)
    bases.open_jump(fleet)
    switch = f"{path}/bin/switch-to-configuration switch"
    return [
        Way("ours, on trial", without_answer(lambda: fleet.hive.deploy("web", force=True)), hosts),
        Way(
            "ours, not confirmed",
            without_answer(lambda: fleet.hive.deploy("web", force=True, no=("confirm",))),
            hosts,
        ),
        Way("xargs -P16", lambda: bases.loop(fleet.jump_config, 16, fleet.web, switch), hosts),
    ]


def link_bytes(setting: Setting) -> list[Way]:
    """Return what counts the bytes that leave this machine while a deploy finds nothing to change."""
    fleet = setting.fleet()
    fleet.settle()
    fleet.hive.deploy("web")

    def counted() -> Outcome:
        before = fleet.sent()
        unchanged(fleet)
        return Outcome(value=(fleet.sent() - before) / len(fleet.web))

    return [Way("API", counted, len(fleet.web))]


def unchanged(fleet: Fleet) -> None:
    """Deploy what runs already; raises where something was changed all the same."""
    changed = fleet.hive.deploy("web").frame.query("outcome != 'unchanged'")
    if len(changed):
        raise ValueError(f"changed: {' '.join(changed.index[:5])}")


def signed_to_relay(fleet: Fleet, path: str) -> None:
    """Sign a path and copy it to the relay, by Nix alone."""
    key = str(fleet.lab.signing_key)
    quietly([*_NIX, "store", "sign", "--recursive", "--key-file", key, path], fleet.folder)
    options = f"-F {shlex.quote(str(fleet.jump_config))}"
    argv = ["env", f"NIX_SSHOPTS={options}", *_NIX, "copy", "--to", "ssh://portico", path]
    quietly(argv, fleet.folder)


def without_answer(work: Callable[[], object]) -> Callable[[], None]:
    """Return a piece of work whose answer is not looked at: it raises where it fails."""

    def call() -> None:
        work()

    return call


ROWS = (
    Row(
        "redeploy",
        "redeploy, nothing to change",
        (
            Line("API", "reference", "faster", 50, "19–20 ×"),
            Line("program", "reference", "faster", 25, "11–13 ×"),
        ),
        "What a host is asked: one session of its login shell and some 15 short programs, on cores that all share. "
        "The program adds its start, an evaluation and a login a host: `run true` as a program takes as long. Tried: "
        "8 and 32 logins at once through the jump host, where there are 16. Neither takes less.",
        redeploy,
        hosts=100,
        rounds=5,
    ),
    Row(
        "first-32",
        "first deploy of a new system, on trial",
        (Line("ours, on trial", "xargs -P8", "faster", 1.0, "0.87 ×"),),
        "Processors: half of what a host costs is the fetch, a login and a Nix on the relay and a Nix and an ssh on "
        "the host, which the loop pays as well. The rest of ours is the trial: a second login, a second run of "
        "switch-to-configuration for the boot loader, the profile set by nix-env, and what a host is asked. Tried: 2, "
        "4, 8 and 16 fetches at once from a relay (8 is best: 2 takes half as long again, 16 costs 5 % more); 8, 12 "
        "and 32 hosts at once (no difference); the relay as a binary cache over http, which halves the cost of a fetch "
        "(see the guide of relays).",
        first,
        hosts=32,
    ),
    Row(
        "first-100",
        "first deploy of a new system, on trial",
        (Line("ours, on trial", "xargs -P8", "faster", 1.0, "0.68 ×"),),
        "As with fewer hosts, with less of what is done once: evaluating, signing and the push.",
        first,
        hosts=100,
    ),
    Row(
        "activation",
        "activation alone, on trial",
        (Line("ours, on trial", "xargs -P16", "faster", 1.0, "0.68 ×"),),
        "The processes on the host: 64 are of the switch itself, and 80 of the trial (what the host is before and "
        "after, a worker of its own, a second login, the boot loader only after the word). There were 266 in all. "
        "Tried: without the word and its login 1.1 × as fast as the loop (a promise less); 4, 8 and 32 hosts at once "
        "0.7, 0.9 and 0.9 ×, as 16.",
        activation,
        hosts=32,
    ),
    Row(
        "bytes",
        "bytes from here for a host, of a deploy with nothing to change, warm",
        (Line("API", "", "least", 1500, "5,000 B", "B"),),
        "The words that are sent to a host, and the packets that SSH and TCP make of each exchange.",
        link_bytes,
        hosts=100,
    ),
)
