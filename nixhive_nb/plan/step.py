"""The step: one thing to do, as a value that can be printed, compared, sent to a worker and tested."""

from __future__ import annotations

from typing import Literal

import msgspec

from nixhive_nb.util.said import Whole

Kind = Literal[
    "look",
    "instantiate",
    "measure",
    "realise",
    "build",
    "sign",
    "push",
    "fetch",
    "activate",
    "reboot",
    "pause",
    "check",
    "wave",
]
"""What a step does, in the order in which a deploy meets them.

look         ask one instance what it runs; changes nothing
instantiate  evaluate systems that share their include paths, in one process
measure      find out what one instance lacks of its wanted system; changes nothing
realise      build every derivation, in one `nix-store --realise`
build        the verdict on one system: its result is there, rooted and remembered
sign         sign the closure of one system with the deployment's key
push         bring one system to one store
fetch        bring one system to one instance
activate     make one instance run it, its checks included
reboot       reboot one instance (or only if that is needed), and see that it runs what it should
pause        wait between two waves
check        see, at the end of a wave, that the checks of one instance still hold
wave         no work: every instance of a wave has come to its end
"""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do, what must come before it, and what it occupies while it runs."""

    id: str
    kind: Kind
    systems: tuple[str, ...] = ()
    instance: str = ""
    store: str = ""
    """By its name without secrets: see `deployment.stores`."""
    path: str = ""
    """A store path that is known before the run: a result of the state file, or what a rollback goes back to."""
    generation: Whole = 0
    """For an `activate` that rolls back: the generation that the profile is switched to."""
    seconds: float = 0.0
    """For `pause`."""
    strict: bool = False
    """For `wave`: if one of its instances failed, no later wave is begun, whatever else is allowed (a canary)."""
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
