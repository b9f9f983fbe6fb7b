"""The grammar: each command once, for `%hive` in a notebook and for `nix-hive` in a terminal.

A command calls a method of `Hive` and gives a value back (one of the classes in `session`);
the face decides how to show it. Its options stand in `options`.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nixhive_nb import process
from nixhive_nb.consent import ask_leave, check_agreed
from nixhive_nb.errors import OptionError
from nixhive_nb.frames import plan_frame, status_frame
from nixhive_nb.lab_commands import lab_group
from nixhive_nb.options import (
    activation,
    as_json,
    background,
    common,
    consent,
    deploying,
    how_of,
    left_out,
    options_of,
    patterns,
    reason,
    reboot_timeout,
    session_of,
    waves,
)
from nixhive_nb.plan_file import read_plan, write_plan
from nixhive_nb.run_command import run
from nixhive_nb.session import (
    Already,
    Begun,
    Choosing,
    Ended,
    Exited,
    Known,
    Listing,
    Message,
    Planned,
    Surveyed,
    Told,
    records_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from nixhive_nb.deployment.targets import Pattern
    from nixhive_nb.hive import Hive, Plan
    from nixhive_nb.once import Claim, Done
    from nixhive_nb.plan.how import How
    from nixhive_nb.plan.plan import Verb
    from nixhive_nb.running import Note
    from nixhive_nb.session import Session

T = TypeVar("T")
PLANNED: tuple[Verb, ...] = ("deploy", "push", "build", "rollback", "reboot")
"""What can be planned."""
# The flags of ssh that take a value, from its manual page: what follows them is not the host.
_SSH_VALUED = frozenset("BbcDEeFIiJLlmOopPQRSWw")
_HELP = {"help_option_names": ["-h", "--help"]}
_PLAIN_HELP: dict[str, Any] = {"help_option_names": ["--help"], "ignore_unknown_options": True}


@click.group(context_settings=_HELP)
@click.version_option(package_name="nixhive_nb", message="%(version)s")
@common
def hive_group() -> None:
    """NixOS fleets: build a few systems once, move them through Nix stores, activate them over SSH.

    PATTERN is a name of an instance, of a system, or a tag, or a glob of one such as 'www-*'. Each pattern is a wave:
    "deploy portico '*'" deploys portico first, then all others. '@(web and not www-2)' is an expression; @failed,
    @unreachable and @outdated are groups.
    """


hive_group.add_command(lab_group)


@hive_group.command()
@click.argument("path", required=False)
@common
@click.pass_context
def load(ctx: click.Context, path: str | None) -> Message:
    """Evaluate the deployment anew.

    In a notebook it is kept for the commands that follow.
    """
    session = session_of(ctx)
    options = options_of(ctx)
    if path:
        options["config"] = path
    hive = session.hive(options, anew=True)
    inventory = hive.inventory
    return Message(
        text=f"{hive.path}: {_count(len(inventory.systems), 'system')}, {_count(len(inventory.instances), 'instance')}"
    )


@hive_group.command()
@patterns
@as_json
@common
@click.pass_context
def instances(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """List instances in the order of a deploy.

    Without a pattern: all of them.
    """
    return _listing(_hive(ctx).instances(*patterns), as_json=as_json)


@hive_group.command()
@patterns
@as_json
@common
@click.pass_context
def targets(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Choosing:
    """Choose instances.

    A notebook shows a picker: what is chosen in it is `@picked`, as in "deploy @picked". A terminal lists what there
    is. Without a pattern: all instances.
    """
    hive = _hive(ctx)
    frame = hive.instances(*patterns)
    return Choosing(frame=frame, standings=hive.standings, records=records_of(frame) if as_json else None)


@hive_group.command()
@patterns
@as_json
@common
@click.pass_context
def systems(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """List systems with their last results.

    Patterns are for names of systems. Without one: all of them.
    """
    return _listing(_hive(ctx).systems(*patterns), as_json=as_json)


@hive_group.command()
@patterns
@as_json
@common
@click.pass_context
def status(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Surveyed:
    """Ask hosts what they run.

    It says how each stands to what is wanted of it. Nothing is changed. With --no build the last results count as
    what is wanted, and nothing is evaluated.
    """
    survey = _hive(ctx).survey(*patterns, no=left_out(ctx), follow=session_of(ctx).follow)
    return Surveyed(survey=survey, records=records_of(status_frame(survey)) if as_json else None)


@hive_group.command()
@patterns
@as_json
@common
@click.pass_context
def generations(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """List the generations of hosts.

    Those are what a rollback can go back to.
    """
    return _listing(_hive(ctx).generations(*patterns), as_json=as_json)


@hive_group.command()
@patterns
@as_json
@common
@click.pass_context
def check(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """Run the checks of hosts now.

    They stand in the deployment, in `checks` of systems and instances.
    """
    frame = _hive(ctx).check(*patterns, follow=session_of(ctx).follow)
    return Listing(
        frame=frame, records=records_of(frame) if as_json else None, ok=bool(frame["ok"].fillna(value=False).all())
    )


@hive_group.command()
@patterns
@as_json
@common
@click.pass_context
def diff(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """Show what changes in packages.

    The systems are built, and compared with what each host runs.
    """
    return _listing(_hive(ctx).diff(*patterns, no=left_out(ctx), follow=session_of(ctx).follow), as_json=as_json)


@hive_group.command(name="history")
@click.argument("run_id", metavar="[RUN]", default="")
@as_json
@common
@click.pass_context
def history_command(ctx: click.Context, run_id: str, *, as_json: bool) -> Listing:
    """List earlier runs, or what one did.

    RUN is its id, or the end of it.
    """
    return _listing(_hive(ctx).history(run_id), as_json=as_json)


@hive_group.command(name="report")
@click.argument("run_id", metavar="[RUN]", default="")
@common
@click.pass_context
def report_command(ctx: click.Context, run_id: str) -> Told:
    """Show the record of an earlier run.

    RUN is its id, or the end of it; without one, the last run. In a notebook its value has timeline() and timings().
    """
    return Told(report=_hive(ctx).report(run_id))


@hive_group.command()
@as_json
@common
@click.pass_context
def runs(ctx: click.Context, *, as_json: bool) -> Listing:
    """List the runs that go on.

    Those of this folder, and those that this notebook began in the background.
    """
    known = [run.run for run in session_of(ctx).background]
    frame = _hive(ctx).history()
    return _listing(frame[(frame["state"] == "running") | frame.index.isin(known)], as_json=as_json)


@hive_group.command()
@patterns
@reason
@common
@click.pass_context
def build(ctx: click.Context, patterns: list[Pattern], reason: str) -> Ended | Known:
    """Build systems.

    Without a pattern: all of them. A terminal prints the inventory as JSON.

    With --no build nothing is built: it lists what is known. With --no realise the systems are only instantiated.
    """
    hive, no = _hive(ctx), left_out(ctx)
    if "build" in no:
        return Known(frame=hive.systems(*patterns), document=hive.document(remembered=True))
    session = session_of(ctx)
    plan = hive.plan("build", *patterns, follow=session.follow, no=no)
    report = hive.execute(plan, follow=session.follow, note=session.note(reason))
    return Ended(report=report, document=hive.document(report, remembered=True))


@hive_group.command()
@patterns
@consent
@background
@reason
@common
@click.pass_context
def push(ctx: click.Context, patterns: list[Pattern], reason: str) -> Ended | Begun:
    """Build, and bring systems to hosts.

    Each system goes to the stores and the instances that want it. Nothing is activated.
    """
    ask_leave(ctx)
    hive = _hive(ctx)
    plan = hive.plan("push", *patterns, follow=session_of(ctx).follow, **how_of(ctx, {}))
    return _carry_out(ctx, hive, plan, reason)


@hive_group.command()
@patterns
@deploying
@click.option("--resume", metavar="[RUN]", is_flag=False, flag_value="", default=None,
              help="Plan the last run (or that of an id) anew, without what hosts say is done.")  # fmt: skip
@click.option("--once", metavar="KEY", help="Do it, and nothing when a deploy with this KEY went well already.")
@consent
@background
@reason
@common
@click.pass_context
def deploy(
    ctx: click.Context,
    /,
    patterns: list[Pattern],
    resume: str | None,
    once: str | None,
    reason: str,
    **how: Any,  # noqa: ANN401 - click's values
) -> Ended | Begun | Already | Message:
    """Build, push and activate, wave by wave.

    Each pattern is a wave: "deploy portico '*'" is portico first, then all others. No pattern means all.

    A host runs the new system on trial until it gets our word over a new connection and its checks hold; else it goes
    back to what it ran. With --no confirm there is no trial.
    """
    ask_leave(ctx)
    if resume is not None and patterns:
        raise click.UsageError("--resume takes its patterns from the run: leave them out.")
    hive = _hive(ctx)
    claim = hive.claim(once) if once else None
    if claim is not None and claim.done is not None:
        with contextlib.closing(claim):
            return _already(hive, str(once), claim.done)
    with contextlib.ExitStack() as stack:
        if claim is not None:
            stack.callback(claim.close)
        plan = _deploy_plan(ctx, hive, patterns, resume, how_of(ctx, how))
        if resume is not None and not plan.targets:
            return Message(text=f"Nothing is left to do: {_count(len(plan.left_out), 'instance')} as wanted.")
        ended = _carry_out(ctx, hive, plan, reason, claim)
        if isinstance(ended, Begun):
            stack.pop_all()  # it is let go of when the run has ended
        return ended


def _deploy_plan(ctx: click.Context, hive: Hive, patterns: list[Pattern], resume: str | None, how: How) -> Plan:
    follow = session_of(ctx).follow
    if resume is not None:
        return hive.resume(resume, follow=follow)
    return hive.plan("deploy", *patterns, follow=follow, **how)


def _already(hive: Hive, key: str, done: Done) -> Already:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(done.ended))
    text = f"Nothing was done: --once {key} was done by run {done.run} on {when} ({' '.join(done.words)})."
    try:
        return Already(text=text, report=hive.report(done.run))
    except OptionError:  # journals are not kept for ever
        return Already(text=text, report=None)


@hive_group.command()
@patterns
@click.option("--to", metavar="GENERATION", type=click.IntRange(min=1),
              help="The generation to go to.  [default: the one before]")  # fmt: skip
@waves
@activation
@consent
@background
@reason
@common
@click.pass_context
def rollback(
    ctx: click.Context,
    /,
    patterns: list[Pattern],
    to: int | None,
    reason: str,
    **how: Any,  # noqa: ANN401 - click's values
) -> Ended | Begun:
    """Go back to an earlier generation.

    It is activated as a deploy activates: on trial, with the checks, wave by wave.
    """
    named = _named(patterns)
    ask_leave(ctx)
    hive, follow = _hive(ctx), session_of(ctx).follow
    plan = hive.plan("rollback", *named, to=to or 0, follow=follow, **how_of(ctx, how))
    return _carry_out(ctx, hive, plan, reason)


@hive_group.command()
@patterns
@click.option("--if-needed", "reboot_if_needed", is_flag=True,
              help="Only those whose kernel, initrd or modules are not those that were booted.")  # fmt: skip
@waves
@reboot_timeout
@consent
@background
@reason
@common
@click.pass_context
def reboot(ctx: click.Context, /, patterns: list[Pattern], reason: str, **how: Any) -> Ended | Begun:  # noqa: ANN401 - click's values
    """Reboot hosts, wave by wave.

    Each must come back with another boot id, and run the system that it boots.
    """
    named = _named(patterns)
    ask_leave(ctx)
    hive, follow = _hive(ctx), session_of(ctx).follow
    how["reboot"] = not how["reboot_if_needed"]
    plan = hive.plan("reboot", *named, follow=follow, **how_of(ctx, how))
    return _carry_out(ctx, hive, plan, reason)


@hive_group.command(name="plan")
@click.argument("words", nargs=-1, metavar="[deploy|push|build|rollback|reboot] [PATTERN]...")
@click.option("--to", metavar="GENERATION", type=click.IntRange(min=1), help="For a rollback: where to go.")
@deploying
@as_json
@common
@click.pass_context
def plan_command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    to: int | None,
    *,
    as_json: bool,
    **how: Any,  # noqa: ANN401 - click's values
) -> Planned:
    """Show what would be done, and do nothing.

    The verb is deploy, push, build, rollback or reboot; without one, deploy. Hosts are asked, and nothing is changed.
    `apply` carries exactly this plan out; in a terminal, --out FILE keeps it for that.
    """
    session = session_of(ctx)
    verb, rest = _verb(words)
    if verb in ("rollback", "reboot"):
        _named(rest)
    if verb == "reboot" and not how["reboot_if_needed"]:
        how["reboot"] = True
    plan = _hive(ctx).plan(
        verb, *session.patterns(rest), to=to or 0, measure=True, follow=session.follow, **how_of(ctx, how)
    )
    session.plan = plan
    out = options_of(ctx).get("out")
    if out and session.has_terminal:
        write_plan(plan, Path(out))
    return Planned(plan=plan, records=records_of(plan_frame(plan)) if as_json else None)


@hive_group.command()
@click.argument("file", required=False)
@click.option("--force", is_flag=True, help="Also when the deployment, a derivation or a host has changed since.")
@consent
@background
@reason
@common
@click.pass_context
def apply(ctx: click.Context, file: str | None, reason: str, *, force: bool) -> Ended | Begun:
    """Carry out a plan that was shown.

    In a notebook that is the last one; FILE is one that `plan --out` wrote. When what the plan was made from has
    changed since, it says what, and does nothing.
    """
    session = session_of(ctx)
    plan = read_plan(Path(file)) if file else session.plan
    if plan is None:
        where = f"a FILE of `{session.program} plan --out FILE`" if session.has_terminal else "a plan: %hive plan"
        raise click.UsageError(f"apply needs {where}.")
    ask_leave(ctx)
    check_agreed(ctx, plan)
    if file and not options_of(ctx).get("config"):
        options_of(ctx).update(config=plan.deployment, state=plan.state)
    hive = _hive(ctx)
    hive.check_fits(plan, force=force, follow=session.follow)
    return _carry_out(ctx, hive, plan, reason)


hive_group.add_command(run)


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
    return _openssh(ctx, "scp", session_of(ctx).flat(words), complete=True)


@hive_group.command(name="ssh-config")
@common
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


def _verb(words: tuple[str, ...]) -> tuple[Verb, tuple[str, ...]]:
    """Give the verb that a plan is for, deploy without one, and the words after it."""
    verb = next((verb for verb in PLANNED if words[:1] == (verb,)), None)
    return ("deploy", words) if verb is None else (verb, words[1:])


def _named(patterns: Sequence[T]) -> Sequence[T]:
    """Give the patterns of a command that does not take their absence for all instances."""
    if not patterns:
        raise click.UsageError("Say which instances: a PATTERN, or '*' for all.")
    return patterns


def _listing(frame: pd.DataFrame, *, as_json: bool) -> Listing:
    return Listing(frame=frame, records=records_of(frame) if as_json else None)


def _hive(ctx: click.Context) -> Hive:
    return session_of(ctx).hive(options_of(ctx))


def _carry_out(ctx: click.Context, hive: Hive, plan: Plan, reason: str, claim: Claim | None = None) -> Ended | Begun:
    session = session_of(ctx)
    check_agreed(ctx, plan)
    for warning in plan.warnings:
        session.warn(warning)
    note = session.note(reason)
    if options_of(ctx).get("background"):
        return _begin(session, hive, plan, note, claim)
    return Ended(report=hive.execute(plan, follow=session.follow, note=note, claim=claim))


def _begin(session: Session, hive: Hive, plan: Plan, note: Note, claim: Claim | None) -> Begun:
    if session.follow_background is None:
        raise click.UsageError("--background goes with a notebook: here, the shell has a way of its own (nohup … &).")

    run = hive.begin(plan, follow=session.follow_background, note=note, claim=claim)
    session.background.append(run)
    return Begun(run=run)


def _openssh(ctx: click.Context, program: str, words: Sequence[str], *, complete: bool) -> Exited | Message:
    session = session_of(ctx)
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
