"""How many steps may run at once, and who is next where more want to; how much is kept of what hosts say.

What carries commands to hosts stands here too: like these numbers it changes how a plan is carried out, and not what it
does.
"""

from __future__ import annotations

import logging
import os
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Literal

import msgspec

from nixhive_nb.deployment.carrying import CARRIERS, Wanted
from nixhive_nb.plan.option_kinds import OneOf, Size, WholeNumber
from nixhive_nb.plan.options import Option
from nixhive_nb.plan.settled import FRESH_SECONDS
from nixhive_nb.plan.step import MOVING, Step
from nixhive_nb.util.kept import KEPT, LOGGED
from nixhive_nb.util.swallowed import swallowed

_log = logging.getLogger(__name__)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many steps may run at once, and what is kept of each. The defaults are safe for a stock sshd."""

    parallel: int = 32
    """Steps on hosts and stores, all together."""
    per_jump: int = 16
    """Steps that go through one jump host."""
    per_store: int = 8
    """Copies that read from one store."""
    copies: int = 4
    """Copies that this machine itself sends at once. The backend sees to it: only it knows who needs one."""
    evaluations: int = 0
    """Evaluations of systems; 0 for as many as this machine has processors, and memory for now."""
    fresh: int = FRESH_SECONDS
    """Seconds for which a host that says that it is as wanted is left alone unasked. After that it is asked again."""
    connections: int = 1000
    """Connections to hosts that are kept from command to command. The one that was idle longest is closed for another,
    and opened again when it is needed."""
    output: int = KEPT
    """Bytes of what one host says to a `run` that are kept in memory. Of more, the beginning and the end are kept, and
    a log has all of it."""
    log: int = LOGGED
    """Bytes of the log of one host: of a `run` that says more than is kept, and of a run that is noted."""

    carrier: Wanted = "auto"
    """What carries the commands of hosts. With `auto` it is as the deployment says, as the ssh options of a host ask
    for, or as its login shows."""

    eval_jobs: Literal["auto", "no"] = "auto"
    """Whether `nix-eval-jobs` evaluates the systems of other formats than ours, where it is installed."""

    def __post_init__(self) -> None:
        """Take what is allowed alone. Raises `OptionError`."""
        for one in LIMITS:
            msgspec.structs.force_setattr(self, one.name, one.checked(getattr(self, one.name)))

    def of(self, lock: str) -> int:
        """Return how many steps may hold a lock: `all`, `evaluate`, `jump:NAME`, `relay:URL`, `store:URL`."""
        if lock == "all":
            return self.parallel
        if lock == "evaluate":
            return self.evaluations or able_evaluations()
        if lock.startswith("jump:"):
            return self.per_jump
        # Two copies to one store at once would both send the paths that they share.
        return self.per_store if lock.startswith("relay:") else 1


EVALUATION = 3 * 1024**3
"""Bytes that an evaluation of several configurations may take."""


def able_evaluations() -> int:
    """Return how many evaluations this machine bears at once: by its processors, and by the memory that is free now."""
    processors = os.cpu_count() or 1
    with swallowed(_log, "looking for free memory", OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        return max(1, min(processors, free // EVALUATION))
    return processors


_USUAL = {field.name: field.default for field in msgspec.structs.fields(Limits)}
_SOME = WholeNumber(1)

LIMITS: tuple[Option, ...] = (
    Option(
        name="parallel",
        kind=_SOME,
        default=_USUAL["parallel"],
        metavar="N",
        help="How many hosts to work on at once.",
    ),
    Option(
        name="copies",
        kind=_SOME,
        default=_USUAL["copies"],
        words=("--parallel-copies",),
        metavar="N",
        help="How many copies may leave this machine at once.",
    ),
    Option(
        name="per_jump",
        kind=_SOME,
        default=_USUAL["per_jump"],
        metavar="N",
        help="How many hosts behind one jump host at once.",
    ),
    Option(
        name="per_store",
        kind=_SOME,
        default=_USUAL["per_store"],
        metavar="N",
        help="How many hosts may read from one store at once.",
    ),
    Option(
        name="evaluations",
        kind=WholeNumber(0),
        default=_USUAL["evaluations"],
        metavar="N",
        usually="as many as processors and free memory allow",
        help="How many evaluations of systems at once: each may take some gigabytes of memory.",
    ),
    Option(
        name="eval_jobs",
        kind=OneOf(("auto", "no")),
        default=_USUAL["eval_jobs"],
        help="Whether nix-eval-jobs evaluates systems of other formats than ours. auto: where it is installed.",
    ),
    Option(
        name="fresh",
        kind=WholeNumber(0),
        default=_USUAL["fresh"],
        only_python=True,
        help="For how many seconds a host that says that it is as wanted is left alone unasked. After that it is asked "
        "again before a deploy passes it over.",
    ),
    Option(
        name="connections",
        kind=_SOME,
        default=_USUAL["connections"],
        only_python=True,
        help="How many connections to hosts are kept. For one more, the one that was idle longest is closed.",
    ),
    Option(
        name="output",
        kind=Size(),
        default=_USUAL["output"],
        words=("--max-output",),
        metavar="SIZE",
        help="How much output of one host run keeps, such as 500k, 64M or 1G. Of more, it keeps the beginning and "
        "the end; a log has all.",
    ),
    Option(
        name="log",
        kind=Size(),
        default=_USUAL["log"],
        words=("--max-log",),
        metavar="SIZE",
        help="How large the log of one host may become.",
    ),
    Option(
        name="carrier",
        kind=OneOf(CARRIERS),
        default=_USUAL["carrier"],
        help="What carries commands to hosts: fabric (fast) or openssh (all that ssh can). auto: fabric, unless a host "
        "asks for what that has not.",
    ),
)
"""Each limit once, as `plan.options.OPTIONS` has the options of a plan."""


class _Turn(msgspec.Struct, kw_only=True):
    """A step that takes its locks one after another."""

    step: Step
    locks: list[str]
    taken: int = 0


class Locks:
    """Hands out limits.

    A step takes its locks one by one, those with the lowest limit first, and waits in turn for each. All steps take
    them in the same order, so that no two wait for each other; and one that waits keeps no wider limit from others.
    Where steps wait, those that activate and check go before those that move content, else it is first come, first
    served. A step costs some heap operations, however many wait.
    """

    def __init__(self, limits: Limits) -> None:
        """Begin with nothing taken."""
        self._limits = limits
        self._free: dict[str, int] = {}
        self._queues: dict[str, list[tuple[bool, int, _Turn]]] = {}
        self._holding: dict[str, list[str]] = {}
        self._arrivals = count()

    def take(self, step: Step) -> bool:
        """Return whether a step has all its locks now; otherwise it waits, and `give_back` tells when it has."""
        order = sorted(set(step.locks), key=lambda lock: (self._limits.of(lock), lock))
        return self._go_on(_Turn(step=step, locks=order))

    def give_back(self, step: Step) -> list[Step]:
        """Free what a step holds, and give the steps that thereby have all their locks."""
        ready = []
        for lock in self._holding.pop(step.id):
            queue = self._queues.get(lock)
            if not queue:
                self._free[lock] += 1
                continue
            turn = heappop(queue)[2]
            turn.taken += 1
            if self._go_on(turn):
                ready.append(turn.step)
        return ready

    def leave(self) -> list[Step]:
        """Send all that wait away, for good: what they have taken is not given to others."""
        waiting = sorted(entry for queue in self._queues.values() for entry in queue)
        self._queues.clear()
        return [turn.step for _, _, turn in waiting]

    def _go_on(self, turn: _Turn) -> bool:
        while turn.taken < len(turn.locks):
            lock = turn.locks[turn.taken]
            free = self._free.setdefault(lock, self._limits.of(lock))
            if not free:
                entry = (turn.step.kind in MOVING, next(self._arrivals), turn)
                heappush(self._queues.setdefault(lock, []), entry)
                return False
            self._free[lock] = free - 1
            turn.taken += 1
        self._holding[turn.step.id] = turn.locks
        return True
