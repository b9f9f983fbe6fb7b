"""The commands that build and change: each plans, asks for leave, and carries the plan out."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import click

from nixhive_nb.commands.consent import ask_leave, check_agreed
from nixhive_nb.commands.forms import document_of, nothing_done
from nixhive_nb.commands.options import (
    Value,
    background,
    common,
    consent,
    hive_of,
    how_of,
    how_options,
    json_also,
    left_out,
    must_name,
    not_empty,
    options_of,
    password,
    patterns,
    reason,
    session_of,
)
from nixhive_nb.commands.session import Already, Begun, Ended, Known, Message, records_of
from nixhive_nb.errors import OptionError
from nixhive_nb.plan.option_kinds import WholeNumber
from nixhive_nb.plan.options import OPTIONS
from nixhive_nb.util.interrupts import interrupts_held
from nixhive_nb.util.text import count_text
from nixhive_nb.view.plan import few_warnings
from nixhive_nb.view.tables import systems_table

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from nixhive_nb.commands.session import Session
    from nixhive_nb.deployment.targets import Pattern
    from nixhive_nb.hive import Hive
    from nixhive_nb.plan.options import How, Option
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.run.carry import Note
    from nixhive_nb.run.once import Claim, Done

_log = logging.getLogger(__name__)

_LAST = "last"
"""What `--resume` stands for without a value; no id of a run ends so."""


@click.command()
@patterns
@reason
@common
@click.pass_context
def build(ctx: click.Context, patterns: list[Pattern], reason: str) -> Ended | Known:
    """Build systems.

    Without a pattern: all of them. A terminal prints the inventory as JSON.

    With --no build nothing is built: it lists what is known. With --no realise the systems are only instantiated.
    """
    hive, no = hive_of(ctx), left_out(ctx)
    if "build" in no:
        frame = hive.systems(*patterns)
        return Known(frame=frame, table=systems_table(records_of(frame)), document=hive.document(remembered=True))
    session = session_of(ctx)
    with hive.building_ahead():
        plan = hive.plan("build", *patterns, follow=session.follow, no=no)
        report = hive.execute(plan, follow=session.follow, note=session.note(reason))
    return Ended(report=report, document=hive.document(report, remembered=True))


@click.command()
@patterns
@how_options("push")
@consent
@background
@json_also
@reason
@common
@click.pass_context
def push(ctx: click.Context, /, patterns: list[Pattern], reason: str, **how: Any) -> Ended | Begun:  # noqa: ANN401 - click's values
    """Build systems and copy them to hosts.

    Each system goes to the stores and the instances that want it. Nothing is activated.
    """
    ask_leave(ctx)
    hive = hive_of(ctx)
    with _ahead(ctx, hive):
        plan = hive.plan("push", *patterns, follow=session_of(ctx).follow, **how_of(ctx, how, "push"))
        return carry_out(ctx, hive, plan, reason)


@click.command()
@patterns
@how_options("deploy")
@click.option("--resume", metavar="[RUN]", is_flag=False, flag_value=_LAST, default=None, callback=not_empty,
              help="Do the last deploy or push again (or that of an id), without the hosts that are done.")  # fmt: skip
@click.option("--once", metavar="KEY", callback=not_empty,
              help="Skip it if a deploy (other than dry-activate) with this KEY has succeeded before.")  # fmt: skip
@consent
@password
@background
@json_also
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

    A host runs the new system on trial until it is confirmed over a new connection and its checks hold; else it
    rolls back to what it ran. With --no confirm there is no trial.
    """
    ask_leave(ctx)
    if resume is not None:
        _check_resumed(ctx, patterns, how)
    hive = hive_of(ctx)
    with contextlib.closing(hive.claim(once)) if once else contextlib.nullcontext() as claim, _ahead(ctx, hive):
        if claim is not None and claim.done is not None:
            return _already(ctx, hive, str(once), claim.done)
        plan = _deploy_plan(ctx, hive, patterns, resume, how_of(ctx, how, "deploy"))
        if resume is not None and not plan.targets:
            return Message(
                text=f"Nothing is left to do: {count_text(len(plan.left_out), 'instance')} as wanted.",
                document=nothing_done(plan) if options_of(ctx).get("as_json") else None,
            )
        return carry_out(ctx, hive, plan, reason, claim)


@click.command()
@patterns
@click.option("--to", metavar="GENERATION", type=Value(WholeNumber(1)),
              help="The generation to go to.  [default: the one before; at least 1]")  # fmt: skip
