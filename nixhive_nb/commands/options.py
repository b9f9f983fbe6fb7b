"""The options of commands: those that all take, and those of a deploy, each once."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from nixhive_nb.commands.session import DEFAULT_CONFIG, DEFAULT_STATE, Listing, Session, records_of
from nixhive_nb.plan.options import STEPS, TYPES
from nixhive_nb.plan.plan import ACTIVATION_SECONDS, CONFIRM, REBOOT_SECONDS, STALL_SECONDS
from nixhive_nb.run.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from nixhive_nb.deployment.targets import Pattern
    from nixhive_nb.hive import Hive
    from nixhive_nb.plan.options import How

F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")
_OPTIONS = "nixhive_nb.commands.options"
_DEFAULTS = Limits()


class Whole(click.IntRange):
    """A whole number in a range, by a name that people have for it."""

    name = "whole number"


class Number(click.FloatRange):
    """A number in a range, by a name that people have for it."""

    name = "number"


_SECONDS = Number(min=0)
_SIZE = re.compile(r"([0-9]{1,9})([kKmMgG]?)")
_IPYTHON = re.compile(r"get_ipython|In|Out|exit|quit|_+|_\d+|_i+|_i\d+|_[iod]h|__\w+__")


def session_of(ctx: click.Context) -> Session:
    """Return what the face keeps between commands."""
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
    from nixhive_nb.commands.completing import note_names  # noqa: PLC0415 - once a deployment is loaded

    session = session_of(ctx)
    hive = session.hive(options_of(ctx), anew=anew)
    inventory = ctx.with_resource(hive.held())
    note_names(hive.places.deployment, inventory)
    session.warn_once(inventory.warnings)
    return hive


def listing_of(frame: pd.DataFrame, *, as_json: bool, nothing: str = "") -> Listing:
    """Return a table as a command gives it, with what `--json` prints where that is asked for.

    `nothing` is what is said of a table without rows.
    """
    return Listing(frame=frame, records=records_of(frame) if as_json else None, nothing=nothing)


def must_name(patterns: Sequence[T]) -> Sequence[T]:
    """Return the patterns of a command that does not take their absence for all instances."""
    if not patterns:
        raise click.UsageError("Say which instances: a PATTERN, or '*' for all.")
    return patterns


def left_out(ctx: click.Context) -> tuple[str, ...]:
    """Return the steps of `--no`."""
    found: tuple[str, ...] = options_of(ctx).get("no", ())
    return found


def how_of(ctx: click.Context, options: dict[str, Any]) -> How:
    """Return the options of a deploy, as click gives them, as keywords of `Hive.plan`; those not given are left out."""
    given = {name: value for name, value in options.items() if value is not None}
    always, if_needed = given.pop("reboot", False), given.pop("reboot_if_needed", False)
    if always or if_needed:
        given["reboot"] = "always" if always else "if needed"
    standard = session_of(ctx).confirm
    if standard is not None and "confirm" in options:
        given.setdefault("confirm", standard)
    return cast("How", {**given, "no": left_out(ctx)})


def not_empty(_ctx: click.Context, _param: click.Parameter, value: T) -> T:
    """Get the value of an option or argument; an empty one, as of a variable that is not set, is not the same as none.

    For a `callback` of click. Raises `click.BadParameter`.
    """
    if value == "":
        raise click.BadParameter("it is empty.")
    return value


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:  # noqa: ANN401 - any option's value
    if not_empty(ctx, param, value) not in (None, (), False):
        options_of(ctx)[str(param.name)] = value


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


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Take a number of bytes, or of 1,024, 1,024² or 1,024³ of them: `500k`, `64M`, `1G`."""
    if value is None:
        return
    found = _SIZE.fullmatch(value)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"'{value}' is no size: write 500k, 64M or 1G.")
    _remember(ctx, param, int(found[1]) << 10 * " kmg".index(found[2].lower() or " "))


