"""One host that is not there: what it runs, and what runs there without us."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.errors import ConnectionFailed
from nixhive_nb.plan.facts import HostFacts

if TYPE_CHECKING:
    from nixhive_nb.testing.world import Fault, HostModel

_OTHER = "somebody else"


class SimulatedHost:
    """What a host runs, boots and stores. Times are those of the clock of the fleet."""

    __slots__ = (
        "_away_until",
        "_becomes",
        "booted",
        "boots",
        "busy_until",
        "current",
        "generation",
        "model",
        "name",
        "paths",
        "profile",
    )

    def __init__(self, name: str, model: HostModel) -> None:
        """Begin with what the model runs."""
        self.name = name
        self.model = model
        self.current = self.booted = self.profile = model.runs
        self.paths = {model.runs} if model.runs else set[str]()
        self.boots = 1
        self.generation = 1 if model.runs else 0
        self.busy_until = 0.0
        self._becomes: tuple[str, str] | None = None
        self._away_until = 0.0

    def has(self, fault: Fault) -> bool:
        """Return whether it has a fault."""
        return fault in self.model.faults

    @property
    def becomes(self) -> tuple[str, str]:
        """What it runs and boots next, once all that runs there has ended."""
        return self._becomes or (self.current, self.profile)

    def answer(self, now: float) -> None:
        """Let what ran without us end by now. Raises `ConnectionFailed` when it does not answer."""
        if self.has("unreachable") or now < self._away_until:
            raise ConnectionFailed(f"{self.name} does not answer.")
        self.settle(now)

    def settle(self, now: float) -> None:
        """Let what ran without us end by now."""
        if self._becomes and now >= self.busy_until:
            self.current, profile = self._becomes
            self._becomes = None
            self._set_profile(profile)

    def is_busy(self, now: float) -> bool:
        """Return whether somebody is activating there."""
        return self.has("locked") or now < self.busy_until

    def begin(self, *, until: float, current: str, profile: str) -> None:
        """Have it run and boot these at a time to come, whether we are there or not, and be busy until then."""
        self.busy_until = until
        self._becomes = (current, profile)

    def end(self, *, now: float, current: str, profile: str) -> None:
        """Have it run and boot these now, and be free."""
        self.begin(until=now, current=current, profile=profile)
        self.settle(now)

    def restart(self, now: float) -> None:
        """Go away, to come back with what the profile has."""
        self.settle(now)
        self._becomes = None
        self.busy_until = 0.0
        self.boots += 1
        self.current = self.booted = self.profile
        self._away_until = now + self.model.restart

    def facts(self, now: float) -> HostFacts:
        """Return what it says of itself. Each system has a kernel of its own."""
        return HostFacts(
            current=self.current,
            booted=self.booted,
            profile=self.profile,
            generation=self.generation or None,
            boot_id=f"{self.name}-{self.boots}",
            booted_kernel=(self.booted,) if self.booted else (),
            current_kernel=(self.current,) if self.current else (),
            root=True,
            holder=_OTHER if self.is_busy(now) else "",
        )

    def _set_profile(self, path: str) -> None:
        if path != self.profile:
            self.profile = path
            self.generation += 1
