"""Plans and reports as values: runs that never were."""

from __future__ import annotations

from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.targets import select_instances, select_systems
from nixhive_nb.plan.events import Result, StepEnded, StepLine, StepProgress, StepStarted
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.planner import plan_build, plan_transfer
from nixhive_nb.run.report import Tally

RELAY = "ssh://portico"


def inventory(web=("www-1", "www-2", "www-3"), **more):
    systems = {name: System(name=name, platform="x86_64-linux") for name in ("portico", "www")}
    instances = {"portico": Instance(name="portico", system="portico")}
    instances |= {name: Instance(name=name, system="www", store=RELAY, tags=("web",)) for name in web}
    return Inventory(source="example/", systems=systems, instances=instances, **more)


def deploy_plan(one=None, *patterns):
    one = one or inventory()
    return plan_transfer(one, select_instances(one, patterns or ("portico", "*")), "deploy", Options())


def build_plan(one=None):
    one = one or inventory()
    return plan_build(one, select_systems(one), Options())


class Story:
    """Tells a run of a plan, step by step; a second lies between a start and its end."""

    def __init__(self, plan):
        self.plan = plan
        self.tally = Tally(plan)
        self.now = self.tally.report().started

    def end(self, step, outcome="done", reason="", log=(), *, seconds=1.0, cause="", **result):
        if outcome not in ("skipped", "cancelled"):
            self.tally.add(StepStarted(time=self.now, step=step))
        for line in log:
            self.tally.add(StepLine(time=self.now, step=step, text=line))
        self.now += seconds
        known = Result(outcome=outcome, **result) if outcome in ("done", "unchanged") else None
        self.tally.add(StepEnded(time=self.now, step=step, outcome=outcome, reason=reason, cause=cause, result=known))

    def begin(self, step, done=0, expected=0, line=""):
        self.tally.add(StepStarted(time=self.now, step=step))
        if expected:
            self.tally.add(StepProgress(time=self.now, step=step, done=done, expected=expected))
        if line:
            self.tally.add(StepLine(time=self.now, step=step, text=line))

    def rest(self, failing=None):
        """End all other steps, `failing` ones (reason by id) as failed, and what needs them as skipped."""
        steps = self.tally.report().steps
        ended = {name for name, record in steps.items() if record.outcome}
        bad = {name: name for name, record in steps.items() if record.outcome == "failed"}
        for step in self.plan.steps:
            cause = next((name for name in step.needs if name in bad), "")
            if step.id in ended:
                continue
            if step.id in (failing or {}):
                bad[step.id] = step.id
                self.end(step.id, "failed", failing[step.id], log=["first line", f"last line of {step.id}"])
            elif cause:
                bad[step.id] = bad[cause]
                self.end(step.id, "skipped", f"because of {bad[cause]}", cause=bad[cause], seconds=0)
            else:
                how = {"fetch": "from relay", "register": "built"}.get(step.kind, "")
                self.end(step.id, how=how, path=f"/nix/store/abc-{step.system}", size=61_400_000, seconds=0.5)
        return self.tally.report()


def deployed(failing=None, one=None):
    return Story(deploy_plan(one)).rest(failing)
