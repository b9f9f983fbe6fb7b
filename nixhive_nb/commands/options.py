"""The options of commands: those that all take, and those of a deploy, each once."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from nixhive_nb.deployment.places import DEFAULT_CONFIG, DEFAULT_STATE
from nixhive_nb.deployment.sources.formats import FORMATS
from nixhive_nb.plan.option_kinds import OneOf, Text, YesNo
from nixhive_nb.plan.options import OPTIONS, STEPS, Option, option
from nixhive_nb.plan.options import options_of as plan_options_of
from nixhive_nb.run.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    import pandas as pd

    from nixhive_nb.commands.session import Form, Listing, Session
    from nixhive_nb.deployment.targets import Pattern
    from nixhive_nb.hive import Hive
    from nixhive_nb.plan.option_kinds import Kind
    from nixhive_nb.plan.options import Flag, How
    from nixhive_nb.plan.plan import Verb
    from nixhive_nb.view.listing import Table

F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")
_OPTIONS = "nixhive_nb.commands.options"
_IPYTHON = re.compile(r"get_ipython|In|Out|exit|quit|_+|_\d+|_i+|_i\d+|_[iod]h|__\w+__")

CONFIG = Option(
    name="config",
    kind=Text("a file, a folder or a flake"),
    default=DEFAULT_CONFIG,
    words=("-c", "--config"),
    metavar="PATH",
    help="The deployment: a file, a folder with default.nix, hive.nix or flake.nix, or a flake such as .#prod.",
    usually="hive.nix, else the flake of this folder",
)
STATE = Option(
    name="state",
    kind=Text("a file"),
    default=DEFAULT_STATE,
    words=("-s", "--state"),
    metavar="PATH",
    help="The state file.",
)
STATE_DIR = Option(
    name="state_dir",
    kind=Text("a folder"),
    default=None,
    metavar="FOLDER",
    help="Where journals, outputs, --once keys and roots are kept; a team shares one that is setgid (chmod 2770).",
    usually=".hive if there is one, else below $XDG_STATE_HOME",
)


class Value(click.ParamType):  # type: ignore[type-arg] # as below
    """A value as its kind reads it. What it is not is told in the words of that."""

    def __init__(self, kind: Kind) -> None:
        """Read values of a kind."""
        self.kind = kind
        self.name = kind.allowed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        """Return what a word stands for; a default is as it is to be."""
        if not isinstance(value, str):
            return value
        try:
            return self.kind.read(value)
        except ValueError as error:
            self.fail(f"'{value}' is not {error}.", param, ctx)


class _Choice(click.Choice):  # type: ignore[type-arg] # not generic in the oldest click that is promised
    """One of some words, which completion offers."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        return Value(OneOf(tuple(self.choices))).convert(value, param, ctx)


def session_of(ctx: click.Context) -> Session:
    """Return what the face keeps between commands."""
    from nixhive_nb.commands.session import Session  # noqa: PLC0415 - the list of the commands does not need it

    session = ctx.find_root().obj
    if not isinstance(session, Session):
        raise TypeError("the grammar is called with a Session as its obj")
    return session


def options_of(ctx: click.Context) -> dict[str, Any]:
    """Return the options that may stand before or after the command word, those after it first."""
    found: dict[str, Any] = ctx.find_root().meta.setdefault(_OPTIONS, {})
    return found


def hive_of(ctx: click.Context, *, anew: bool = False) -> Hive:
    """Return the deployment that a command is about: read now, and not again before the command has ended."""
    from nixhive_nb.commands.names import note_names  # noqa: PLC0415 - once a deployment is loaded

    session = session_of(ctx)
    becomes_root = any(param.name == "ask_password" for param in ctx.command.params)
    if becomes_root:
        from nixhive_nb.commands.passwords import take_descriptor, with_password  # noqa: PLC0415 - few commands need it

        take_descriptor(session)
    hive = session.hive(options_of(ctx), anew=anew)
    if becomes_root:
        hive = with_password(ctx, session, options_of(ctx), hive)
    inventory = ctx.with_resource(hive.held())
    note_names(hive.file, inventory)
    session.warn_once(inventory.warnings)
    return hive


