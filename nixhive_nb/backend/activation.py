"""The words by which we and `activation.sh` on a host understand each other. Nothing is sent here."""

from __future__ import annotations

import contextlib
import shlex
from importlib.resources import files
from typing import Literal, cast

import msgspec

from nixhive_nb import said
from nixhive_nb.backend import nix
from nixhive_nb.backend.host_facts import FACTS, parse_facts
from nixhive_nb.plan.facts import HostFacts
from nixhive_nb.plan.plan import SwitchType

LOOK_SECONDS = 30
SETS_PROFILE = ("switch", "boot")
CHANGES_RUNNING = ("switch", "test")
KEEP = "keep"
"""The word that makes an activation last; any other word is the reason to go back."""
KEYWORDS = ("holds", "waits", "tested", "back", "result", "ended", "gone")
TIMED_OUT = (124, 137)
"""How `timeout` ends what takes too long."""

_RUN = "exec /bin/sh -c 'hive_script=$(cat); eval \"$hive_script\" </dev/null' nixhive"
_RUN_AS_ROOT = "exec sudo -n -- " + _RUN.removeprefix("exec ")
_MEANINGS = {
    1: "a check before the switch, the boot loader or the usage",
    2: "the activation script failed",
    101: "it lost its output",
}
_WARNINGS = {
    4: "switched, but some units failed (exit status 4)",
    100: "switched, but a reboot is needed (exit status 100)",
}
NEEDS_REBOOT = 100
"""NixOS ends so when the new init does not go with the one that runs: it then sets the boot loader alone."""
_NOT_YET = "not switched: the new system takes effect at the next reboot (exit status 100)"
_MOST_OWNER = 200
_MOST_WORDS = 200


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A host before (or after) an activation."""

    facts: HostFacts
    is_system: bool
    """Whether the wanted path is a NixOS system there."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One activation. Durations are whole seconds."""

    id: str
    instance: str
    path: str
    type: SwitchType
    confirm: int
    """How long the host waits for the word; 0 is the plain order."""
    limit: int
    """How long one `switch-to-configuration` may take."""
    wait: int = 0
    """How long to wait for another activation."""
    generation: int = 0
    """The generation that the profile goes back to; 0: the path becomes a new one."""
    owner: str
    """Who activates: what another operator is told."""


class Word(msgspec.Struct, frozen=True):
    """A line of the worker's own."""

    keyword: Literal["holds", "waits", "tested", "back", "result", "ended", "gone"]
    text: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the worker ended."""

    name: Literal["done", "warned", "rolled-back", "failed", "locked"]
    status: int
    """Of `switch-to-configuration`."""
    why: str = ""


def script() -> str:
    """Give the text that the host runs."""
    return files("nixhive_nb.backend").joinpath("activation.sh").read_text()


def begin(order: Order, *, root: bool) -> str:
    """Give the shell words that begin an activation and follow it to its end; `script` is their input."""
    words = [
        *("begin", order.id, order.path, order.type),
        *map(str, (order.confirm, order.limit, order.wait, order.generation)),
        " ".join(order.owner.split())[:_MOST_OWNER],
    ]
    return _command(words, root=root)


def follow(order: Order, *, root: bool) -> str:
    """Give the words that follow one that was begun before, from its first line."""
    return _command(["follow", order.id], root=root)


def say(order: Order, word: str, *, root: bool) -> str:
    """Give the words that bring the word that the host waits for: `KEEP`, or why it has to go back."""
    return _command(["say", order.id, " ".join(word.split())], root=root)


def forget(order: Order, *, root: bool) -> str:
    """Give the words that remove what the activation kept on the host."""
    return _command(["forget", order.id], root=root)


def _command(words: list[str], *, root: bool) -> str:
    return f"{_RUN if root else _RUN_AS_ROOT} {shlex.join(words)}"


def read_word(order: Order, line: str) -> Word | None:
    """Give what a line of an activation tells us, None for a line of the activation itself."""
    mark = f"nixhive {order.id} "
    if not line.startswith(mark):
        return None
    keyword, _, text = line.removeprefix(mark).partition(" ")
    return msgspec.convert(Word(cast("Literal['ended']", keyword), text), Word) if keyword in KEYWORDS else None


def read_outcome(word: Word) -> Outcome:
    """Give what a `result` line says. One that makes no sense is a failure that says so: it is never a success."""
    name, _, rest = word.text.partition(" ")
    status, _, why = rest.partition(" ")
    number = said.whole(status)
    if number is not None:
        with contextlib.suppress(msgspec.ValidationError):
            return msgspec.convert({"name": name, "status": number, "why": said.one_line(why)}, Outcome)
    return Outcome(name="failed", status=0, why=f"the host told its end as {said.one_line(word.text, _MOST_WORDS)!r}")


def look(path: str) -> str:
    """Give the shell words that print what `Host` holds, changing nothing."""
    wanted = shlex.quote(path)
    return f"{FACTS}\nif test -x {wanted}/{nix.SWITCH} && test -e {wanted}/nixos-version; then echo hive_system=yes; fi"


def read_look(output: str) -> Host:
    """Read what `look` printed."""
    return Host(facts=parse_facts(output), is_system="hive_system=yes" in output.splitlines())


def is_unchanged(facts: HostFacts, path: str, action: SwitchType) -> bool:
    """Tell whether a host is already what an activation of `path` would make of it."""
    runs = facts.current == path or action not in CHANGES_RUNNING
    boots = facts.profile == path or action not in SETS_PROFILE
    return action != "dry-activate" and runs and boots


def warning(status: int, *, runs: bool) -> str:
    """Give what an exit status of `switch-to-configuration` warns of; `runs`: the wanted system runs now."""
    return _NOT_YET if status == NEEDS_REBOOT and not runs else _WARNINGS.get(status, "")


def explained(outcome: Outcome, limit: int) -> str:
    """Give why an activation failed, with the meaning of its exit status."""
    if outcome.status in TIMED_OUT:
        return outcome.why.replace(f"ended with {outcome.status}", f"took longer than {limit} s and was ended")
    meaning = _MEANINGS.get(outcome.status)
    ended = f"ended with {outcome.status}"
    return outcome.why.replace(ended, f"{ended}: {meaning}") if meaning else outcome.why


def refused(words: str) -> str:
    """Give the message for a login user who may not use sudo."""
    return (
        f"sudo was refused ({words.removeprefix('sudo:').strip()}). Let the login user use sudo without a password, "
        "or log in as root. Nothing was changed."
    )


def last_line(text: str) -> str:
    """Give the last line that is not blank."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
