"""The protocol between the engine and what touches the world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from nixhive_nb.plan.events import Result
    from nixhive_nb.plan.step import Step


class Tell(Protocol):
    """What a step may say while it runs. Safe to call from any thread."""

    def line(self, text: str) -> None:
        """Pass on a line of output."""

    def progress(self, done: int, expected: int) -> None:
        """Pass on how far the step is, in bytes (or derivations)."""


class Backend(Protocol):
    """Performs steps. One backend serves one run, so it may remember what earlier steps of the run gave."""

    async def perform(self, step: Step, tell: Tell) -> Result:
        """Do what a step says.

        Raises `HiveError` when it cannot be done and `LinkLost` when its end is not known. When the task is
        cancelled it ends what it started, as far as that is safe, and lets `CancelledError` through.
        """


@runtime_checkable
class Ending(Protocol):
    """A backend that has something to let go of when a run has ended."""

    async def end(self) -> None:
        """Let go of it, in bounded time, whatever became of the steps. Does not raise `HiveError`."""
