"""The plan: the steps of one run, immutable."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal

import msgspec

from nixhive_nb.deployment.revision import Revision
from nixhive_nb.plan.facts import Seen, Wanted
from nixhive_nb.plan.places import BuildPlace, Sending
from nixhive_nb.plan.step import Step
from nixhive_nb.plan.terms import Terms
from nixhive_nb.util.said import Whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

Verb = Literal["build", "push", "deploy", "rollback", "reboot", "survey"]
PLANNED: tuple[Verb, ...] = ("deploy", "push", "build", "rollback", "reboot")
"""What a user can ask a plan of."""
ON_INSTANCES: tuple[Verb, ...] = ("push", "deploy", "rollback", "reboot")
"""Verbs whose runs end with an outcome for each instance: `@failed` are those that are not as wanted."""
BRINGING: tuple[Verb, ...] = ("push", "deploy")
"""Verbs that bring systems to instances, and so need what these evaluate to."""
SwitchType = Literal["switch", "boot", "test", "dry-activate"]
Reboot = Literal["never", "if needed", "always"]
CONFIRM = 30.0
"""Seconds that a host waits for the confirmation after a test activation, by default."""
ACTIVATION_SECONDS = 1800.0
"""How long a `switch-to-configuration` may take by default; some units take minutes to stop."""
STALL_SECONDS = 300.0
"""How long a transfer may move no byte by default."""
REBOOT_SECONDS = 600.0
"""How long a host may take to come back from a reboot, by default."""
DIGITS = 12
"""How many hexadecimal digits of its digest name a plan: 48 bits, which nobody finds another plan for by trying."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a plan is carried out. Durations are seconds."""

    type: SwitchType = "switch"
    force: bool = False
    """Activate also where the wanted system runs and boots already."""
    realise: bool = True
    """False: instantiate only."""
    confirm: float = CONFIRM
    """How long a host waits for the confirmation before it rolls back; 0: no trial, the profile is set before."""
    checks: bool = True
    wait: float = 0.0
    """How long to wait for another activation on the same host; 0 refuses at once."""
    activation: float = ACTIVATION_SECONDS
    """How long one `switch-to-configuration` may take."""
    stall: float = STALL_SECONDS
    """How long a transfer may move no byte before it is given up."""
    reboot: Reboot = "never"
    reboot_timeout: float = REBOOT_SECONDS
    canary: int = 0
    """How many instances of each wave go first, on their own; if one fails, nothing follows."""
    batch: str = ""
    """`N` or `P%`: how many instances of a wave are activated together."""
    max_failures: str = ""
    """`N` or `P%`: with more failed instances, nothing more is activated. Empty: no such limit."""
    pause: float = 0.0
    """Between two waves or batches."""
    refuse: tuple[str, ...] = ()
    """What a deploy is refused for; empty: what the deployment says. See `plan.guards`."""
    build_on: str = ""
    """Where systems are built; empty: what the deployment says. See `plan.placing`."""
    reroute: bool = False
    """Whether what is below a relay that failed fetches from the one above it. See `plan.relays`."""


