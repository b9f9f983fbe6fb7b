"""The state file (`.hive.state`): what the last builds gave, in the format of Nix-Hive.

Text, one fact a line: `(r0|SYSTEM|RESULT)` and `(d0|SYSTEM|DERIVATION)`. In a term `~`, `|`, `(` and `)` are written
`~q`, `~p`, `~s` and `~e`. What stands outside of parentheses, facts of other kinds and a fact that was cut short are
nothing to us; they are kept, and written back.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import msgspec

from nixhive_nb.errors import StateError
from nixhive_nb.util.files import mode_in, write_whole
from nixhive_nb.util.said import is_store_path, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nixhive_nb.deployment.places import Places

_FACT = re.compile(r"\((r0|d0)\|([^()|\n]*)\|([^()|\n]*)\)[ \t\r]*\n?")
_WHOLE = re.compile(r"\([^()\n]*\)")
_ESCAPES = {"~": "~q", "|": "~p", "(": "~s", ")": "~e"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}
_FOREIGN_ESCAPE = re.compile(r"~(?![qpse])")
_LOCK_SECONDS = 60
_MOST_WORDS = 100
_DEFAULT_NAME = ".hive.state"
_OLD_NAME = "hive.state"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a state file says. Systems that the deployment no longer has are still in it."""

    results: dict[str, str] = {}
    """Store path of each system that was built."""
    derivations: dict[str, str] = {}
    rest: str = ""
    """All else that the file holds, in whole lines."""


def parse(text: str) -> State:
    """Return the state that a text says. Every text is one; of two facts about the same, the later one holds."""
    tables: dict[str, dict[str, str]] = {"r0": {}, "d0": {}}
    rest = []
    end = 0
    for fact in _FACT.finditer(text):
        predicate, system, value = fact.groups()
        if _FOREIGN_ESCAPE.search(fact[0]):
            continue
        rest.append(text[end : fact.start()])
        tables[predicate][_unescape(system)] = _unescape(value)
        end = fact.end()
    rest.append(text[end:])
    return State(results=tables["r0"], derivations=tables["d0"], rest="".join(_whole_lines(part) for part in rest))


def render(state: State) -> str:
    """Get the text of a state: its facts in order of system, after the rest, but before a fact that was cut short."""
    cut = _first_cut(state.rest)
    facts = []
    for system in sorted(state.results.keys() | state.derivations.keys()):
        for predicate, table in (("r0", state.results), ("d0", state.derivations)):
            if system in table:
                facts.append(f"({predicate}|{_escape(system)}|{_escape(table[system])})\n")
    return "".join([state.rest[:cut], *facts, state.rest[cut:]])


def read_state(path: str | Path) -> State:
    """Return what a state file says; an empty state when there is none.

    `.hive.state` stands for `hive.state` beside it where only that exists. Raises `StateError` when the file cannot be
    read.
    """
    file = Path(path)
    old = file.with_name(_OLD_NAME)
    try:
        if file.name == _DEFAULT_NAME and not file.exists() and old.is_file():
            file = old
        return parse(file.read_bytes().decode("utf-8", errors="surrogateescape"))
    except FileNotFoundError:
        return State()
    except OSError as error:
        raise StateError(f"The state file {file} cannot be read: {error.strerror}.") from error


