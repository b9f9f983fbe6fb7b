"""Building systems on other machines: what builds one is sent there, built, kept, and signed from here."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from typing import TYPE_CHECKING

from nixhive_nb.errors import HiveError, LinkLost, NoAnswer, StepFailed
from nixhive_nb.hosts import building
from nixhive_nb.hosts.closures import LOOK_SECONDS, chunks
from nixhive_nb.nix import commands, fetching
from nixhive_nb.nix.log import NixLog
from nixhive_nb.nix.realise import build_failure
from nixhive_nb.nix.signatures import key_name, signed_lines
from nixhive_nb.plan.events import Result
from nixhive_nb.plan.places import LEAST_ROOM, BuildPlace, cannot_build, no_room, not_taken, ran_out_of_room
from nixhive_nb.plan.settled import FRESH_SECONDS
from nixhive_nb.util.said import MOST_LINE
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import count_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from nixhive_nb.nix.build import Builds, Built
    from nixhive_nb.nix.copy import Transfer
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.plan.protocol import Tell
    from nixhive_nb.plan.step import Step

_log = logging.getLogger(__name__)
_KEPT_LINES = 200
_NO_PROGRAM = 127
_END_SECONDS = 20
"""How long the end of a run may take to let go of what is kept there."""
_FULL_OR_BROKEN = "disk I/O error"
_FULL = re.compile(r"No space left on device|database or disk is full|Disk quota exceeded")
_UNTRUSTED = (
    ". It takes what is signed by a key that it trusts, or all from a login that its Nix trusts: name that in "
    "trusted-users there, or build elsewhere (--build-on)"
)


class BuildsThere:
    """The steps of one run that have systems built on other machines, and the questions to these before."""

    def __init__(self, builds: Builds, transfer: Transfer, plan: Plan) -> None:
        """Take what a run works with, and what is known of the places from its plan."""
        self._builds = builds
        self._transfer = transfer
        self._places = {one.store: one for one in plan.places}
        self._is_push = plan.verb == "push"
        self._present: set[tuple[str, str]] = set()
        """Systems that were found built at a place: there is nothing to build."""

    async def ask(self, step: Step, _tell: Tell) -> Result:
        """Ask a place whether it can build. Raises `HiveError` where it cannot be asked."""
        return Result(outcome="unchanged", place=await self._asked(step.store))

    async def missing(self, step: Step, _tell: Tell) -> Result:
        """Find out what a place lacks of what builds a system, and whether it would take that."""
        recipe = await self._builds.recipe(step.system)
        place = await self._place(step.store)
        if place.error:
            return Result(outcome="unchanged", how="not asked", refusal=cannot_build(place, step.system, ()))
        wanted = self._builds.wanted(step.system)
        lacking = await self._lacking(step.store, [wanted, *recipe.sizes])
        if wanted not in lacking:
            return Result(outcome="unchanged", path=recipe.path, how="built there")
        lacks = sum(recipe.sizes.get(path, 0) for path in lacking)
        refusal = no_room(place, step.system, lacks) or await self._not_taken(place, step.system, lacking - {wanted})
        return Result(outcome="unchanged", path=recipe.path, how="measured", size=lacks, refusal=refusal)

    async def send(self, step: Step, tell: Tell) -> Result:
        """Bring what builds a system to the store that builds it, where that is not built there already.

        Raises `StepFailed` before anything is copied, where the place cannot build it.
        """
        place = await self._place(step.store)
        if why := cannot_build(place, step.system, await self._builds.needs(step.system)):
            raise StepFailed(why)
        recipe, path = await self._builds.recipe(step.system), self._builds.result(step.system).path
        # Before they are there: no collection comes between.
        await self._transfer.keep_there(step.store, path, relay=True)
        await self._transfer.keep_there(step.store, recipe.path)
        lacking = await self._lacking(step.store, [path, *recipe.sizes])
        if path not in lacking:
            self._present.add((step.system, step.store))
            return Result(outcome="unchanged", path=path, how="present", size=recipe.size)
        lacking.discard(path)
        lacks = sum(recipe.sizes[one] for one in lacking)
        if why := no_room(place, step.system, lacks) or await self._not_taken(place, step.system, lacking):
            raise StepFailed(why)
        if not lacking:
            return Result(outcome="unchanged", path=recipe.path, how="present", size=recipe.size)
        await self._sign_recipe(place, lacking)
        return await self._sent(step, recipe, lacks, tell)

    async def build(self, step: Step, tell: Tell) -> Result:
        """Build one system at a store. Raises `StepFailed` with the log of the builder that broke, and `HiveError`."""
        path, derivation = self._builds.result(step.system).path, self._builds.derivation(step.system)
        if (step.system, step.store) in self._present:
            await self._transfer.let_go_there(step.store, derivation)
            await self._builds.remember(step.system)
            return Result(outcome="unchanged", path=path, derivation=derivation, how=f"present on {step.store}")
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
            status = await self._transfer.build(step.store, derivation, self._builds.flags, heard)
        except LinkLost as error:
            raise StepFailed(f"the link to {step.store} was lost while it built: {error} Try again") from error
        if status == _NO_PROGRAM:
            raise StepFailed(f"{step.store} has no nix-store, so it cannot build", log=said)
        if status:
            failure = await build_failure(derivation, log)
            reason = str(failure) if log.errors or not said else said[-1]
            room = await self._room(step.store, [reason, *failure.log, *said])
            raise StepFailed(f"{step.store}: {reason}{room}", log=failure.log or said)
        if path in await self._lacking(step.store, [path]):
            raise StepFailed(f"{step.store} says that it built {step.system}, and {path} is not in its store", log=said)
        await self._transfer.let_go_there(step.store, derivation)
        await self._builds.remember(step.system)
        how = "built" if any(log.built) else "present"
        return Result(path=path, derivation=derivation, how=f"{how} on {step.store}")

    async def sign(self, step: Step, tell: Tell) -> Result:
        """Sign the closure of a system where it was built, with the key that stays here.

        What cannot be signed is told: others may still take it through this machine.
        """
        path, key = self._builds.result(step.system).path, self._builds.signing_key
        try:
            name = await asyncio.to_thread(key_name, key)
            unsigned = await self._unsigned_there(step.store, path, name)
            for paths in chunks(unsigned):
                tell.line(f"signs {count_text(len(paths), 'path')} on {step.store}")
                await self._transfer.sign_there(step.store, paths, key)
        except (HiveError, OSError) as error:
            _log.debug("signing %s on %s", path, step.store, exc_info=True)
            warning = f"{path} cannot be signed on {step.store}: {error}. Who does not take it gets it from here"
            return Result(outcome="warned", path=path, warning=warning)
        return Result(outcome="done" if unsigned else "unchanged", path=path, how=f"on {step.store}")

    async def end(self) -> None:
        """Let go of what is kept for builds, however these ended. What cannot be let go is swept by the next run."""
        with swallowed(_log, "letting go of what was kept for builds", TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await self._transfer.let_all_go_there(keep_pushed=self._is_push)

    async def _asked(self, store: str) -> BuildPlace:
        lines: list[str] = []
        try:
            await self._transfer.on(store, building.ABILITY, seconds=LOOK_SECONDS, on_line=lines.append)
        except NoAnswer:
            _log.debug("%s runs none of our commands", store, exc_info=True)
        place = self._places[store] = building.read_place(store, lines)
        return place

    async def _place(self, store: str) -> BuildPlace:
        """Return a place as it said it is a moment ago, or ask it."""
        known = self._places.get(store)
        if known is not None and not known.error and 0 <= time.time() - known.asked <= FRESH_SECONDS:
            return known
        return await self._asked(store)

    async def _lacking(self, store: str, paths: Iterable[str]) -> set[str]:
        """Return those of the paths that are not valid in a store."""
        found: set[str] = set()
        for some in chunks(paths):
            lines: list[str] = []
            status = await self._transfer.on(
                store, commands.remote_invalid(some), seconds=LOOK_SECONDS, on_line=lines.append
            )
            if status:
                why = f"exit status {status}{f': {lines[-1]}' if lines else ''}"[:MOST_LINE]
                room = await self._room(store, lines)
                raise StepFailed(f"{store}: its Nix store cannot be asked ({why}){room}", log=lines)
            found |= {*some} & {line.strip() for line in lines}
        return found

    async def _not_taken(self, place: BuildPlace, system: str, lacking: Collection[str]) -> str:
        """Return why a place does not take what builds a system; what we can sign is signed before it is sent."""
        if place.trusted or not lacking or await self._signs_for(place):
            return ""
        return not_taken(place, system, await self._builds.unsigned(lacking, place.keys))

    async def _signs_for(self, place: BuildPlace) -> bool:
        key = self._builds.signing_key
        return bool(key) and await asyncio.to_thread(key_name, key) in place.keys

    async def _sign_recipe(self, place: BuildPlace, lacking: Collection[str]) -> None:
        """Sign what a place does not take otherwise: sources that were built themselves."""
        if not place.trusted and (unsigned := await self._builds.unsigned(lacking, place.keys)):
            await self._builds.sign_paths(sorted(unsigned))

    async def _sent(self, step: Step, recipe: Built, lacks: int, tell: Tell) -> Result:
        try:
            return await self._transfer.copy_recipe(step.store, recipe, lacks, tell)
        except StepFailed as error:
            text = str(error)
            _log.debug("copying %s to %s", recipe.path, step.store, exc_info=True)
            untrusted = "signature" in text or "not privileged" in text or "not trusted" in text
            more = _UNTRUSTED if untrusted else await self._room(step.store, [text])
            raise StepFailed(f"{text}{more}", log=error.log) from error

    async def _room(self, store: str, lines: Iterable[str]) -> str:
        """Return what is told of a place where something broke off for want of room; empty where it was not that."""
        said = "\n".join(lines)
        is_full = _FULL.search(said) is not None
        if not is_full and _FULL_OR_BROKEN not in said:
            return ""
        free = None
        with swallowed(_log, f"asking {store} how much room it has", HiveError):
            free = (await self._asked(store)).free
        # What SQLite says of a full disk it says of a broken one, too.
        if not is_full and (free is None or free >= LEAST_ROOM):
            return ""
        return f". {ran_out_of_room(free)}"

    async def _unsigned_there(self, store: str, path: str, name: str) -> list[str]:
        lines: list[str] = []
        status = await self._transfer.on(
            store, commands.remote_signatures(path), seconds=LOOK_SECONDS, on_line=lines.append
        )
        if status:
            raise StepFailed(f"its Nix does not say what is signed (exit status {status})", log=lines)
        said = signed_lines("\n".join(lines))
        return [one for one, words in said if not any(word.partition(":")[0] == name for word in words)]


def places_in(plan: Plan) -> Mapping[str, Step]:
    """Return the steps of a plan that build elsewhere, by id."""
    return {step.id: step for step in plan.steps if step.kind == "build" and step.store}
