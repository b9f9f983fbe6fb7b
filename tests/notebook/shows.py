"""What kernels of the tests follow: a run of many instances in real time, and a source that does as it is told."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.notebook.display import Bundle
from nixhive_nb.notebook.follow.model import TrackedRow, TrackedView
from nixhive_nb.notebook.follow.run import follow_in_notebook
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.planner import plan_transfer
from nixhive_nb.run.engine import Run
from nixhive_nb.run.limits import Limits
from nixhive_nb.testing.backend import SimulatedFleet
from nixhive_nb.testing.world import HostModel, World


class Wall:
    """The time of everybody, for a simulated fleet that is to be watched."""

    time = staticmethod(time.time)
    sleep = staticmethod(asyncio.sleep)


class Held:
    """A backend that activates one instance when something was written into a pipe."""

    def __init__(self, backend, instance, pipe):
        self._backend, self._instance, self._pipe = backend, instance, pipe

    async def perform(self, step, tell):
        if (step.kind, step.instance) == ("activate", self._instance):
            await asyncio.to_thread(Path(self._pipe).read_text)
        return await self._backend.perform(step, tell)


def simulated_run(instances=1000, seconds=3.0, until=""):
    """Return a deploy to so many instances; some of them fail. It goes on `until` there is something in a pipe."""
    names = [f"host-{number:04}" for number in range(instances)]
    systems = {"web": System(name="web", platform="x86_64-linux")}
    inventory = Inventory(
        source="hive.nix", systems=systems, instances={name: Instance(name=name, system="web") for name in names}
    )
    plan = plan_transfer(inventory, select_instances(inventory, ["*"]), "deploy", Options())
    parallel = max(1, instances // 4)
    each = seconds * parallel / instances / 2
    model = HostModel(latency=0.0, bandwidth=1e8 / each, activation=each)
    full = HostModel(latency=0.0, bandwidth=1e8 / each, activation=each, faults=("disk full",))
    hosts = {name: full if number % 50 == 0 else model for number, name in enumerate(names)}
    fleet = SimulatedFleet(World(hosts=hosts, size=100_000_000, evaluation=0.1, building=0.1), Wall())
    backend = fleet.backend(plan)
    held = Held(backend, names[-1], until) if until else backend
    return Run(plan, held, limits=Limits(parallel=parallel, copies=parallel))


def deploy_many(instances=1000, seconds=3.0, until=""):
    """Run it in this cell."""
    run = simulated_run(instances, seconds, until)
    with follow_in_notebook(run):
        try:
            run.start().wait()
        except KeyboardInterrupt:
            run.stop()
            run.wait()
            raise


class Ended(Bundle):
    """A record."""

    def text(self):
        return "ended as it should"

    def html(self):
        return "<b>ended as it should</b>"


class Scripted:
    """A source with one row, which does what a test says."""

    def __init__(self, name="host"):
        self.name = name
        self.lines = ["first line"]
        self.cancelled = threading.Event()
        self.cancels = 0

    def view(self):
        row = TrackedRow(id=self.name, name=self.name, state="● going", tone="run", line=self.lines[-1])
        return TrackedView(
            title="Testing",
            done=0,
            total=1,
            fraction=0.5,
            facts="0 of 1",
            rows=(row,),
            rest="1 going",
            stopping=self.cancelled.is_set(),
        )

    def tail(self, row):
        return self.lines if row == self.name else ()

    def cancel(self):
        self.cancels += 1
        self.cancelled.set()
