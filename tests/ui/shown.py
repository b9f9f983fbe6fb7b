"""What kernels of the tests show of fleets that are not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.errors import StepFailed
from nixhive_nb.notebook.follow.run import follow
from nixhive_nb.notebook.picker import PickerRow
from nixhive_nb.plan.events import Result
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.planner import plan_transfer
from nixhive_nb.run.carry import carry_out
from nixhive_nb.run.limits import Limits
from nixhive_nb.testing.backend import SimulatedFleet
from nixhive_nb.testing.world import HostModel, World
from tests.notebook.shows import Wall

NASTY = "\x1b]0;title\x07\x1b[31m<script>window.harmed = 1</script><img src=x onerror='window.harmed = 2'>\u202e"
_MEGABYTE = 1_000_000


LINES = {"fetch": "copying path '/nix/store/…-nixos-system-www'", "activate": "setting up /etc..."}


class Talking:
    """A simulated fleet whose hosts say what they do. The fetch of www-2 never ends; a pipe tells it to go on a bit."""

    def __init__(self, world, plan, pipe):
        self._backend = SimulatedFleet(world, Wall()).backend(plan)
        self._pipe = pipe

    async def perform(self, step, tell):
        if step.kind in LINES:
            tell.line(LINES[step.kind])
        if (step.kind, step.instance) == ("fetch", "www-2"):
            await self._fetch(tell)
        return await self._backend.perform(step, tell)

    async def _fetch(self, tell):
        tell.progress(30 * _MEGABYTE, 60 * _MEGABYTE)
        if self._pipe:
            await asyncio.to_thread(Path(self._pipe).read_text)
            tell.progress(45 * _MEGABYTE, 60 * _MEGABYTE)
        await asyncio.Event().wait()

    def close(self):
        pass


def deploy_some(pipe=""):
    """Deploy to hosts one of which has a full disk; one activates for ever, and one fetches."""
    behind = {"system": "www", "store": "ssh://portico", "ssh": (("ProxyJump", ("portico",)),)}
    inventory = Inventory(
        source="hive.nix",
        systems={name: System(name=name, platform="x86_64-linux") for name in ("portico", "www")},
        instances={
            "portico": Instance(name="portico", system="portico"),
            **{name: Instance(name=name, **behind) for name in ("www-1", "www-2", "www-3")},
        },
    )
    hosts = {
        "portico": HostModel(bandwidth=200 * _MEGABYTE, activation=0.2),
        "www-1": HostModel(bandwidth=200 * _MEGABYTE, activation=600.0),
        "www-3": HostModel(bandwidth=200 * _MEGABYTE, faults=("disk full",)),
    }
    world = World(hosts=hosts, size=60 * _MEGABYTE, evaluation=0.1, building=0.1)
    plan = plan_transfer(inventory, select_instances(inventory, ["portico", "*"]), "deploy", Options())
    carry_out(plan, Talking(world, plan, pipe), limits=Limits(), follow=follow, journal=None)


class Nasty:
    """A backend whose hosts say what a page or a terminal could take for an order; it ends when it is interrupted."""

    async def perform(self, step, tell):
        tell.line(NASTY)
        if step.instance.startswith("a"):
            raise StepFailed(NASTY, log=(NASTY,))
        if step.kind == "fetch":
            await asyncio.Event().wait()
        return Result(path=f"/nix/store/{NASTY}")

    def close(self):
        pass


def deploy_to_the_nasty():
    """Deploy to hosts with such names: one fails, one goes on until it is stopped."""
    names = (f"a{NASTY}", f"b{NASTY}")
    inventory = Inventory(
        source=NASTY,
        systems={NASTY: System(name=NASTY, platform="x86_64-linux")},
        instances={name: Instance(name=name, system=NASTY, tags=(NASTY,)) for name in names},
    )
    plan = plan_transfer(inventory, select_instances(inventory, ["*/*"]), "deploy", Options())
    carry_out(plan, Nasty(), limits=Limits(), follow=follow, journal=None)


def nasty_rows():
    """Return rows of a picker that are no better."""
    return [
        PickerRow(instance=f"{name}{NASTY}", system=NASTY, tags=(NASTY, "web"), via=NASTY, runs=NASTY) for name in "ab"
    ]


def rows(count):
    """Return rows of a picker for a large fleet."""
    return [
        PickerRow(
            instance=f"www-{number}",
            system=f"system-{number % 20}",
            tags=("web", f"rack-{number % 50}"),
            via=f"portico-{number % 10}",
            runs=("in sync", "outdated", "unreachable")[number % 3],
        )
        for number in range(count)
    ]
