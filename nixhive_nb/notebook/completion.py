"""Completing `%hive …`, `x = %hive …` and the first line of `%%hive …`: by the grammar, and from what is known.

It never evaluates, and asks no host: JupyterLab waits a second for it, and the kernel does nothing else meanwhile.

What may stand where, and what is offered for it, is `commands.completing`, as for shells. Where in the grammar the line
has come to is `place`, and not click's own resolver: that is private to click, it runs the callbacks of options (which
set the session up, as `--verbose` does), and it does not tell what a line needs that is not a shell's: which option
still waits for its value, that nothing but options can follow, and what stands in a `%%hive` cell.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, overload

import click
import msgspec
from IPython.core.completer import SimpleCompletion, SimpleMatcherResult

from nixhive_nb.commands import ABOUTS, completing, hive_group
from nixhive_nb.commands.completing import Offer, wanted
from nixhive_nb.commands.names import NOTHING, names_of
from nixhive_nb.errors import OptionError
from nixhive_nb.notebook import offers
from nixhive_nb.notebook.line import Quote, typed_before
from nixhive_nb.notebook.place import Place, slot_after
from nixhive_nb.notebook.private import in_kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.completer import CompletionContext
    from IPython.core.interactiveshell import InteractiveShell

    from nixhive_nb.commands.completing import Wanted
    from nixhive_nb.commands.names import Names
    from nixhive_nb.commands.session import Session
    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.notebook.line import Typed

_log = logging.getLogger(__name__)

_MOST = 500
"""IPython gives no more to the page."""
_VARIABLE = re.compile(r"(?<![$\\])(\$\{?)\w*$")
# In an expression (see `deployment.expressions`): the word at its end, and what an operand comes after.
_TAIL = re.compile(r'[^\s()"]*$')
_OPERAND = re.compile(r"(?:^|\(|(?:^|[\s(])(?:and|or|not)\s)\s*$")
_PLAIN = re.compile(r"[\w@%+:,./~^*?\[\]!=-][\w@%+:,./~^*?\[\]!=#-]*")
"""What needs no quotes."""
_RESERVED = ("and", "or", "not")


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """What may stand in place of the end of a line."""

    value: str
    """What is typed of it, without quotes."""
    raw: str
    """The same as it is written: this is replaced."""
    quote: Quote = ""
    bare: bool = False
    """Whether it stands inside a word, where it gets no quotes of its own."""
    offers: Iterable[Offer] = ()

    def of(self, found: Iterable[Offer]) -> Next:
        """Return the same place with what may stand there."""
        return msgspec.structs.replace(self, offers=found)

    def end(self, value: str, found: Iterable[Offer]) -> Next:
        """Return what may stand in place of `value`, at the end of a word; none where it is written in another way."""
        return Next(value=value, raw=value, bare=True, offers=found) if self.raw.endswith(value) else self


class Completer:
    """Completes for one IPython: the matcher of `extension` asks it."""

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        """Know the names of the notebook, and what `%hive` has loaded."""
        self._shell = shell
        self._session = session
        self._inventory: Inventory | None = None
        self._names = NOTHING
        self._targets: list[Offer] = []
        # The other kinds are `completing.offers`.
        self._by_kind: dict[Wanted, Callable[[Place, str], Iterable[Offer]]] = {
            "target": lambda place, _: self._groups_and_targets(place),
            "file": lambda _, value: offers.paths(value),
            "nix file": lambda _, value: offers.paths(value, ".nix"),
            "folder": lambda _, value: (offer for offer in offers.paths(value) if offer.kind == "folder"),
            "run": lambda *_: self._runs(),
            "plan": lambda *_: self._digest(),
            "command": lambda *_: _commands(hive_group),
        }

    def matched(self, context: CompletionContext) -> SimpleMatcherResult:
        """Return what may come next at the cursor, and nothing beside it, in a line of `%hive`; nothing elsewhere."""
        typed = typed_before(context.full_text, context.cursor_line, context.cursor_position)
        found = self.next(typed) if typed is not None else None
        if typed is None or found is None:
            return SimpleMatcherResult(completions=[])
        told = _kind_of if in_kernel() else _about
        matching = (offer for offer in found.offers if offer.fits(found.value))
        completions = [
            SimpleCompletion(_written(offer, found, closed=typed.closed), type=told(offer))
            for offer in itertools.islice(matching, _MOST)
        ]
        return SimpleMatcherResult(
            completions=completions or _Nothing(), matched_fragment=found.raw, suppress=True, ordered=True
        )

    def next(self, typed: Typed) -> Next | None:
        """Return what may come next; None where that is for Python to say: between braces."""
        here = Next(value=typed.value, raw=typed.raw, quote=typed.quote)
        if typed.kind in ("comment", "end") or slot_after(typed.words, cell=typed.cell) == "verbatim":
            return here
        if typed.kind == "python":
            return None
        variable = _VARIABLE.search(typed.raw) if typed.quote != "'" else None
        if variable is not None:
            names, hidden = self._shell.user_ns, self._shell.user_ns_hidden
            end = "}" if variable[1] == "${" and not typed.braced else ""
            return here.end(variable[0], offers.variables(names, hidden, variable[1], end))
        place = Place(typed.words)
        if typed.value.startswith("-") and place.option is None and not place.ended:
            return self._options(place, here)
        return self._values(place, here, cell=typed.cell)

    def _options(self, place: Place, here: Next) -> Next:
        name, has_value, value = here.value.partition("=")
        if not has_value:
            return here.of(completing.options(place.options()))
        option = place.find(name)
        # After a short name (`-c=x`) the sign would be a part of the value.
        if option is None or option.is_flag or not name.startswith("--") or not here.raw.startswith(name):
            return here
        after = msgspec.structs.replace(here, value=value, raw=here.raw.partition("=")[2])
        return self._of_param(place, option, after)

    def _values(self, place: Place, here: Next, *, cell: bool) -> Next:
        if place.option is None and isinstance(place.command, click.Group):
            return here.of(offer for offer in _commands(place.command) if offer.text == "run" or not cell)
        param = place.option or place.argument()
        if param is not None and not (cell and param.name == "command"):  # the cell is the command
            return self._of_param(place, param, here)
        # Nothing but options can follow: no need to type a - to see that.
        return here if here.raw else here.of(completing.options(place.options()))

    def _of_param(self, place: Place, param: click.Parameter, here: Next) -> Next:
        """Return the values of an option or argument."""
        name = _name_of(place)
        kinds = wanted(name, param, place.words if name == "ssh" else place.args)
        if "step" in kinds:
            return here.end(here.value.rpartition(",")[2], completing.steps(here.value))
        if {"target", "system"} & set(kinds) and here.value.startswith("@("):
            return self._operands(here)
        if isinstance(param.type, click.Choice):
            return here.of(Offer(str(choice), "value", f"value of {param.opts[-1]}") for choice in param.type.choices)
        return here.of(itertools.chain.from_iterable(self._of_kind(kind, place, here.value) for kind in kinds))

    def _of_kind(self, kind: Wanted, place: Place, value: str) -> Iterable[Offer]:
        """Return what is offered for one kind of word."""
        own = self._by_kind.get(kind)
        return own(place, value) if own is not None else completing.offers([kind], self._known())

    def _groups_and_targets(self, place: Place) -> Iterable[Offer]:
        named = frozenset(place.args)
        opening = Offer("@(", "expression", "such as '@(web and not www-2)'", goes_on=True)
        every = itertools.chain(completing.groups(), [opening], self._known_targets())
        return (offer for offer in every if offer.text not in named)

    def _operands(self, here: Next) -> Next:
        """Return what may come next in an expression."""
        inside = here.value[2:]
        tail = _TAIL.search(inside)
        word = tail[0] if tail else ""
        before = inside[: len(inside) - len(word)]
        if before.count('"') % 2 or before.endswith('"'):
            return here
        if not _OPERAND.search(before):
            return here.end(word, [Offer("and", "word", "in both"), Offer("or", "word", "in one or the other")])
        negation = Offer("not", "word", "all others")
        named = (_in_expression(offer, here.quote) for offer in self._known_targets())
        return here.end(word, itertools.chain(completing.groups(), [negation], filter(None, named)))

    # What is known

    def _known_targets(self) -> list[Offer]:
        """Return tags and systems, then instances."""
        self._known()
        return self._targets

    def _known(self) -> Names:
        """Return the names of the deployment as it was evaluated last. Of 10,000 the lists are made once."""
        hive = self._session.current
        # The property would look whether a file has changed.
        inventory = hive.loaded if hive is not None else None
        if inventory is not self._inventory:
            self._inventory = inventory
            self._names = names_of(inventory) if inventory is not None else NOTHING
            self._targets = list(completing.targets(self._names))
        return self._names

    def _runs(self) -> Iterable[Offer]:
        hive = self._session.current
        try:
            return completing.runs(self._session.folder({}) if hive is None else hive.state_dir)
        except OptionError:  # a home folder of nobody: the command says so
            _log.debug("there is no folder with runs", exc_info=True)
            return ()

    def _digest(self) -> Iterable[Offer]:
        plan = self._session.plan
        return [Offer(plan.digest, "plan", f"the {plan.verb} that was shown last")] if plan is not None else ()


class _Nothing(Sequence[SimpleCompletion]):
    """No completion at all. IPython asks others when a list is empty, and they offer their `%%` and Python's names."""

    def __len__(self) -> int:
        return 1

    @overload
    def __getitem__(self, index: int) -> SimpleCompletion: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[SimpleCompletion]: ...

    def __getitem__(self, index: Any) -> Any:
        raise IndexError(index)


