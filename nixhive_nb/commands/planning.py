"""`plan` and `apply`: what would be done, and doing exactly that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nixhive_nb.commands.changing import carry_out, tell_who_carries
from nixhive_nb.commands.consent import ask_leave, check_agreed
from nixhive_nb.commands.options import (
    Value,
    background,
    common,
    consent,
    form_of,
    forms,
    hive_of,
    how_of,
    how_options,
    json_also,
    must_name,
    not_empty,
    options_of,
    password,
    reason,
    session_of,
)
from nixhive_nb.commands.plan_file import read_plan, write_plan
from nixhive_nb.commands.session import Begun, Ended, Planned, place_of
from nixhive_nb.errors import TargetError
from nixhive_nb.plan.option_kinds import WholeNumber
from nixhive_nb.plan.plan import PLANNED
from nixhive_nb.util.suggest import near

if TYPE_CHECKING:
    from nixhive_nb.plan.plan import Verb


@click.command(name="plan")
@click.argument("words", nargs=-1, metavar="[deploy|push|build|rollback|reboot] [PATTERN]...")
@click.option("--to", metavar="GENERATION", type=Value(WholeNumber(1)),
              help="For a rollback: where to go.  [at least 1]")  # fmt: skip
@how_options("deploy", "push", "rollback", "reboot")
@password
@forms
@common
@click.pass_context
def plan_command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    to: int | None,
    **how: Any,  # noqa: ANN401 - click's values
) -> Planned:
    """Show what would be done, without doing it.

    The verb is deploy, push, build, rollback or reboot; without one, deploy. Hosts are asked, and nothing is changed.
    `apply` carries exactly this plan out; in a terminal, --out FILE keeps it for that.
    """
    session, form = session_of(ctx), form_of(ctx)
    verb, rest = _verb(words)
    if verb in ("rollback", "reboot"):
        must_name(rest)
    if how["if_needed"] and verb != "reboot":
        raise click.UsageError(f"--if-needed is for reboot: for {verb} it is --reboot-if-needed.")
    hive = hive_of(ctx)
    try:
        plan = hive.plan(
            verb, *session.patterns(rest), to=to or 0, measure=True, follow=session.follow, **how_of(ctx, how, verb)
        )
    except TargetError as error:
        raise TargetError(f"{error}{_meant(words, str(error))}", log=error.log) from error
    tell_who_carries(session, hive, plan)
    session.plan = plan
    out = options_of(ctx).get("out")
    if out and session.has_terminal:
        write_plan(plan, place_of(out))
    return Planned(plan=plan, form=form)


@click.command()
@click.argument("file", required=False, callback=not_empty)
@click.option("--force", is_flag=True, help="Apply it even if the deployment, a system or a host has changed since.")
@consent
@password
@background
@json_also
@reason
@common
@click.pass_context
def apply(ctx: click.Context, file: str | None, reason: str, *, force: bool) -> Ended | Begun:
    """Apply a plan that was shown.

    In a notebook that is the last one; FILE is one that `plan --out` wrote. When what the plan was made from has
    changed since, it says what, and does nothing.
    """
    session = session_of(ctx)
    plan = read_plan(place_of(file)) if file else session.plan
    if plan is None:
        where = f"a FILE of `{session.program} plan --out FILE`" if session.has_terminal else "a plan: %hive plan"
        raise click.UsageError(f"apply needs {where}.")
    ask_leave(ctx, plan)
    check_agreed(ctx, plan)
    if file and not options_of(ctx).get("config"):
        options_of(ctx).update(config=plan.deployment, state=plan.state)
        options_of(ctx).setdefault("state_dir", plan.state_dir)
    hive = hive_of(ctx)
    hive.check_fits(plan, force=force, follow=session.follow)
    return carry_out(ctx, hive, plan, reason, force=force)


def _verb(words: tuple[str, ...]) -> tuple[Verb, tuple[str, ...]]:
    """Return the verb that a plan is for, deploy without one, and the words after it."""
    verb = next((verb for verb in PLANNED if words[:1] == (verb,)), None)
    return ("deploy", words) if verb is None else (verb, words[1:])


def _meant(words: tuple[str, ...], error: str) -> str:
    """Return a hint where a mistyped verb was taken for a pattern, and that is what matched nothing."""
    alike = near(words[0], PLANNED) if words and error.startswith(f"'{words[0]}' ") else []
    return f" Or is the verb {' or '.join(alike)} meant?" if alike else ""
