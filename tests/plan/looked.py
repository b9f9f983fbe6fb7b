"""Plans that looked at hosts that never were."""

from __future__ import annotations

from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.facts import HostFacts, Seen, Wanted
from nixhive_nb.plan.plan import Options, Survey
from nixhive_nb.plan.planner import plan_transfer
from nixhive_nb.plan.survey import targets_of
from tests.notebook.values import inventory

KERNEL = ("/nix/store/kernel",)


def path(letter, system):
    """A store path of a system; the letter makes the hash."""
    return f"/nix/store/{letter * 32}-nixos-system-{system}-24.05"


def facts(current, **more):
    known = {"profile": current, "booted": current, "generation": 41, "booted_kernel": KERNEL, "current_kernel": KERNEL}
    return HostFacts(current=current, **(known | more))


def survey(one=None, *, fresh=(), away=(), broken=()):
    """Hosts run the path `a` of their system, `fresh` ones the wanted `b`; `away` ones do not answer."""
    one = one or inventory()
    targets = targets_of(one, select_instances(one, ()))
    wanted = [Wanted(system=name, path=path("b", name), derivation=f"{path('d', name)}.drv") for name in one.systems]
    return Survey(
        targets=targets,
        wanted=tuple(
            Wanted(system=has.system, error="syntax error") if has.system in broken else has for has in wanted
        ),
        seen=tuple(
            Seen(instance=target.instance, error="no route to host")
            if target.instance in away
            else Seen(
                instance=target.instance,
                facts=facts(path("b" if target.instance in fresh else "a", target.system)),
                moves=0 if target.instance in fresh else 61_400_000 if not target.store else 10_187,
                reboot=target.instance == "portico",
            )
            for target in targets
        ),
    )


def looked(one=None, *, verb="deploy", patterns=("portico", "*"), options=None, **how):
    """A plan that was made from such a survey."""
    one = one or inventory()
    found = survey(one, **how)
    return plan_transfer(one, select_instances(one, patterns), verb, options or Options(), survey=found)
