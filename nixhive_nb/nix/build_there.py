"""Building a system on another machine: its derivation is copied there, realised and kept there."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from nixhive_nb.errors import LinkLost, StepFailed
from nixhive_nb.nix import fetching
from nixhive_nb.nix.log import NixLog
from nixhive_nb.nix.realise import build_failure
from nixhive_nb.plan.events import Result
from nixhive_nb.util.said import MOST_LINE
from nixhive_nb.util.text import size_text

if TYPE_CHECKING:
    from nixhive_nb.nix.build import Builds, Built
    from nixhive_nb.nix.copy import Transfer
    from nixhive_nb.plan.protocol import Tell
    from nixhive_nb.plan.step import Step

_log = logging.getLogger(__name__)
_KEPT_LINES = 200
_NO_PROGRAM = 127
_UNSIGNED = (
    ". What builds a system is taken there from users alone that its Nix trusts: name the login user in "
    "trusted-users there, or build elsewhere (--build-on)"
)


async def build_there(step: Step, builds: Builds, transfer: Transfer, tell: Tell) -> Result:
    """Build one system at a store. Raises `StepFailed` with the log of the builder that broke, and `HiveError`."""
    built = builds.result(step.system)
    recipe = await builds.recipe(step.system)
    sent = await _send(step, recipe, transfer, tell)
    log = NixLog()
    said: deque[str] = deque(maxlen=_KEPT_LINES)

    def heard(line: str) -> None:
        if fetching.read(line) is not None:
            return
        for text in log.feed(line):
            said.append(text[:MOST_LINE])
            tell.line(text)
        tell.progress(*log.built)

    try:
        status = await transfer.build(step.store, recipe.path, built.path, builds.flags, heard)
    except LinkLost as error:
        raise StepFailed(f"the link to {step.store} was lost while it built: {error} Try again") from error
    if status == _NO_PROGRAM:
        raise StepFailed(f"{step.store} has no nix-store, so it cannot build", log=said)
    if status:
        failure = await build_failure(recipe.path, log)
        reason = str(failure) if log.errors or not said else said[-1]
        raise StepFailed(f"{step.store}: {reason}", log=failure.log or said)
    await builds.remember(step.system)
    how = f"built on {step.store}" if any(log.built) else f"present on {step.store}"
    return Result(path=built.path, derivation=recipe.path, how=how, sent=sent.sent)


class _Lines:
    """Tells lines alone: how far a build is counts derivations, and what is sent for it are bytes."""

    def __init__(self, tell: Tell) -> None:
        self.line = tell.line

    def progress(self, done: int, expected: int) -> None:
        """Pass on nothing."""


async def _send(step: Step, recipe: Built, transfer: Transfer, tell: Tell) -> Result:
    try:
        tell.line(f"sends what builds it to {step.store}: at most {size_text(recipe.size)}")
        return await transfer.copy_recipe(step.store, recipe, _Lines(tell))
    except StepFailed as error:
        text = str(error)
        _log.debug("copying %s to %s", recipe.path, step.store, exc_info=True)
        untrusted = "signature" in text or "not privileged" in text or "not trusted" in text
        raise StepFailed(f"{text}{_UNSIGNED if untrusted else ''}", log=error.log) from error
