"""The grammar: each command once, for `%hive` in a notebook and for `nix-hive` in a terminal.

A command calls a method of `Hive` and gives a value back (one of the classes in `session`);
the face decides how to show it.
"""

from __future__ import annotations

import contextlib
import keyword
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
import msgspec

from nixhive_nb import lab as practice
from nixhive_nb import process
from nixhive_nb.errors import HiveError
from nixhive_nb.frames import lab_frame, plan_frame
from nixhive_nb.hive import PARALLEL, STEPS, TYPES
from nixhive_nb.plan.plan import Verb
from nixhive_nb.session import (
    DEFAULT_CONFIG,
    DEFAULT_STATE,
    Ended,
    Exited,
    Known,
    Listing,
    Message,
    Planned,
    Ran,
    Session,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from nixhive_nb.deployment.targets import Pattern
    from nixhive_nb.hive import Hive
    from nixhive_nb.plan.plan import Plan

VERBS: tuple[Verb, ...] = get_args(Verb)
_OPTIONS = "nixhive_nb.options"
# The flags of ssh that take a value, from its manual page: what follows them is not the host.
_SSH_VALUED = frozenset("BbcDEeFIiJLlmOopPQRSWw")


def options_of(ctx: click.Context) -> dict[str, Any]:
    """Give the options that may stand before or after the command word, those after it first."""
    found: dict[str, Any] = ctx.find_root().meta.setdefault(_OPTIONS, {})
    return found


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:  # noqa: ANN401 - any option's value
    if value not in (None, (), False):
        options_of(ctx)[str(param.name)] = value


def _steps(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> None:
    words = [word for group in value for word in group.split(",") if word]
    unknown = [word for word in words if word not in STEPS]
    if unknown:
        raise click.BadParameter(f"'{unknown[0]}' is not a step that can be left out: {', '.join(STEPS)}.")
    _remember(ctx, param, tuple(words))


def _variable(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value and (not value.isidentifier() or keyword.iskeyword(value)):
        raise click.BadParameter(f"'{value}' cannot be the name of a variable.")
    _remember(ctx, param, value)


def _common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every command takes, before or after its word."""
    for decorate in reversed((
        click.option("-c", "--config", metavar="PATH", expose_value=False, callback=_remember,
                     help=f"The deployment: a file, or a folder with default.nix.  [default: {DEFAULT_CONFIG}]"),
        click.option("-s", "--state", metavar="PATH", expose_value=False, callback=_remember,
                     help=f"The state file.  [default: {DEFAULT_STATE}]"),
        click.option("--no", metavar="STEP[,STEP]", multiple=True, expose_value=False, callback=_steps,
                     help="Leave steps out: build (take known results), realise (with build: instantiate only)."),
        click.option("--parallel", metavar="N", type=click.IntRange(min=1), expose_value=False, callback=_remember,
                     help=f"How many hosts to work on at once.  [default: {PARALLEL}]"),
        click.option("--show-trace", is_flag=True, expose_value=False, callback=_remember,
                     help="Show the whole trace of an evaluation error."),
        click.option("-o", "--out", metavar="NAME", expose_value=False, callback=_variable,
                     help="Put the result into this variable (in a notebook)."),
    )):  # fmt: skip
        function = decorate(function)
    return function


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_patterns = click.argument(
    "patterns", nargs=-1, metavar="[PATTERN]...", callback=lambda ctx, _, words: _session(ctx).patterns(words)
)
_HELP = {"help_option_names": ["-h", "--help"]}
_PLAIN_HELP: dict[str, Any] = {"help_option_names": ["--help"], "ignore_unknown_options": True}


@click.group(context_settings=_HELP)
@click.version_option(package_name="nixhive_nb", message="%(version)s")
@_common
def hive_group() -> None:
    """NixOS fleets: build a few systems once, move them through Nix stores, activate them over SSH.

    PATTERN is a name of an instance, of a system, or a tag, or a glob of one such as 'www-*'. Each pattern is a wave:
    "deploy portico '*'" deploys portico first, then all others.
    """


@hive_group.command()
@click.argument("path", required=False)
@_common
@click.pass_context
def load(ctx: click.Context, path: str | None) -> Message:
    """Evaluate the deployment anew.

    In a notebook it is kept for the commands that follow.
    """
    session = _session(ctx)
    options = options_of(ctx)
    if path:
        options["config"] = path
    hive = session.hive(options, anew=True)
    inventory = hive.inventory
    return Message(
        text=f"{hive.path}: {_count(len(inventory.systems), 'system')}, {_count(len(inventory.instances), 'instance')}"
    )


@hive_group.command()
@_patterns
@_json
@_common
@click.pass_context
def instances(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """List instances in the order of a deploy.

    Without a pattern: all of them.
    """
    frame = _hive(ctx).instances(*patterns)
    return Listing(frame=frame, records=_records(frame) if as_json else None)


@hive_group.command()
@_patterns
@_json
@_common
@click.pass_context
def systems(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """List systems with their last results.

    Patterns are for names of systems. Without one: all of them.
    """
    frame = _hive(ctx).systems(*patterns)
    return Listing(frame=frame, records=_records(frame) if as_json else None)


@hive_group.command()
@_patterns
@_common
@click.pass_context
def build(ctx: click.Context, patterns: list[Pattern]) -> Ended | Known:
    """Build systems.

    Without a pattern: all of them. A terminal prints the inventory as JSON.

    With --no build nothing is built: it lists what is known. With --no realise the systems are only instantiated.
    """
    hive, no = _hive(ctx), options_of(ctx).get("no", ())
    if "build" in no:
        return Known(frame=hive.systems(*patterns), document=hive.document(remembered=True))
    report = hive.execute(hive.plan("build", *patterns, no=no), follow=_session(ctx).follow)
    return Ended(report=report, document=hive.document(report, remembered=True))


@hive_group.command()
@_patterns
@_common
@click.pass_context
def push(ctx: click.Context, patterns: list[Pattern]) -> Ended:
    """Build, and bring systems to hosts.

    Each system goes to the stores and the instances that want it. Nothing is activated.
    """
    hive = _hive(ctx)
    return _carry_out(ctx, hive, hive.plan("push", *patterns, no=options_of(ctx).get("no", ())))


@hive_group.command()
@_patterns
@click.option("-t", "--type", "action", type=click.Choice(TYPES), default="switch", show_default=True,
              help="switch: now and at the next boot. boot: at the next boot. test: now only.")  # fmt: skip
@click.option("--force", is_flag=True, help="Activate also where the wanted system runs already.")
@_common
@click.pass_context
def deploy(ctx: click.Context, patterns: list[Pattern], action: str, *, force: bool) -> Ended:
    """Build, push and activate, wave by wave.

    Each pattern is a wave: "deploy portico '*'" is portico first, then all others. No pattern means all.
    """
    hive = _hive(ctx)
    plan = hive.plan("deploy", *patterns, type=action, force=force, no=options_of(ctx).get("no", ()))
    return _carry_out(ctx, hive, plan)


@hive_group.command(name="plan")
@click.argument("words", nargs=-1, metavar="[deploy|push|build] [PATTERN]...")
@click.option("-t", "--type", "action", type=click.Choice(TYPES), default="switch", help="As for deploy.")
@click.option("--force", is_flag=True, help="As for deploy.")
@_json
@_common
@click.pass_context
def plan_command(ctx: click.Context, words: tuple[str, ...], action: str, *, force: bool, as_json: bool) -> Planned:
    """Show what would be done, and do nothing.

    The verb is deploy, push or build; without one, deploy. No host is asked.
    """
    verb, rest = _verb(words)
    plan = _hive(ctx).plan(
        verb, *_session(ctx).patterns(rest), type=action, force=force, no=options_of(ctx).get("no", ())
    )
    return Planned(plan=plan, records=_records(plan_frame(plan)) if as_json else None)


class _RunCommand(click.Command):
    """`run`: what follows the pattern is the command's own, but for `%%hive run`, whose command is the cell."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_interspersed_args = _session(ctx).script is not None
        return super().parse_args(ctx, args)


@hive_group.command(cls=_RunCommand)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Give up after this.")
@_json
@click.argument("pattern")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_common
@click.pass_context
def run(ctx: click.Context, pattern: str, command: tuple[str, ...], timeout: float | None, *, as_json: bool) -> Ran:
    """Run a command on hosts, side by side.

    One that fails does not stop the others.

    The words are joined with blanks and given to the host's shell, as `ssh` does. In a notebook, `%%hive run PATTERN`
    runs the cell's body as a shell script.
    """
    session = _session(ctx)
    if session.script is not None and command:
        raise click.UsageError(f"%%hive run takes the command from the cell: what is '{command[0]}' for?")
    if session.script is None and not command:
        raise click.UsageError(f"run needs a command: {session.program} run {pattern} uptime")
    hive = _hive(ctx)
    (targets,) = session.patterns([pattern])
    if not as_json:
        session.on_hosts(hive.targets(targets).instances)
    frame = hive.run(
        targets,
        " ".join(command),
        script=session.script or "",
        timeout=timeout,
        on_result=None if as_json else session.on_result,
    )
    return Ran(frame=frame, records=_records(frame) if as_json else None)


@hive_group.command(context_settings={**_PLAIN_HELP, "allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[SSH-FLAGS] HOST [COMMAND]...")
@click.pass_context
def ssh(ctx: click.Context, words: tuple[str, ...]) -> Exited | Message:
    """Run ssh with the deployment's hosts.

    All flags after the word are ssh's.
    """
    return _openssh(ctx, "ssh", words, complete=_has_command(words))


@hive_group.command(context_settings={**_PLAIN_HELP, "allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[SCP-FLAGS] SOURCE... TARGET")
@click.pass_context
def scp(ctx: click.Context, words: tuple[str, ...]) -> Exited | Message:
    """Run scp with the deployment's hosts.

    All flags after the word are scp's.
    """
    return _openssh(ctx, "scp", _session(ctx).flat(words), complete=True)


@hive_group.command(name="ssh-config")
@_common
@click.pass_context
def ssh_config(ctx: click.Context) -> Message:
    """Print the generated ssh configuration.

    It extends your own.
    """
    return Message(text=_hive(ctx).ssh_config().rstrip("\n"))


@hive_group.command(name="help")
@click.argument("command", required=False)
@click.pass_context
def help_command(ctx: click.Context, command: str | None) -> Message:
    """Show the help of all, or of a command."""
    root = ctx.find_root()
    if not command:
        return Message(text=root.get_help())
    found = hive_group.get_command(root, command)
    if found is None:
        raise click.UsageError(f"No such command '{command}'.")
    with click.Context(found, info_name=command, parent=root) as inner:
        return Message(text=inner.get_help())


@hive_group.group(context_settings=_HELP)
def lab() -> None:
    """Run a practice fleet on this machine.

    Its hosts are real: sshd and a Nix store each, in namespaces. It needs root.
    """


@lab.command()
@click.option("-n", "web", type=click.IntRange(min=0), default=3, show_default=True, help="How many web servers.")
@_common
@click.pass_context
def up(ctx: click.Context, web: int) -> Message:
    """Bring the practice fleet up.

    It is for the deployment of -c (without it: example), whose folder gets a lab.nix that leads to the fleet.
    """
    session = _session(ctx)
    deployment = options_of(ctx).get("config") or session.config or "example"
    with _lab_errors():
        fleet = _fleet()
        if fleet is not None and _serves(fleet, web, Path(deployment)):
            return Message(text=f"The practice fleet is up already: {_count(len(fleet.instances), 'host')}.")
        fleet = practice.Lab.up(web=web, deployment=deployment, keep=True, on_progress=session.tell)
    return Message(text=f"The practice fleet is up: {_count(len(fleet.instances), 'host')}. It stays until `lab down`.")


@lab.command()
@_json
@_common
def status(*, as_json: bool) -> Listing:
    """List its hosts as they are now."""
    with _lab_errors():
        hosts = practice.Lab.open().status()
    frame = lab_frame([msgspec.structs.asdict(host) for host in hosts])
    return Listing(frame=frame, records=_records(frame) if as_json else None)


@lab.command()
def down() -> Message:
    """Take the practice fleet down.

    It also cleans up after one that broke.
    """
    with _lab_errors():
        fleet = _fleet()
        if fleet is None:
            return Message(text="There is no practice fleet.")
        fleet.down()
    return Message(text="The practice fleet is down.")


def _fleet() -> practice.Lab | None:
    with contextlib.suppress(practice.LabError):
        return practice.Lab.open()
    return None


def _serves(fleet: practice.Lab, web: int, deployment: Path) -> bool:
    """Tell whether a fleet is up, has as many web servers as wanted, and its addresses stand in the deployment."""
    names = [name for name in fleet.instances if name.startswith("www-")]
    return len(names) == web and (deployment / "lab.nix").is_file() and all(host.running for host in fleet.status())


@contextlib.contextmanager
def _lab_errors() -> Iterator[None]:
    try:
        yield
    except practice.LabError as error:
        raise HiveError(str(error)) from None


def _verb(words: tuple[str, ...]) -> tuple[Verb, tuple[str, ...]]:
    """Give the verb that a plan is for, deploy without one, and the words after it."""
    verb = next((verb for verb in VERBS if words[:1] == (verb,)), None)
    return ("deploy", words) if verb is None else (verb, words[1:])


def _session(ctx: click.Context) -> Session:
    session = ctx.find_root().obj
    if not isinstance(session, Session):
        raise TypeError("the grammar is called with a Session as its obj")
    return session


def _hive(ctx: click.Context) -> Hive:
    return _session(ctx).hive(options_of(ctx))


def _carry_out(ctx: click.Context, hive: Hive, plan: Plan) -> Ended:
    session = _session(ctx)
    for warning in plan.warnings:
        session.warn(warning)
    return Ended(report=hive.execute(plan, follow=session.follow))


def _openssh(ctx: click.Context, program: str, words: Sequence[str], *, complete: bool) -> Exited | Message:
    session = _session(ctx)
    hive = _hive(ctx)
    if session.has_terminal:
        return Exited(status=process.run_attached(hive.ssh_argv(program, words)))
    if not complete:
        return Message(text=f"In a terminal: nix-hive -c {hive.path} {program} {' '.join(words)}")
    ended = process.run(hive.ssh_argv(program, words, batch=True))
    return Exited(status=ended.status, stdout=ended.stdout, stderr=ended.stderr)


def ssh_flag_takes_value(flag: str) -> bool:
    """Tell whether the word after a flag of ssh is its value."""
    return flag[-1] in _SSH_VALUED


def _has_command(words: Sequence[str]) -> bool:
    """Tell whether the words of an ssh command hold more than flags and a host."""
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        flag = rest.pop(0)
        if ssh_flag_takes_value(flag) and rest:
            rest.pop(0)
    with contextlib.suppress(ValueError):
        rest.remove("--")
    return len(rest) > 1


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Give a frame as JSON objects in its order, the index as a field of its own, None for what is missing."""
    plain = frame.reset_index().astype(object)
    rows = plain.where(plain.notna(), None).to_dict("records")
    return [{str(name): list(cell) if isinstance(cell, tuple) else cell for name, cell in row.items()} for row in rows]
