"""What begins while a survey goes on: the builds of systems that its plan is sure to build."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from nixhive_nb.plan.events import StepEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nixhive_nb.plan.early import Early
    from nixhive_nb.plan.events import Event
    from nixhive_nb.plan.facts import Wanted
    from nixhive_nb.run.carry import Follow
    from nixhive_nb.run.engine import Run


def beginning(early: Early, begin: Callable[[Sequence[Wanted]], None], follow: Follow | None) -> Follow:
    """Return what follows a survey as `follow` does, and has `begin` told what can be built, as that becomes sure."""

    @contextlib.contextmanager
    def followed(run: Run) -> Iterator[None]:
        probes = {step.id: step.instance for step in run.plan.steps if step.kind == "probe"}
        lacks = {step.id: step.instance for step in run.plan.steps if step.kind == "missing" and step.instance}

        # Whoever does not become root, or is asked for a password, is told so before anything is built.
        unproven = {*probes} if early.needs_root else set()
        held: list[Wanted] = []

        def heard(event: Event) -> None:
            if not isinstance(event, StepEnded) or event.outcome == "cancelled":
                return  # what is stopped begins nothing
            result = event.result
            if event.step in probes:
                held.extend(early.asked(probes[event.step], result.facts if result else None))
                if result is None or not result.powerless:
                    unproven.discard(event.step)
            elif event.step in lacks:
                held.extend(early.measured(lacks[event.step], result.size if result and result.path else None))
            elif result is not None and result.wanted:
                held.extend(early.evaluated(result.wanted))
            if held and not unproven:
                begin([*held])
                held.clear()

        run.subscribe(heard)
        with follow(run) if follow is not None else contextlib.nullcontext():
            yield

    return followed