def believed(state: State) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Return the (result, derivation) of each system that has one, and a sentence for each that is not believed.

    They go to Nix and to hosts as they are, and the file may be anybody's: they must be paths of the Nix store, the
    second that of a derivation. One that is not is as good as not there.
    """
    found: dict[str, tuple[str, str]] = {}
    wrong = []
    for system in sorted(state.results.keys() | state.derivations.keys()):
        result, derivation = state.results.get(system, ""), state.derivations.get(system, "")
        bad = [path for path in (result, derivation) if path and not is_store_path(path)]
        bad += [derivation] if derivation and not (bad or derivation.endswith(".drv")) else []
        if bad:
            wrong.append(f"{one_line(bad[0], _MOST_WORDS)!r} of system {one_line(system, _MOST_WORDS)}")
        else:
            found[system] = (result, derivation)
    return found, wrong


def update_state(path: str | Path, results: Mapping[str, tuple[str, str]]) -> State:
    """Put the (result, derivation) of some systems into a state file and give what it says then.

    All else in the file is kept; an empty string takes a fact away. Other processes may do the same at once: a lock
    (`PATH.lock`) keeps the order. The file is replaced as a whole, so that a crash leaves the old or the new one.
    Raises `StateError` when it cannot be read or written, or stays locked for a minute.
    """
    file = Path(os.path.realpath(path))
    with _locked(file):
        state = _updated(read_state(path), results)
        try:
            write_whole(file, render(state).encode("utf-8", errors="surrogateescape"), shared=True)
        except OSError as error:
            raise StateError(f"The state file {path} cannot be written: {error.strerror}.") from error
    return state


def read_known(places: Places) -> State:
    """Return what is known of a deployment: the state file, and before it what was kept out of that. See `remember`."""
    state, kept = read_state(places.state), read_state(places.kept_state)
    return msgspec.structs.replace(
        state, results=state.results | kept.results, derivations=state.derivations | kept.derivations
    )


def remember(places: Places, results: Mapping[str, tuple[str, str]], *, taken_along: bool, all_seen: bool) -> None:
    """Put the (result, derivation) of some systems where it changes no system.

    That is the state file, unless a system takes the folder of that into the store (`taken_along`): then, and until
    all systems were seen not to (`all_seen`), it is the one in our own folder. Raises `StateError`.
    """
    kept = places.kept_state
    if not taken_along and not kept.exists():
        update_state(places.state, results)
        return
    with _locked(places.make() / "kept"):  # several systems are built at once
        if taken_along or (kept.exists() and not all_seen):
            update_state(kept, results)
            return
        old = read_state(kept)
        moved = {name: (old.results[name], old.derivations.get(name, "")) for name in old.results}
        update_state(places.state, moved | dict(results))
        kept.unlink(missing_ok=True)


def _updated(state: State, results: Mapping[str, tuple[str, str]]) -> State:
    for term in (word for system, paths in results.items() for word in (system, *paths)):
        if "\n" in term:
            raise StateError(f"The state file cannot hold a line break: {term!r}.")
    new = {system: result for system, (result, _) in results.items()}
    new_derivations = {system: derivation for system, (_, derivation) in results.items()}
    return msgspec.structs.replace(
        state, results=_merged(state.results, new), derivations=_merged(state.derivations, new_derivations)
    )


def _merged(known: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    return {system: value for system, value in {**known, **new}.items() if value or system not in new}


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    if not file.parent.is_dir():  # the lock would make it
        raise StateError(f"The state file {file} cannot be written: there is no folder {file.parent}.")
    lock = filelock.FileLock(f"{file}.lock", timeout=_LOCK_SECONDS, mode=mode_in(file.parent))
    try:
        lock.acquire()
    except filelock.Timeout:
        raise StateError(f"Another process keeps {lock.lock_file} for more than {_LOCK_SECONDS} s.") from None
    except OSError as error:
        raise StateError(f"The state file {file} cannot be locked: {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()


def _whole_lines(part: str) -> str:
    """Return a part of the rest as lines of its own; nothing for blanks."""
    if not part.strip():
        return ""
    return part if part.endswith("\n") else f"{part}\n"


def _first_cut(rest: str) -> int:
    """Return where the line with the first cut-short fact starts; the length when there is none."""
    blanked = _WHOLE.sub(lambda fact: "_" * len(fact[0]), rest)
    opened = blanked.find("(")
    return len(rest) if opened < 0 else rest.rfind("\n", 0, opened) + 1


def _escape(term: str) -> str:
    return re.sub(r"[~|()]", lambda found: _ESCAPES[found[0]], term)


def _unescape(term: str) -> str:
    return re.sub(r"~[qpse]", lambda found: _UNESCAPES[found[0]], term)