def common(function: F) -> F:
    """Add the options that every command takes, before or after its word."""
    for decorate in reversed((
        click.option("-c", "--config", metavar="PATH", expose_value=False, callback=_remember,
                     help=f"The deployment: a file, or a folder with default.nix.  [default: {DEFAULT_CONFIG}]"),
        click.option("-s", "--state", metavar="PATH", expose_value=False, callback=_remember,
                     help=f"The state file.  [default: {DEFAULT_STATE}]"),
        click.option("--state-dir", metavar="FOLDER", expose_value=False, callback=_remember,
                     help="Where journals, outputs, --once keys and roots lie; a team shares one that is setgid "
                          "(chmod 2770).  [default: .hive if there is one, else below $XDG_STATE_HOME]"),
        click.option("--no", metavar="STEP[,STEP]", multiple=True, expose_value=False, callback=_steps,
                     help="Leave steps out: build (take known results), realise (with build: instantiate only), "
                          "confirm (set the profile, then switch), checks."),
        click.option("--parallel", metavar="N", type=Whole(min=1), expose_value=False, callback=_remember,
                     help=f"How many hosts to work on at once.  [default: {_DEFAULTS.parallel}]"),
        click.option("--parallel-copies", "copies", metavar="N", type=Whole(min=1), expose_value=False,
                     callback=_remember,
                     help=f"How many copies may leave this machine at once.  [default: {_DEFAULTS.copies}]"),
        click.option("--per-jump", metavar="N", type=Whole(min=1), expose_value=False, callback=_remember,
                     help=f"How many hosts behind one jump host at once.  [default: {_DEFAULTS.per_jump}]"),
        click.option("--per-store", metavar="N", type=Whole(min=1), expose_value=False, callback=_remember,
                     help=f"How many hosts may read from one store at once.  [default: {_DEFAULTS.per_store}]"),
        click.option("--max-output", "output", metavar="SIZE", expose_value=False, callback=_size,
                     help="How much of what one host says to run is kept, such as 500k, 64M or 1G. Of more, the "
                          f"beginning and the end are kept, and a log has it.  [default: {_DEFAULTS.output >> 20}M]"),
        click.option("--max-log", "log", metavar="SIZE", expose_value=False, callback=_size,
                     help=f"How long the log of one host may become.  [default: {_DEFAULTS.log >> 20}M]"),
        click.option("--show-trace", is_flag=True, expose_value=False, callback=_remember,
                     help="Show the whole trace of an evaluation error."),
        click.option("--verbose", is_flag=True, expose_value=False, callback=_verbose,
                     help="Log on standard error what is done, and why it fails. A log in a file: NIXHIVE_LOG=FILE."),
        click.option("-o", "--out", metavar="NAME", expose_value=False, callback=_out,
                     help="Put the result into this variable (in a notebook), or a plan into this file."),
    )):  # fmt: skip
        function = decorate(function)
    return function


def _together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for one in reversed(decorators):
            function = one(function)
        return function

    return decorate


waves = _together(
    click.option("--canary", metavar="N", type=Whole(min=0),
                 help="N instances of each wave go first; if one fails, nothing follows."),
    click.option("--batch", metavar="N|P%", callback=not_empty, help="Activate a wave in batches of so many."),
    click.option("--max-failures", metavar="N|P%", callback=not_empty,
                 help="With more failed instances, activate nothing more."),
    click.option("--pause", metavar="SECONDS", type=_SECONDS, help="Wait between waves and batches."),
)  # fmt: skip
"""How the instances follow each other."""

wait = click.option(
    "--wait", metavar="SECONDS", type=_SECONDS,
    help="Wait so long for somebody else's activation or reboot; without it, refuse.",
)  # fmt: skip
"""Whether another operator on the same host is waited for."""

activation = _together(
    click.option("--confirm", metavar="SECONDS", type=Number(min=1),
                 help="A host that does not get our word over a new connection in this time goes back.  "
                      f"[default: {CONFIRM:g}]"),
    wait,
    click.option("--activation-timeout", metavar="SECONDS", type=Number(min=1),
                 help=f"How long one switch-to-configuration may take.  [default: {ACTIVATION_SECONDS:g}]"),
)  # fmt: skip
"""How one instance is activated."""

moving = click.option(
    "--stall-timeout", metavar="SECONDS", type=Number(min=1),
    help=f"Give a transfer up that moves no byte for so long.  [default: {STALL_SECONDS:g}]",
)  # fmt: skip
"""How content is moved."""

reboot_timeout = click.option(
    "--reboot-timeout", metavar="SECONDS", type=Number(min=1),
    help=f"How long a host may take to come back from a reboot.  [default: {REBOOT_SECONDS:g}]",
)  # fmt: skip

deploying = _together(
    click.option("-t", "--type", type=click.Choice(TYPES),
                 help="switch: now and at the next boot. boot: at the next boot. test: now only. dry-activate: only "
                      "say what would happen.  [default: switch]"),
    click.option("--force", is_flag=True, default=None, help="Activate also where the wanted system runs already."),
    waves,
    moving,
    activation,
    click.option("--reboot", is_flag=True, help="Reboot each instance afterwards."),
    click.option("--reboot-if-needed", is_flag=True,
                 help="Reboot those that run the new system only then, or have another kernel, initrd, modules or "
                 "kernel parameters."),
    reboot_timeout,
)  # fmt: skip
"""What a deploy takes."""

consent = _together(
    click.option("--yes", is_flag=True, expose_value=False, callback=_remember,
                 help="Do it also when nobody is there to see it, as in a script or a notebook that runs by itself."),
    click.option("--plan", "agreed", metavar="DIGEST", expose_value=False, callback=_remember,
                 help="Do it only if it is exactly this plan, which was looked at."),
)  # fmt: skip
"""What a command that changes hosts needs when no person is there."""

background = click.option(
    "--background", is_flag=True, expose_value=False, callback=_remember,
    help="In a notebook: give a handle at once (wait, cancel, report), while the run goes on.",
)  # fmt: skip

reason = click.option("--reason", metavar="TEXT", default="", help="Why: it is noted in the journal.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
patterns = click.argument("patterns", nargs=-1, metavar="[PATTERN]...", callback=_patterns)
