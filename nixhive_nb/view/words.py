"""Words, symbols and colours: the one table that text, HTML, SVG and widgets take them from.

Of what a verb does, what a step does, how either ends, how an instance stands, and what a plan has in store for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from nixhive_nb.plan.step import Kind
from nixhive_nb.util import html

if TYPE_CHECKING:
    from nixhive_nb.plan.events import Outcome
    from nixhive_nb.plan.plan import Verb
    from nixhive_nb.plan.status import Standing
    from nixhive_nb.view.plan_rows import Fate

Tone = Literal["ok", "warn", "bad", "run", "dim"]
"""What a colour means. Pages name their styles after it: `hive-bad`, `data-tone="warn"`."""
COLOURS: dict[Tone, str] = {"ok": html.OK, "warn": html.WARN, "bad": html.BAD, "run": html.RUN, "dim": html.DIM}
"""In HTML."""
STYLES: dict[Tone, str] = {"ok": "green", "warn": "yellow", "bad": "red", "run": "blue", "dim": "dim"}
"""In a terminal."""


class VerbWords(msgspec.Struct, frozen=True):
    """What a run or a plan of a verb does."""

    title: str
    """While it runs."""
    done: str
    to_do: str


VERBS: dict[Verb, VerbWords] = {
    "build": VerbWords("Building", "built", "to build"),
    "push": VerbWords("Pushing", "pushed", "to bring there"),
    "deploy": VerbWords("Deploying", "deployed", "to activate"),
    "rollback": VerbWords("Rolling back", "rolled back", "to roll back"),
    "reboot": VerbWords("Rebooting", "rebooted", "to reboot"),
    "survey": VerbWords("Looking", "looked at", "to look at"),
}


class StepWords(msgspec.Struct, frozen=True):
    """What a step does, while it runs and in a timeline."""

    doing: str
    name: str
    letter: str = ""
    """Of which a timeline in text draws its span; empty for what a timeline does not show by itself."""
    colour: str = ""
    """Of its span; empty for one that is only framed."""
    legend: str = ""
    """`name` where a line has room for more."""


Shown = Kind | Literal["wait"]
"""What a timeline shows. `wait` is for a limit, when all that must come first had ended."""
_ASKING = "rgb(140,105,200)"
STEPS: dict[Shown, StepWords] = {
    "instantiate": StepWords("evaluating", "evaluate", "e", _ASKING),
    "probe": StepWords("asking", "ask", "l", _ASKING),
    "missing": StepWords("comparing", "compare", "m", _ASKING),
    "build": StepWords("building", "build", "b", html.WARN),
    "register": StepWords("measuring", "build"),
    "sign": StepWords("signing", "sign", "s", "rgb(150,120,60)"),
    "send": StepWords("sending", "send", "n", html.RUN),
    "push": StepWords("pushing", "push", "p", html.RUN),
    "fetch": StepWords("fetching", "fetch", "f", html.RUN),
    "activate": StepWords("activating", "activate", "a", html.OK),
    "check": StepWords("checking", "check", "c", "rgb(0,150,165)"),
    "reboot": StepWords("rebooting", "reboot", "r", html.AWAY),
    "pause": StepWords("pausing", "pause", "-", "rgb(128,128,128)"),
    "gate": StepWords("waiting", "gate"),
    "wait": StepWords("waiting", "wait", ".", legend="wait for a free place"),
}
"""In the order in which a legend has them."""

Counted = Literal["done", "unchanged", "failed", "skipped", "cancelled", "running", "waiting"]
"""As what the instances, or steps, of a run in progress are counted."""


class OutcomeWords(msgspec.Struct, frozen=True):
    """How a step or an instance ended."""

    symbol: str
    tone: Tone
    words: str
    """In a table."""
    counted: Counted
    ended: str = ""
    """What is said of a step that ended so: `activate locked out`; empty where nothing is."""

    @property
    def colour(self) -> str:
        """In HTML."""
        return COLOURS[self.tone]


OUTCOMES: dict[Outcome | None, OutcomeWords] = {
    "done": OutcomeWords("✓", "ok", "done", "done"),
    "warned": OutcomeWords("⚠", "warn", "done, with warnings", "done"),
    "unchanged": OutcomeWords("=", "dim", "unchanged", "unchanged"),
    "rolled back": OutcomeWords("↶", "bad", "rolled back", "failed", "rolled back"),
    "failed": OutcomeWords("✕", "bad", "failed", "failed", "failed"),
    "refused": OutcomeWords("✕", "bad", "refused", "failed", "refused"),
    "locked": OutcomeWords("✕", "bad", "locked", "failed", "locked out"),
    "unknown": OutcomeWords("?", "bad", "unknown", "failed", "ended unknown"),
    "skipped": OutcomeWords("⊘", "dim", "skipped", "skipped"),
    "cancelled": OutcomeWords("⊘", "dim", "cancelled", "cancelled"),
    None: OutcomeWords("●", "run", "running", "running"),
}
"""None: it has not ended."""


class Look(msgspec.Struct, frozen=True):
    """How something is marked and coloured, beside words that say the same."""

    symbol: str
    tone: Tone

    @property
    def colour(self) -> str:
        """In HTML."""
        return COLOURS[self.tone]


LOOKS: dict[Standing, Look] = {
    "in sync": Look("✓", "ok"),
    "reboot needed": Look("⚠", "warn"),
    "boots it next": Look("◑", "warn"),
    "mixture": Look("✕", "bad"),
    "outdated": Look("◐", "warn"),
    "never deployed": Look("○", "warn"),
    "unreachable": Look("✕", "bad"),
    "unknown": Look("?", "bad"),
}


class FateWords(msgspec.Struct, frozen=True):
    """What a plan has in store for an instance or a system."""

    words: str
    """`act` has those of its verb where that is known."""
    symbol: str
    colour: str
    """In HTML; empty for that of all other words."""
    fill: str
    """Of its box in a picture, on which white can be read on light and on dark ground."""


FATES: dict[Fate, FateWords] = {
    "act": FateWords("something is done", "", "", "#4a6890"),
    "nothing": FateWords("nothing to do", "=", html.DIM, "#6c747e"),
    "unreachable": FateWords("unreachable", "✕", html.BAD, "#b0404a"),
    "broken": FateWords("cannot be evaluated", "!", html.BAD, "#8a6200"),
    "refused": FateWords("cannot be built there", "!", html.BAD, "#8f4f24"),
}


def look_of(standing: str) -> Look:
    """Return the look of a standing; other words stand back."""
    return next((look for name, look in LOOKS.items() if name == standing), Look("", "dim"))


def wave_look(done: int, failed: int, total: int) -> Look:
    """Return how a wave is marked of whose instances so many are done, and so many failed."""
    if failed:
        return Look("✕", "bad")
    if done >= total:
        return Look("✓", "ok")
    return Look("●", "run") if done else Look("○", "dim")