def listing_of(ctx: click.Context, frame: pd.DataFrame, table: Table, *, ok: bool = True, most: int = 0) -> Listing:
    """Return a listing as a command gives it, in the form that is asked for."""
    from nixhive_nb.commands.session import Listing  # noqa: PLC0415 - see above

    return Listing(frame=frame, table=table, form=form_of(ctx), ok=ok, most=most)


def form_of(ctx: click.Context) -> Form:
    """Return the form in which a listing is asked for. Raises `click.UsageError` where that is more than one."""
    asked: list[Form] = [form for form in ("wide", "json", "csv") if options_of(ctx).get(f"as_{form}")]
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(f'--{form}' for form in asked)} cannot be used together.")
    return asked[0] if asked else "table"


def must_name(patterns: Sequence[T]) -> Sequence[T]:
    """Return the patterns of a command that does not take their absence for all instances."""
    if not patterns:
        raise click.UsageError("Say which instances: a PATTERN, or '*' for all.")
    return patterns


def left_out(ctx: click.Context) -> tuple[str, ...]:
    """Return the steps of `--no`."""
    found: tuple[str, ...] = options_of(ctx).get("no", ())
    return found


def how_of(ctx: click.Context, options: dict[str, Any], verb: Verb) -> How:
    """Return the options of a verb, as click gives them, as keywords of `Hive.plan`; those not given are left out.

    Raises `OptionError` for those that cannot be used together.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for one in OPTIONS:
        named = [flag.value for flag in one.flags if given.pop(flag.name, False)]
        if named or verb in one.implied:
            given[one.name] = [*named, one.default_for(verb)][0]
    standard = session_of(ctx).confirm
    if standard is not None and verb in option("confirm").verbs:
        given.setdefault("confirm", standard)
    how = cast("How", {**given, "no": left_out(ctx)})
    plan_options_of(how, verb, as_words=True)
    return how


def not_empty(_ctx: click.Context, _param: click.Parameter, value: T) -> T:
    """Get the value of an option or argument; an empty one, as of a variable that is not set, is not the same as none.

    For a `callback` of click. Raises `click.BadParameter`.
    """
    if value == "":
        raise click.BadParameter("it is empty.")
    return value


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:  # noqa: ANN401 - any option's value
    if not_empty(ctx, param, value) not in (None, (), False, {}):
        options_of(ctx)[str(param.name)] = value


def _pairs(ctx: click.Context, param: click.Parameter, value: tuple[tuple[str, str], ...]) -> None:
    _remember(ctx, param, dict(value))


def _steps(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> None:
    for group in value:
        not_empty(ctx, param, group)
    words = [word for group in value for word in group.split(",") if word]
    unknown = [word for word in words if word not in STEPS]
    if unknown:
        raise click.BadParameter(f"'{unknown[0]}' is not a step that can be left out: {', '.join(STEPS)}.")
    _remember(ctx, param, tuple(words))


def _out(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Take the name of a variable; a terminal has files in their place, for plans."""
    session = session_of(ctx)
    if value and not session.has_terminal and (not value.isidentifier() or keyword.iskeyword(value)):
        raise click.BadParameter(f"'{value}' cannot be the name of a variable.")
    if value and not session.has_terminal and _IPYTHON.fullmatch(value):
        raise click.BadParameter(f"'{value}' is a name of IPython's own.")
    _remember(ctx, param, value)
    if ctx.parent is not None:  # before the word of the command, which one it is comes to light with that
        check_out(ctx, ctx.command.name)


def _patterns(ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]) -> Sequence[Pattern]:
    # A line that is being typed has no session.
    return words if ctx.resilient_parsing else session_of(ctx).patterns(words)


