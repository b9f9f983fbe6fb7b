"""The plan: the steps of one run, immutable."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from nixhive_nb.plan.step import Step

Verb = Literal["build", "push", "deploy"]
SwitchType = Literal["switch", "boot", "test", "dry-activate"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a plan is carried out."""

    type: SwitchType = "switch"
    force: bool = False
    """Activate also where the wanted system runs and boots already."""
    realise: bool = True
    """False: instantiate only."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that a plan is about."""

    instance: str
    system: str
    store: str
    wave: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run will do. Steps stand in an order in which they could run one by one."""

    verb: Verb
    source: str
    """The deployment, as the user named it."""
    systems: tuple[str, ...]
    targets: tuple[Target, ...]
    steps: tuple[Step, ...]
    options: Options = Options()
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        subjects = f"{len(self.targets)} instances" if self.targets else f"{len(self.systems)} systems"
        return f"Plan({self.digest}: {self.verb} of {self.source}, {subjects}, {len(self.steps)} steps)"

    @property
    def digest(self) -> str:
        """A short name of exactly this plan: the start of the SHA-256 of its JSON."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:7]

    def own_steps(self, target: Target) -> tuple[str, ...]:
        """Give the ids of the steps on the instance itself, in order; a push has no `activate`."""
        names = (f"fetch:{target.instance}", f"activate:{target.instance}")
        return names if self.verb == "deploy" else names[:1]
