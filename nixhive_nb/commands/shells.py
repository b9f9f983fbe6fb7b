"""Tab in bash, zsh and fish: what click's completion asks of our parameters, answered from what the last load has left.

Nothing is evaluated, no host is asked, and no mistake is told: a word that cannot be completed has no completions.
"""

from __future__ import annotations

import functools
import logging
import re
from typing import TYPE_CHECKING

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    shell_complete,
)

from nixhive_nb.commands.completing import Offer, offers, runs, steps, wanted
from nixhive_nb.commands.names import NOTHING, read_names
from nixhive_nb.commands.options import options_of
from nixhive_nb.commands.session import deployment_place, place_of
from nixhive_nb.deployment.places import DEFAULT_STATE, places_of
from nixhive_nb.deployment.sources.where import usual_config
from nixhive_nb.errors import HiveError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nixhive_nb.commands.completing import Wanted
    from nixhive_nb.commands.names import Names

_log = logging.getLogger(__name__)

PROGRAM = "nix-hive"
VARIABLE = "_NIX_HIVE_COMPLETE"
"""The variable by which a shell asks, as click names it: see `cli.main`."""
_PLAIN = re.compile(r"[\w@%+:,./^-]+")
"""What no shell reads as something else. Other names are for people to write, in the quotes of their shell."""
_PICKED = "@picked"
"""A group that notebooks alone have."""
_BY_SHELL = {"file": "file", "nix file": "file", "folder": "dir"}
"""What the shell itself lists, in click's words."""


class _Bash(BashComplete):
    """Click's, with what bash takes for words of their own: the `@` of a group, the `=` of an option."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is typed, and that one."""
        args, incomplete = super().get_completion_args()
        if incomplete == "=":  # what it replaces begins behind it
            incomplete = ""
        *words, last = _glued([*args, incomplete])
        return words, last


add_completion_class(_Bash)


def _glued(words: list[str]) -> list[str]:
    """Return words as they are written: `@` and `failed` are one, and `=` behind an option is none."""
    found: list[str] = []
    for word in words:
        if found and found[-1] == "@":
            found[-1] += word
        elif word != "=" or not found or not found[-1].startswith("--"):
            found.append(word)
    return found


def complete(group: click.Group, instruction: str) -> int:
    """Print what a shell asks for (`bash_source`, `zsh_complete`, …), and return the exit status."""
    _teach(group.params)  # its commands when they are found in the line
    return shell_complete(group, {}, PROGRAM, VARIABLE, instruction)


def source(group: click.Group, shell: str) -> str:
    """Return the script that makes Tab complete in a shell."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    return found(group, {}, PROGRAM, VARIABLE).source().rstrip("\n")


def teach(command: click.Command) -> None:
    """Have click ask us for the values of the parameters of a command, and of those below it."""
    _teach(command.params)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        teach(below)


def _teach(params: Iterable[click.Parameter]) -> None:
    for param in params:
        if not isinstance(param.type, click.Choice):  # those click knows
            # What `shell_complete=` of each decorator would do, from one table: `completing.wanted`.
            param.shell_complete = functools.partial(_items, param)  # type: ignore[method-assign]


def _items(param: click.Parameter, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return what a word may become, in place of `click.Parameter.shell_complete`."""
    given = ctx.params.get(str(param.name)) or ()
    words = (given,) if isinstance(given, str) else tuple(given)
    kinds = wanted(str(ctx.command.name), param, words)
    named = [
        CompletionItem(offer.text, help=offer.about or offer.kind)
        for offer in _offers(ctx, kinds, incomplete)
        if offer.fits(incomplete) and _PLAIN.fullmatch(offer.text) and offer.text not in (*words, _PICKED)
    ]
    listed = [CompletionItem(incomplete, type=_BY_SHELL[kind]) for kind in kinds if kind in _BY_SHELL]
    return [*listed, *named]  # in this order: bash forgets what it has when it is told of files


def _offers(ctx: click.Context, kinds: tuple[Wanted, ...], typed: str) -> Iterator[Offer]:
    yield from offers(kinds, _names(ctx) if kinds else NOTHING)
    if "run" in kinds:
        yield from _runs(ctx)
    if "step" in kinds:
        before = typed[: typed.rfind(",") + 1]
        yield from (Offer(f"{before}{one.text}", one.kind) for one in steps(typed))
    if "command" in kinds:
        root = ctx.find_root()
        yield from (Offer(one.value, "command", one.help or "") for one in root.command.shell_complete(root, typed))


def _names(ctx: click.Context) -> Names:
    try:
        return read_names(deployment_place(options_of(ctx).get("config") or usual_config()))
    except (OSError, HiveError):  # the current folder is gone; the home folder of nobody
        _log.debug("no deployment to complete for", exc_info=True)
        return NOTHING


def _runs(ctx: click.Context) -> Iterable[Offer]:
    options = options_of(ctx)
    config, state = options.get("config") or usual_config(), options.get("state") or DEFAULT_STATE
    folder: str | None = options.get("state_dir")
    try:
        return runs(places_of(deployment_place(config), place_of(state), place_of(folder) if folder else None).folder)
    except (OSError, HiveError):
        _log.debug("no runs to complete", exc_info=True)
        return ()