def _verbose(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's way
    if value:
        session_of(ctx).be_verbose()


def check_out(ctx: click.Context, command: str | None) -> None:
    """Raise `click.UsageError` in a terminal where `--out` stands with a command that has nothing for a file."""
    if options_of(ctx).get("out") and session_of(ctx).has_terminal and command != "plan":
        raise click.UsageError("--out goes with plan, or with %hive in a notebook.")


def check_dashes(words: Iterable[str], known: Collection[str]) -> None:
    """Raise `click.UsageError` for a long option with one dash: `-canary 1` is `-c anary` to click."""
    for word in words:
        if word.startswith("-") and f"-{word.partition('=')[0]}" in known and not word.startswith("--"):
            raise click.UsageError(f"{word} has one dash: write -{word}.")


def long_words() -> set[str]:
    """Return the long words of all options of a plan, and their flags."""
    return {one.long for one in OPTIONS} | {flag.word for one in OPTIONS for flag in one.flags}


def common(function: F) -> F:
    """Add the options that every command takes, before or after its word."""
    for decorate in reversed((
        _made(CONFIG, callback=_remember),
        _made(STATE, callback=_remember),
        _made(STATE_DIR, callback=_remember),
        _made(option("no"), callback=_steps, multiple=True),
        *(_made(one, callback=_remember) for one in LIMITS if not one.only_python),
        click.option("--format", type=_Choice(FORMATS), expose_value=False, callback=_remember,
                     help="The format of the deployment.  [default: that which its names tell]"),
        click.option("--impure", is_flag=True, expose_value=False, callback=_remember,
                     help="For a flake: let its evaluation see variables and <nixpkgs>."),
        click.option("--override-input", "override_inputs", nargs=2, multiple=True, metavar="INPUT FLAKE",
                     expose_value=False, callback=_pairs, help="For a flake: use another flake for an input."),
        click.option("--option", "options", nargs=2, multiple=True, metavar="NAME VALUE",
                     expose_value=False, callback=_pairs, help="A setting of Nix, for evaluations."),
        click.option("--on", metavar="ADDRESS", expose_value=False, callback=_remember,
                     help="Reach hosts by the workers of this Dask scheduler (tls://HOST:PORT). See nix-hive worker."),
        click.option("--tls", metavar="FOLDER", expose_value=False, callback=_remember,
                     help="The folder with ca.pem, cert.pem and key.pem, for --on tls://."),
        click.option("--show-trace", is_flag=True, expose_value=False, callback=_remember,
                     help="Show the whole trace of an evaluation error."),
        click.option("--verbose", is_flag=True, expose_value=False, callback=_verbose,
                     help="Log to standard error what is done and why it fails. To log to a file: NIXHIVE_LOG=FILE."),
        click.option("-o", "--out", metavar="NAME", expose_value=False, callback=_out,
                     help="Put the result into this variable (in a notebook), or a plan into this file."),
    )):  # fmt: skip
        function = decorate(function)
    return function


def _made(one: Option, callback: Callable[..., Any] = not_empty, **more: Any) -> Callable[[F], F]:  # noqa: ANN401 - click's
    """Return an option as click has it; what is remembered is not given to the command."""
    names = (*one.spelt, one.name)
    if isinstance(one.kind, YesNo):
        return click.option(*names, is_flag=True, default=None, help=_help(one))
    choices = _Choice(one.kind.words) if isinstance(one.kind, OneOf) else None
    kind = choices or (str if callback is _steps or isinstance(one.kind, Text) else Value(one.kind))
    return click.option(
        *names, metavar=one.metavar or None, type=kind, help=_help(one), callback=callback,
        expose_value=callback is not_empty, **more,
    )  # fmt: skip


def _help(one: Option) -> str:
    """Return what an option is for, its default, and its range."""
    usual = one.usually or (one.kind.word(one.default) if one.default else "")
    notes = "; ".join(note for note in (f"default: {usual}" if usual else "", one.kind.range) if note)
    return f"{one.help}  [{notes}]" if notes else one.help


def _made_flag(flag: Flag, verbs: Sequence[str]) -> Callable[[F], F]:
    """Return a flag as click has it; where a command is for several verbs, it says which it is for."""
    others = "" if len(verbs) == 1 or "deploy" in flag.verbs else f"For a {flag.verbs[0]}: "
    told = f"{others}{flag.help[0].lower()}{flag.help[1:]}" if others else flag.help
    return click.option(flag.word, flag.name, is_flag=True, help=told)


def how_options(*verbs: str) -> Callable[[F], F]:
    """Add the options that the commands of some verbs take, as `OPTIONS` has them."""

    def made() -> Iterator[Callable[[F], F]]:
        for one in OPTIONS:
            if one.flags:
                yield from (_made_flag(flag, verbs) for flag in one.flags if {*flag.verbs} & {*verbs})
            elif {*one.verbs} & {*verbs}:
                yield _made(one)

    return _together(*made())


def _together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for one in reversed(decorators):
            function = one(function)
        return function

    return decorate


consent = _together(
    click.option("--yes", is_flag=True, expose_value=False, callback=_remember,
                 help="Do not ask. Needed where nobody can be asked, as in a script or a headless notebook."),
    click.option("--plan", "agreed", metavar="DIGEST", expose_value=False, callback=_remember,
                 help="Do it only if it is exactly this plan, as you reviewed it."),
)  # fmt: skip
"""What a command that changes hosts needs when no person is there."""


def _asked_for(ctx: click.Context, param: click.Parameter, value: Any) -> None:  # noqa: ANN401 - click's
    _remember(ctx, param, value)
    if value and not ctx.resilient_parsing:
        from nixhive_nb.commands.passwords import check_can_ask  # noqa: PLC0415 - few commands need it

        check_can_ask(session_of(ctx))


PASSWORDS = ("ask_password", "ask_password_for", "password_command")
"""The options that say where the password of sudo comes from."""
password = _together(
    click.option("--ask-password", is_flag=True, expose_value=False, callback=_asked_for,
                 help="Ask for the password of sudo, where a host wants one; it is kept nowhere."),
    click.option("--ask-password-for", metavar="PATTERN", multiple=True, expose_value=False, callback=_asked_for,
                 help="Ask for a password of these hosts alone; any number of times."),
    click.option("--password-command", metavar="WORDS", expose_value=False, callback=_remember,
                 help="Take the password of sudo from the first line that a program prints, as 'pass show ops/sudo'."),
)  # fmt: skip
"""Where the password of sudo comes from, for a command that becomes root. See `passwords.py`."""

background = click.option(
    "--background", is_flag=True, expose_value=False, callback=_remember,
    help="In a notebook: return a handle (wait, cancel, report) at once, while the run continues.",
)  # fmt: skip

reason = click.option("--reason", metavar="TEXT", default="", help="The reason, which is kept in the journal.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
json_also = click.option(
    "--json", "as_json", is_flag=True, expose_value=False, callback=_remember,
    help="Print the result as JSON; the report goes to standard error.",
)  # fmt: skip
forms = _together(
    click.option("--json", "as_json", is_flag=True, expose_value=False, callback=_remember,
                 help="Print JSON: whole paths, plain numbers."),
    click.option("--csv", "as_csv", is_flag=True, expose_value=False, callback=_remember,
                 help="Print the same as CSV."),
    click.option("--wide", "as_wide", is_flag=True, expose_value=False, callback=_remember,
                 help="Show all columns, however wide the screen is."),
)  # fmt: skip
"""The forms of a listing; see `form_of`."""
patterns = click.argument("patterns", nargs=-1, metavar="[PATTERN]...", callback=_patterns)