class Target(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An instance that a plan is about."""

    instance: str
    system: str
    store: str
    """By its name without secrets: see `deployment.stores`."""
    wave: Whole
    batch: Whole = 1
    """Which part of its wave it is activated with, from 1. A canary is the first."""


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of some instances, and how they are: what a plan is made from."""

    targets: tuple[Target, ...] = ()
    wanted: tuple[Wanted, ...] = ()
    """What each of their systems evaluates to."""
    seen: tuple[Seen, ...] = ()
    """Each of them as it was when it was asked."""
    places: tuple[BuildPlace, ...] = ()
    """The stores that are to build, as they were then."""
    sendings: tuple[Sending, ...] = ()
    """What they lack of what builds each system, where that was measured."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a run will do: a plain value, which pickles, and compares by its content. `Hive.apply` carries it out.

    Steps stand in an order in which they could run one by one. What shows it is imported when it is asked for. What
    follows from its fields is worked out once: of ten thousand instances it is asked for again and again.
    """

    verb: Verb
    source: str
    """The deployment, as the user named it."""
    systems: tuple[str, ...]
    targets: tuple[Target, ...]
    steps: tuple[Step, ...]
    options: Options = Options()
    warnings: tuple[str, ...] = ()
    allowed: Whole | None = None
    """`max_failures` as a number of instances; None: no limit."""
    wanted: tuple[Wanted, ...] = ()
    """What the systems evaluated to when the plan was made."""
    seen: tuple[Seen, ...] = ()
    """The targeted instances as they were then; empty when no host was asked."""
    places: tuple[BuildPlace, ...] = ()
    """The stores that build, as they were then."""
    sendings: tuple[Sending, ...] = ()
    """What they lack of what builds each system, where that was measured."""
    patterns: tuple[tuple[str, ...], ...] = ()
    """What the user asked for: each element a wave. With `no` and `to` the same plan can be made again."""
    no: tuple[str, ...] = ()
    """The steps that were left out."""
    left_out: tuple[str, ...] = ()
    """Instances that a resumed run leaves out, since they said that nothing is left to do."""
    to: Whole = 0
    """For a rollback: the generation that was asked for; 0 for the one before."""
    terms: Terms = Terms()
    """What the deployment said of where and how it is carried out."""
    deployment: str = ""
    """Absolute path of the deployment; empty for a plan that was made of an inventory alone."""
    state: str = ""
    """Absolute path of the state file."""
    state_dir: str = ""
    """That of the folder for journals and the like, where one was named."""
    revision: Revision | None = None
    """That of the deployment; None where it is in no repository. It decides nothing, and is not in the digest."""
    noted: str = ""
    """The digest under which it was noted, where it is read otherwise now: without its secrets, or by a newer version.
    Never believed of what a file says: whoever reads one sets it."""

    def __repr__(self) -> str:
        subjects = f"{len(self.targets)} instances" if self.targets else f"{len(self.systems)} systems"
        return f"Plan({self.digest}: {self.verb} of {self.source}, {subjects}, {len(self.steps)} steps)"

    def __str__(self) -> str:
        from nixhive_nb.view.plan import plan_text  # noqa: PLC0415 - see above

        return plan_text(self)

    @property
    def frame(self) -> pd.DataFrame:
        """It as a DataFrame; columns as in `frames.plan_frame`."""
        from nixhive_nb.frames import plan_frame  # noqa: PLC0415 - see above

        return plan_frame(self)

    def mermaid(self) -> str:
        """Return the picture of waves and relays as Mermaid text."""
        from nixhive_nb.view.plan_picture import mermaid  # noqa: PLC0415 - see above

        return mermaid(self)

    def svg(self) -> str:
        """Return the picture of waves and relays as a static SVG."""
        from nixhive_nb.view.plan_picture import svg  # noqa: PLC0415 - see above

        return svg(self)

    @property
    def digest(self) -> str:
        """The name of exactly this plan: the first 12 digits of `whole_digest`."""
        return self.whole_digest[:DIGITS]

    @cached_property
    def whole_digest(self) -> str:
        """The SHA-256 of what is done, on what, where, how, and from which state of the hosts: 64 digits.

        What changes by itself (uptime, free space) is not in it, nor are the words that asked for it.
        """
        return self.noted or digest_of(self, self.steps)

    def own_steps(self) -> Mapping[str, tuple[str, ...]]:
        """Return the ids of the steps on each instance itself, in the order in which they run."""
        return self._own_steps

    @cached_property
    def _own_steps(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for step in self.steps:
            if step.instance:
                found.setdefault(step.instance, []).append(step.id)
        return {name: tuple(ids) for name, ids in found.items()}

    def seen_of(self, instance: str) -> Seen | None:
        """Return an instance as it was when the plan was made, None when it was not asked."""
        return self._seen_by_name.get(instance)

    @cached_property
    def _seen_by_name(self) -> Mapping[str, Seen]:
        # Of two with one name the first is taken.
        return {one.instance: one for one in reversed(self.seen)}


def digest_of(plan: Plan, steps: Sequence[object]) -> str:
    """Return what `Plan.whole_digest` says of a plan whose steps stand so in JSON."""
    facts = {
        "verb": plan.verb,
        "deployment": plan.deployment,
        "systems": plan.systems,
        "targets": plan.targets,
        "steps": steps,
        "options": _options_facts(plan.options),
        "allowed": plan.allowed,
        "terms": plan.terms,
        "wanted": [(one.system, one.derivation, one.path, one.error) for one in plan.wanted],
        "seen": [
            (one.instance, one.facts and (one.facts.current, one.facts.profile, one.facts.booted)) for one in plan.seen
        ],
    }
    import hashlib  # noqa: PLC0415 - OpenSSL, which no help needs

    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()


def _options_facts(options: Options) -> object:
    """Return the options as they are in a digest: one that came later is there where it was given alone."""
    facts: dict[str, object] = msgspec.to_builtins(options)
    for name in ("refuse", "build_on", "reroute"):
        if not facts[name]:
            del facts[name]
    return facts