@how_options("rollback")
@consent
@password
@background
@json_also
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
    """Roll back to an earlier generation.

    It is activated as a deploy activates: on trial, with the checks, wave by wave.
    """
    named = must_name(patterns)
    ask_leave(ctx)
    hive, follow = hive_of(ctx), session_of(ctx).follow
    plan = hive.plan("rollback", *named, to=to or 0, follow=follow, **how_of(ctx, how, "rollback"))
    return carry_out(ctx, hive, plan, reason)


@click.command()
@patterns
@how_options("reboot")
@consent
@password
@background
@json_also
@reason
@common
@click.pass_context
def reboot(ctx: click.Context, /, patterns: list[Pattern], reason: str, **how: Any) -> Ended | Begun:  # noqa: ANN401 - click's values
    """Reboot hosts, wave by wave.

    Each must come back with another boot id and run the system that it boots, and its checks must hold then.
    """
    named = must_name(patterns)
    ask_leave(ctx)
    hive, follow = hive_of(ctx), session_of(ctx).follow
    plan = hive.plan("reboot", *named, follow=follow, **how_of(ctx, how, "reboot"))
    return carry_out(ctx, hive, plan, reason)


def _ahead(ctx: click.Context, hive: Hive) -> contextlib.AbstractContextManager[None]:
    """Have builds begin while the plan is made, unless it has to be the one that was agreed to."""
    return contextlib.nullcontext() if options_of(ctx).get("agreed") else hive.building_ahead()


def _check_resumed(ctx: click.Context, patterns: list[Pattern], how: Mapping[str, object]) -> None:
    """Raise `click.UsageError` for what a resumed run takes from the run that it resumes, and so would not heed."""
    if patterns:
        raise click.UsageError("--resume takes its patterns from the run: leave them out.")
    given = {name for name, value in how.items() if value is not None and value is not False} - {"refuse"}
    words = [word for one in OPTIONS for word in _words_given(one, given)]
    words += ["--no"] if left_out(ctx) else []
    if words:
        raise click.UsageError(f"--resume takes its options from the run: leave out {', '.join(words)}.")


def _words_given(one: Option, given: Collection[str]) -> list[str]:
    return [flag.word for flag in one.flags if flag.name in given] or ([one.long] if one.name in given else [])


def _deploy_plan(ctx: click.Context, hive: Hive, patterns: list[Pattern], resume: str | None, how: How) -> Plan:
    follow = session_of(ctx).follow
    if resume is not None:
        return hive.resume("" if resume == _LAST else resume, refuse=how.get("refuse", ()), follow=follow)
    return hive.plan("deploy", *patterns, follow=follow, **how)


def _already(ctx: click.Context, hive: Hive, key: str, done: Done) -> Already:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(done.ended))
    text = f"Nothing was done: --once {key} was done by run {done.run} on {when} ({' '.join(done.words)})."
    try:
        report = hive.report(done.run)
    except OptionError:  # journals are not kept for ever
        _log.debug("no report of run %s", done.run, exc_info=True)
        report = None
    known = document_of(report) if report is not None else {"run": done.run, "verb": "deploy", "ok": True}
    return Already(text=text, report=report, document=known if options_of(ctx).get("as_json") else None)


def carry_out(
    ctx: click.Context, hive: Hive, plan: Plan, reason: str, claim: Claim | None = None, *, force: bool = False
) -> Ended | Begun:
    """Carry out a plan that there is leave for, in the background where that is asked for. `force` as in `Hive`."""
    session = session_of(ctx)
    check_agreed(ctx, plan)
    tell_who_carries(session, hive, plan)
    shown, more = few_warnings(plan)
    for warning in (*shown, *more):
        session.warn(warning)
    note = session.note(reason)
    if options_of(ctx).get("background"):
        return _begin(session, hive, plan, note, claim, force=force)
    report = hive.execute(plan, follow=session.follow, note=note, claim=claim, force=force)
    return Ended(report=report, document=document_of(report) if options_of(ctx).get("as_json") else None)


def tell_who_carries(session: Session, hive: Hive, plan: Plan) -> None:
    """Tell which workers carry which part of a plan, where some do."""
    for one in hive.placed(plan):
        session.tell(one.text)


def _begin(session: Session, hive: Hive, plan: Plan, note: Note, claim: Claim | None, *, force: bool) -> Begun:
    if session.follow_background is None:
        raise click.UsageError("--background is for notebooks; in a shell, use `nohup … &`.")

    with interrupts_held():  # nobody else could cancel it
        run = hive.begin(plan, follow=session.follow_background, note=note, claim=claim, force=force)
        session.background.append(run)
    return Begun(run=run)
