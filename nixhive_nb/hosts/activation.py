"""The words by which we and `activation.sh` on a host understand each other. Nothing is sent here."""

from __future__ import annotations

import logging
import re
import shlex
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from nixhive_nb.hosts import command, scripts
from nixhive_nb.hosts.facts import FACTS, NAMELESS, inhibitors, parse_facts, read_inhibitors
from nixhive_nb.hosts.privilege import AS_IT_IS
from nixhive_nb.nix import commands
from nixhive_nb.plan.facts import HostFacts, inhibited
from nixhive_nb.plan.plan import SwitchType
from nixhive_nb.util import said
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import count_text, seconds_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.hosts.privilege import Elevation

_log = logging.getLogger(__name__)

KEEP = "keep"
"""The word that makes an activation last; any other word is the reason to go back."""
Keyword = Literal[
    "began", "holds", "waits", "busy", "tested", "back", "ordered", "result", "ended", "gone", "facts", "told"
]
KEYWORDS: tuple[Keyword, ...] = get_args(Keyword)
OutcomeName = Literal["done", "unchanged", "warned", "rolled-back", "failed", "gone", "changed", "refused", "locked"]
TIMED_OUT = (124, 137)
"""How `timeout` ends what takes too long."""

_EVAL = 'eval "$hive_script" </dev/null'
_MEANINGS = {
    1: "a check before the switch, the boot loader or the usage",
    2: "the activation script failed",
    101: "it lost its output",
}
ACTIVATING = "activating the configuration..."
"""What NixOS says as it begins to change what runs."""
_REBOOT = "switched, but a reboot is needed (exit status 100)"
UNITS_FAILED = 4
"""How it ends when units failed."""
_MOST_UNITS = 8
_UNITS_LINE = re.compile(r"warning: the following units failed: ?(.+)")
NEEDS_REBOOT = 100
"""NixOS ends so when the new init does not go with the one that runs: it then sets the boot loader alone."""
_BY_REBOOT = " To have it booted next, and reboot: deploy --reboot-if-needed."
_NOT_YET = "not switched: the new system takes effect at the next reboot (exit status 100)"
_MOST_OWNER = 200
_MOST_WORDS = 200


class SeenHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host before (or after) an activation."""

    facts: HostFacts
    is_there: bool
    """Whether the wanted path is there."""
    is_system: bool
    """Whether it is a NixOS system."""
    inhibited: tuple[str, ...] = ()
    """What keeps the host from switching to it without a reboot: see `inhibited`."""


class RunsAndBoots(msgspec.Struct, frozen=True):
    """What a host runs and boots: store paths, each empty where there is none, and None where it is not known."""

    runs: str | None = None
    boots: str | None = None


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
    force: bool = False
    """Activate also where the path runs and boots already, or where a reboot is asked for by switch inhibitors."""
    reboots: bool = False
    """Whether a reboot of it follows, if it is needed."""
    expected: RunsAndBoots = RunsAndBoots()
    """What the host must run and boot before, unless it waited for somebody else. What is not known may be anything."""
    owner: str
    """Who activates: what another operator is told."""


class Word(msgspec.Struct, frozen=True):
    """A line of the worker's own."""

    keyword: Keyword
    text: str = ""


class HostOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the worker ended."""

    name: OutcomeName
    status: int
    """Of `switch-to-configuration`."""
    why: str = ""


def script() -> str:
    """Return the text that the host runs."""
    return scripts.activation_script()


def _word_script() -> str:
    """Return the text that the host runs for `say` and `forget`."""
    return command.own_script("hosts/word.sh")


def begin(order: Order, *, by: Elevation, kept: bool = False) -> str:
    """Return the shell words that begin an activation and follow it to its end; `script` is their input.

    With `kept` it is the one that the host keeps, if it does: `scripts.is_gone` tells.
    """
    words = [
        *("begin", order.id, order.path, order.type),
        *map(str, (order.confirm, order.limit, order.wait, order.generation)),
        "force" if order.force else "-",
        *_state_words(order.expected),
        _owner_word(order.owner),
    ]
    return _command(words, by=by, kept=kept, says_login=True)


def reboot(id_: str, *, limit: int, wait: int, expected: RunsAndBoots, owner: str, by: Elevation) -> str:
    """Return the shell words that reboot a host when nobody else is at work there; `script` is their input.

    `limit`: seconds that the host may take to go down, for which the lock is held. `wait`: seconds to wait for others.
    """
    return _command(["reboot", id_, str(limit), str(wait), *_state_words(expected), _owner_word(owner)], by=by)


def _state_words(state: RunsAndBoots) -> list[str]:
    return ["any" if path is None else path or "none" for path in (state.runs, state.boots)]


def _owner_word(owner: str) -> str:
    return " ".join(owner.split())[:_MOST_OWNER]


def follow(order: Order) -> str:
    """Return the words that follow one that was begun before, from its first line: no right is needed."""
    return _command(["follow", order.id], by=AS_IT_IS)


def say(order: Order, word: str) -> str:
    """Return the words that bring the word that the host waits for, `KEEP` or why it goes back: no right is needed."""
    return AS_IT_IS.shell(_word_script(), ["say", order.id, " ".join(word.split())])


def forget(order: Order, *, by: Elevation, rooted: str = "") -> str:
    """Return the words that remove what the activation kept on the host.

    `rooted` is the name of a root that goes with it, if there is one.
    """
    return by.shell(_word_script(), ["forget", order.id, rooted])


def _command(words: list[str], *, by: Elevation, kept: bool = False, says_login: bool = False) -> str:
    name = scripts.activation_hash()
    if kept:
        run = scripts.by_hash(name, f"hive_name=; hive_script=$(cat $hive_kept); {_EVAL}")
    else:
        run = f"hive_name={name}; hive_script=$(cat; echo .); hive_script=${{hive_script%.}}; {_EVAL}"
    return by.shell(run, words, says_login=says_login)


def read_word(id_: str, line: str) -> Word | None:
    """Return what a line of an order tells us, None for a line of the activation itself."""
    mark = f"nixhive {id_} "
    if not line.startswith(mark):
        return None
    keyword, _, text = line.removeprefix(mark).partition(" ")
    return next((Word(known, text) for known in KEYWORDS if known == keyword), None)


def read_outcome(word: Word) -> HostOutcome:
    """Return what a `result` line says. One that makes no sense is a failure that says so: it is never a success."""
    name, _, rest = word.text.partition(" ")
    status, _, why = rest.partition(" ")
    number = said.whole(status)
    if number is not None:
        with swallowed(_log, "reading how an activation ended", msgspec.ValidationError):
            return msgspec.convert({"name": name, "status": number, "why": said.one_line(why)}, HostOutcome)
    return HostOutcome(
        name="failed", status=0, why=f"the host told its end as {said.one_line(word.text, _MOST_WORDS)!r}"
    )


def read_state(word: Word) -> RunsAndBoots:
    """Return what a `holds` line says of a host."""
    runs, _, boots = word.text.partition(" ")
    return RunsAndBoots(*("" if path == "none" else path for path in (runs, boots)))


def read_busy(word: Word) -> str:
    """Return what a `busy` line says, for people."""
    seconds, _, what = word.text.partition(" ")
    number = said.whole(seconds)
    span = "long" if number is None else seconds_text(number)
    return f"switch-to-configuration has run for {span}" + (f", and waits for: {what.strip()}" if what.strip() else "")


def look(path: str) -> str:
    """Return the shell words that print what `SeenHost` holds, changing nothing."""
    wanted = shlex.quote(path)
    return (
        f"{FACTS}; if test -e {wanted}; then echo hive_there=yes; fi; "
        f"if test -x {wanted}/{commands.SWITCH} && test -e {wanted}/nixos-version; then echo hive_system=yes; fi; "
        f"{inhibitors('hive_wanted', wanted)}"
    )


def read_look(output: str) -> SeenHost:
    """Read what `look` printed."""
    lines, facts = output.splitlines(), parse_facts(output)
    return SeenHost(
        facts=facts,
        is_there="hive_there=yes" in lines,
        is_system="hive_system=yes" in lines,
        inhibited=inhibited(facts.inhibitors, read_inhibitors(output, "hive_wanted")),
    )


def warning(status: int, *, runs: bool) -> str:
    """Return what an exit status of `switch-to-configuration` warns of; `runs`: the wanted system runs now."""
    if status == NEEDS_REBOOT:
        return _REBOOT if runs else _NOT_YET
    return "switched, but some units failed (exit status 4)" if status == UNITS_FAILED else ""


def units_in(line: str) -> tuple[str, ...]:
    """Return the units that failed, where a line of an activation names them."""
    found = _UNITS_LINE.match(said.one_line(line))
    return tuple(re.split(r"[\s,]+", found[1].strip(", "))) if found else ()


def failed_text(units: Sequence[str], before: Sequence[str]) -> str:
    """Return the words for units that failed: `2 units failed: a.service, b.service (b.service had failed before)`."""
    if not units:
        return ""
    known = [unit for unit in units if unit in before]
    told = (
        " (had failed before)" if len(known) == len(units) else f" ({_named(known)} had failed before)" if known else ""
    )
    return f"{count_text(len(units), 'unit')} failed: {_named(units)}{told}"


def _named(units: Sequence[str]) -> str:
    more = f" and {len(units) - _MOST_UNITS} more" if len(units) > _MOST_UNITS else ""
    return f"{', '.join(units[:_MOST_UNITS])}{more}"


def explained(outcome: HostOutcome, limit: int, *, activating: bool = False) -> str:
    """Return why an activation failed, with the meaning of its exit status.

    `activating`: it had begun to change what runs, and so had passed its checks.
    """
    if outcome.status in TIMED_OUT:
        return outcome.why.replace(f"ended with {outcome.status}", f"took longer than {limit} s and was ended")
    meaning = "" if activating and outcome.status == 1 else _MEANINGS.get(outcome.status, "")
    ended = f"ended with {outcome.status}"
    return outcome.why.replace(ended, f"{ended}: {meaning}") if meaning else outcome.why


def no_system(path: str) -> str:
    """Return why the worker does not activate a path that is no NixOS system."""
    return f"{path} is not a NixOS system"


def no_system_text(order: Order) -> str:
    """Return the message for that."""
    return f"{order.path} is not a NixOS system on {order.instance}. Nothing was changed."


def refusal(why: str) -> str:
    """Return the message for a host that refused to switch, by checks of its own before that."""
    told = "; ".join(part.strip() for part in why.split(";") if part.strip())
    return f"a pre-switch check failed: {told}. Nothing was changed.{_BY_REBOOT if ' -> ' in told else ''}"


def inhibited_text(changes: Sequence[str]) -> str:
    """Return the message for a host that would refuse to switch, since that wants a reboot."""
    return f"{', '.join(changes)}: that needs a reboot. Nothing was changed.{_BY_REBOOT}"


def refused_by(outcome: HostOutcome, waited: float) -> str:
    """Return the message for a host where somebody else is at work."""
    advice = f"It was waited for, {waited:g} s." if waited else "Wait for it with --wait SECONDS."
    return f"{outcome.why or NAMELESS} is at work there. Nothing was changed. {advice}"


def stale(instance: str, expected: RunsAndBoots, found: RunsAndBoots) -> str:
    """Return the message for a host that runs or boots something else than it did when the plan was made."""
    pairs: tuple[tuple[str, str | None, str | None], ...] = (
        ("runs", expected.runs, found.runs),
        ("boots", expected.boots, found.boots),
    )
    if expected.runs == expected.boots and found.runs == found.boots:
        pairs = (("runs and boots", expected.runs, found.runs),)
    differ = [
        f"{what} {now or 'nothing'} now, and {then or 'nothing'} when the plan was made"
        for what, then, now in pairs
        if then is not None and then != now
    ]
    return f"{instance} {'; '.join(differ)}. Nothing was changed. Make a new plan."


def last_line(text: str) -> str:
    """Return the last line that is not blank."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
