"""Which systems can be built before a plan is whole: those that the plan will build, whatever else is found out."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from nixhive_nb.plan.settled import is_confirmed, is_settled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from nixhive_nb.plan.facts import HostFacts, Wanted
    from nixhive_nb.plan.plan import Options, Target, Verb


class Early:
    """Takes what a survey finds out, one after the other, and tells each system once, as soon as it is sure.

    A deploy builds no system that all its hosts run already: one waits for a host that says that it does not. One that
    goes on with a run does so also with `force`, and a push that does for a host that lacks something.
    """

    def __init__(
        self, verb: Verb, targets: Sequence[Target], options: Options, here: Collection[str], *, resumes: bool = False
    ) -> None:
        """Begin with nothing found out; `here` are the systems that this machine builds.

        `resumes`: the plan goes on with a run, and leaves out the instances that have nothing left to do.
        """
        self.needs_root = verb == "deploy"
        """Whether its hosts have to become root."""
        self._here = frozenset(here)
        self._options = options
        self._resumes = resumes
        self._measures = resumes and verb == "push"
        self._asks = verb == "deploy" and (resumes or not options.force)
        self._users: dict[str, list[str]] = defaultdict(list)
        self._system = {target.instance: target.system for target in targets}
        for target in targets:
            self._users[target.system].append(target.instance)
        self._answers: dict[str, HostFacts | None] = {}
        self._lacking: set[str] = set()
        """Instances that are not known to have all of their systems."""
        self._waiting: dict[str, Wanted] = {}

    def evaluated(self, found: Iterable[Wanted]) -> list[Wanted]:
        """Take what systems evaluate to, and return those that can be built now."""
        new = {one.system: one for one in found if one.derivation and one.system in self._here}
        self._waiting |= new
        return self._ready(new)

    def asked(self, instance: str, facts: HostFacts | None) -> list[Wanted]:
        """Take how a host is, None for one that did not say it, and return the systems that can be built now."""
        self._answers[instance] = facts
        system = self._system.get(instance, "")
        return self._ready([system] if system in self._waiting else [])

    def measured(self, instance: str, moves: int | None) -> list[Wanted]:
        """Take how many bytes a host lacks (None: not known), and return the systems that can be built now."""
        if moves != 0:
            self._lacking.add(instance)
        system = self._system.get(instance, "")
        return self._ready([system] if system in self._waiting else [])

    def _ready(self, systems: Iterable[str]) -> list[Wanted]:
        return [self._waiting.pop(name) for name in [*systems] if self._is_needed(self._waiting[name])]

    def _is_needed(self, wanted: Wanted) -> bool:
        if self._measures:
            return not self._lacking.isdisjoint(self._users[wanted.system])
        return not self._asks or any(
            name in self._answers and not self._is_done(self._answers[name], wanted.path)
            for name in self._users[wanted.system]
        )

    def _is_done(self, facts: HostFacts | None, path: str) -> bool:
        return (is_confirmed if self._resumes else is_settled)(facts, path, self._options)
