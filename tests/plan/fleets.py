"""Deployments and runs that never were: inventories of any shape, and a simulated fleet that they are tried on."""

from __future__ import annotations

from hypothesis import strategies as st

from nixhive_nb.deployment.inventory import Check, Instance, Inventory, System
from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.events import StepEnded, StepStarted
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.planner import plan_transfer
from nixhive_nb.plan.survey import plan_survey
from nixhive_nb.run.engine import Run
from nixhive_nb.run.found import survey_of
from nixhive_nb.testing.backend import SimulatedFleet
from nixhive_nb.testing.world import EXITS, FAULTS, HostModel, World

CHECK = Check(name="listens", kind="tcp", port=80)
SYSTEMS = ("one", "two")


def instance(name, system="one", *, store="", jump=None, tags=(), checks=()):
    ssh = (("ProxyJump", (jump,)),) if jump else ()
    return Instance(name=name, system=system, store=store, ssh=ssh, tags=tags, checks=checks)


def inventory(*instances, key="/keys/secret", paths=None):
    names = dict.fromkeys(one.system for one in instances)
    systems = {
        name: System(name=name, platform="x86_64-linux", paths=(paths or {}).get(name, ())) for name in sorted(names)
    }
    return Inventory(
        source="hive.nix",
        systems=systems,
        instances={one.name: one for one in sorted(instances, key=lambda one: one.name)},
        signing_key=key,
    )


def deploy(inv, *patterns, survey=None, leave_out=(), **options):
    targets = select_instances(inv, patterns)
    return plan_transfer(inv, targets, "deploy", Options(**options), survey=survey, leave_out=leave_out)


def by_id(plan):
    return {step.id: step for step in plan.steps}


def waits_for(plan, name):
    """All that a step waits for, directly or not."""
    steps, found, todo = by_id(plan), set(), [name]
    while todo:
        step = steps[todo.pop()]
        for other in (*step.needs, *step.after):
            if other not in found:
                found.add(other)
                todo.append(other)
    return found


def ran(plan, fleet, *, listener=None, limits=None, backend=None):
    """Run a plan on a fleet: the report and the events. `listener` gets the run, the number and the event."""
    backend = backend or fleet.backend(plan)
    run = Run(plan, backend, limits=limits, clock=fleet.clock.time, loop_factory=fleet.clock.loop)
    events = []

    def heard(event):
        events.append(event)
        if listener:
            listener(run, len(events), event)

    run.record(heard)
    assert run.start().wait(60)
    return run.report(), events


def surveyed(inv, fleet, *patterns):
    """Ask a fleet."""
    plan = plan_survey(inv, select_instances(inv, patterns), Options())
    return survey_of(ran(plan, fleet)[0])


def in_order(events):
    """(time of start, time of end) of each step, as positions in the events; None for what never was."""
    found = {}
    for number, event in enumerate(events):
        if isinstance(event, StepStarted):
            found[event.step] = (number, None)
        elif isinstance(event, StepEnded):
            found[event.step] = (found.get(event.step, (None,))[0], number)
    return found


@st.composite
def inventories(draw):
    """Up to nine hosts; some behind others, some reading from others, circles included."""
    names = [f"h{number}" for number in range(draw(st.integers(1, 9)))]
    others = st.one_of(st.none(), st.sampled_from(names))
    found = []
    for name in names:
        relay, jump = draw(others), draw(others)
        found.append(
            instance(
                name,
                draw(st.sampled_from(SYSTEMS)),
                store=f"ssh://{relay}" if relay and relay != name else draw(st.sampled_from(["", "file:///cache"])),
                jump=jump if jump != name else None,
                checks=(CHECK,) if draw(st.booleans()) else (),
            )
        )
    return inventory(*found, key=draw(st.sampled_from([None, "/keys/secret"])))


@st.composite
def orders(draw, inv):
    """Patterns: all at once, or some hosts ahead of the others."""
    ahead = draw(st.lists(st.sampled_from(sorted(inv.instances)), max_size=3, unique=True))
    return (*ahead, "*") if ahead else ("*",)


@st.composite
def policies(draw):
    """Options that cut waves."""
    return {
        "canary": draw(st.integers(0, 2)),
        "batch": draw(st.sampled_from(["", "1", "2", "40%"])),
        "max_failures": draw(st.sampled_from(["", "0", "1", "2", "30%"])),
        "pause": draw(st.sampled_from([0.0, 60.0])),
        "confirm": draw(st.sampled_from([0.0, 30.0])),
        "reboot": draw(st.sampled_from(["never", "if needed", "always"])),
        "checks": draw(st.booleans()),
        "reroute": draw(st.booleans()),
    }


@st.composite
def worlds(draw, inv, *, faults=True):
    """Hosts with faults (or none), that run what is wanted, something else, or nothing."""
    world = World()
    hosts = {}
    for name, one in inv.instances.items():
        runs = draw(st.sampled_from(["", "/nix/store/old-system", world.path(one.system)]))
        speed = draw(st.sampled_from([5e6, 1e8]))
        wrong = draw(st.sampled_from([None, None, None, *FAULTS, *EXITS])) if faults else None
        hosts[name] = HostModel(
            runs=runs,
            bandwidth=speed,
            latency=draw(st.sampled_from([0.01, 2.0])),
            exit=wrong if isinstance(wrong, int) else 0,
            faults=(wrong,) if isinstance(wrong, str) else (),
        )
    broken = draw(st.sampled_from([(), (), ("two",)])) if faults else ()
    kind = draw(st.sampled_from(["unbuildable", "unevaluable"]))
    return World(hosts=hosts, **{kind: broken})


@st.composite
def cases(draw, *, faults=True):
    """An inventory, patterns, options and a fleet."""
    inv = draw(inventories())
    return inv, draw(orders(inv)), draw(policies()), draw(worlds(inv, faults=faults))


def fleet_of(world):
    return SimulatedFleet(world)
