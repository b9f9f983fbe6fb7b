"""The step: one thing to do, as a value that can be printed, compared, sent to a worker and tested."""

from __future__ import annotations

from typing import Literal

import msgspec

from nixhive_nb.util.said import Whole

Kind = Literal[
    "probe",
    "instantiate",
    "missing",
    "send",
    "build",
    "register",
    "sign",
    "push",
    "fetch",
    "activate",
    "reboot",
    "pause",
    "check",
    "gate",
]
"""What a step does, in the order in which a deploy meets them.

probe        ask one instance what it runs; changes nothing. In a deploy: see that one which is as wanted is so still.
             With a store: ask its host whether it can build
instantiate  evaluate systems that share their include paths, in one process
missing      find out what one instance lacks of its wanted system; changes nothing. With a store and no instance: what
             that lacks of what builds the system
send         bring what builds one system to the store that builds it
build        build every derivation, in one `nix-store --realise`; with a store, that of one system on its host
register     the verdict on one system: its result is there, rooted and remembered
sign         sign the closure of one system with the deployment's key; with a store, where it was built
push         bring one system to one store
fetch        bring one system to one instance
activate     make one instance run it, its checks included
reboot       reboot one instance (or only if that is needed), and see that it runs what it should
pause        wait between two waves
check        see, at the end of a wave, that the checks of one instance still hold
gate         no work: every instance of a wave has come to its end
"""
CHANGING: tuple[Kind, ...] = ("activate", "reboot")
"""Kinds that change what an instance runs: held back by failures, and never cut off by a first stop."""
MOVING: tuple[Kind, ...] = ("send", "push", "fetch")
"""Kinds that move content."""

_SEPARATORS: dict[Kind, str] = {
    "instantiate": "+",
    "missing": ">",
    "send": ">",
    "push": ">",
    "build": ">",
    "sign": ">",
}
"""What stands between the names where a step is about several. In a name it stands behind a backslash."""


class StepId(msgspec.Struct, frozen=True, gc=False):
    """What a step does, and to what: a plan has one step of each such pair. Only `str` knows how it is spelt."""

    kind: Kind
    subject: tuple[str, ...] = ()
    """An instance, a system, or a part of a plan. Of `instantiate` the systems; of `push`, and of what belongs to a
    build elsewhere, the system and the store."""

    def __str__(self) -> str:
        separator = _SEPARATORS.get(self.kind, "")
        names = separator.join([_escaped(name, separator) for name in self.subject] if separator else self.subject)
        return f"{self.kind}:{names}" if self.subject else self.kind


def step_id(kind: Kind, *subject: str) -> str:
    """Return the id of the step that does this to that."""
    if len(subject) == 1 and kind not in _SEPARATORS:
        return f"{kind}:{subject[0]}"  # as `str` has it: of most steps, and of thousands
    return str(StepId(kind, subject))


def stage(kind: Kind) -> Kind:
    """Return the part of a run that people take a step for: a system is built when it is rooted and remembered too."""
    return "build" if kind == "register" else kind


def _escaped(name: str, separator: str) -> str:
    """Return a name that cannot be taken for several: no two tuples of names give the same text."""
    return name.replace("\\", r"\\").replace(separator, f"\\{separator}")


class Step(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing to do, what must come before it, and what it occupies while it runs."""

    id: str
    kind: Kind
    systems: tuple[str, ...] = ()
    instance: str = ""
    store: str = ""
    """By its name without secrets: see `deployment.stores`."""
    path: str = ""
    """A store path that is known before the run: a result of the state file, what a rollback goes back to, or for the
    `probe` of a deploy what the instance is left with."""
    generation: Whole = 0
    """For an `activate` that rolls back: the generation that the profile is switched to."""
    seconds: float = 0.0
    """For `pause`."""
    strict: bool = False
    """For `gate`: if one of its instances failed, no later wave is begun, whatever else is allowed (a canary)."""
    wave: Whole = 0
    needs: tuple[str, ...] = ()
    """Steps that must have succeeded; if one did not, this step is skipped."""
    after: tuple[str, ...] = ()
    """Steps that must have ended, in whatever way."""
    locks: tuple[str, ...] = ()
    """Names of the limits that the step counts against while it runs."""

    @property
    def subject(self) -> str:
        """What the step is about, for people: an instance, a store, systems, or a wave."""
        wave = f"wave {self.wave}" if self.kind == "pause" else ""
        return self.instance or self.store or ", ".join(self.systems) or wave

    @property
    def system(self) -> str:
        """The one system that this step is about; empty when it is about several or none."""
        return self.systems[0] if len(self.systems) == 1 else ""
