"""Building derivations on this machine: one `nix-store --realise` for several systems, and what broke each."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import StepFailed
from nixhive_nb.nix import commands
from nixhive_nb.nix.log import NixLog, headline
from nixhive_nb.util import process

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from nixhive_nb.plan.protocol import Tell

Recipes = dict[str, tuple[str, str]]
"""Result and derivation, by system."""


class Realised(msgspec.Struct, frozen=True, kw_only=True):
    """How one program of Nix ended that was to build some systems."""

    systems: tuple[str, ...]
    failed: dict[str, StepFailed] = {}
    """Those that are not there now, each with what broke it."""
    failure: StepFailed | None = None
    """Why it did not end well; there may be no system that lacks something all the same."""


class Together:
    """Tells of several programs as of one: how far they are is added up. Safe to call from any thread."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._parts: list[tuple[int, int]] = []

    def part(self) -> Tell:
        """Return what tells of one more program."""
        with self._lock:
            self._parts.append((0, 0))
            return _Part(self, self._tell, len(self._parts) - 1)

    def told(self, number: int, done: int, expected: int) -> None:
        """Take how far one of them is."""
        with self._lock:
            self._parts[number] = (done, expected)
            self._tell.progress(sum(done for done, _ in self._parts), sum(expected for _, expected in self._parts))


class _Part:
    def __init__(self, together: Together, tell: Tell, number: int) -> None:
        self.line = tell.line
        self._together = together
        self._number = number

    def progress(self, done: int, expected: int) -> None:
        """Pass on how far all are by now."""
        self._together.told(self._number, done, expected)


async def realise(recipes: Recipes, flags: Sequence[str], env: Mapping[str, str], tell: Tell) -> Realised:
    """Build all derivations in one `nix-store --realise`, so that Nix schedules them together."""
    log = NixLog()

    def heard(line: str) -> None:
        for text in log.feed(line):
            tell.line(text)
        tell.progress(*log.built)

    derivations = list(dict.fromkeys(derivation for _, derivation in recipes.values()))
    ended = await process.stream(commands.realise(derivations, flags), on_stderr=heard, env=env)
    if not ended.status:
        return Realised(systems=tuple(recipes))
    missing = await invalid([path for path, _ in recipes.values()])
    failed = {
        system: await build_failure(derivation, log)
        for system, (path, derivation) in recipes.items()
        if path in missing
    }
    # A build that was told to fail (a hash that differs, say) may still leave every path valid.
    said = headline((log.errors or ["nix-store --realise failed"])[-1])
    reason = f"{', '.join(failed)} failed" if failed else said
    failure = StepFailed(reason, log=[line for error in log.errors for line in error.splitlines()])
    return Realised(systems=tuple(recipes), failed=failed, failure=failure)


async def invalid(paths: Collection[str]) -> set[str]:
    """Return those of some paths that are not in this machine's store."""
    ended = await process.stream(commands.invalid([*paths])) if paths else None
    return set(ended.stdout.split()) if ended is not None else set()


async def build_failure(derivation: str, log: NixLog) -> StepFailed:
    """Say which derivation broke a system, with the last lines of its builder."""
    ended = await process.stream(commands.closure(derivation))
    needed = set(ended.stdout.split())
    reasons = [error for error in log.errors if any(f"'{drv}'" in error for drv in needed)]
    lines = [line for drv, kept in log.build_lines.items() if drv in needed and _named(drv, reasons) for line in kept]
    reason = (reasons or log.errors or ["it was not built"])[0]
    return StepFailed(headline(reason), log=lines or [line for error in reasons for line in error.splitlines()])


def _named(derivation: str, reasons: Iterable[str]) -> bool:
    forms = (f"builder for '{derivation}'", f"Cannot build '{derivation}'")  # up to Nix 2.29, and since
    return any(form in reason for reason in reasons for form in forms)