def _kind_of(offer: Offer) -> str:
    """Return what a page shows beside an offer, in a colour of its own: a word, as JupyterLab has no place for more."""
    return offer.kind


def _about(offer: Offer) -> str:
    """Return what a terminal shows beside an offer."""
    return offer.about or offer.kind


def _name_of(place: Place) -> str:
    return (place.command.name if place.command is not None else None) or ""


def _commands(group: click.Group) -> Iterable[Offer]:
    """Return the commands of a group; those of all are known without importing them."""
    if group is hive_group:
        return completing.commands(ABOUTS)
    return completing.commands({name: one.help or "" for name, one in group.commands.items() if not one.hidden})


def _in_expression(offer: Offer, quote: str) -> Offer | None:
    """Return a name as it stands in an expression; None where it would have to be quoted twice."""
    if _PLAIN.fullmatch(offer.text) and offer.text not in _RESERVED:
        return offer
    if quote != "'" or {"'", '"'} & set(offer.text):
        return None
    return msgspec.structs.replace(offer, text=f'"{offer.text}"', name=offer.text)


def _written(offer: Offer, found: Next, *, closed: bool) -> str:
    """Return an offer as it is written in the line: in the quotes that are open, or that it needs."""
    text = offer.text
    if found.bare or (not found.quote and _PLAIN.fullmatch(text)):
        return text
    if closed and found.quote == "'":
        return "'" + text.replace("'", r"'\''")
    quote = '"' if "'" in text else found.quote or "'"
    inner = re.sub(r'(["\\${}])', r"\\\1", text) if quote == '"' else text
    return f"{quote}{inner}{'' if closed or offer.goes_on else quote}"
