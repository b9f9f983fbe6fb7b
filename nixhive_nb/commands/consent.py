"""Whether a command may change hosts: a person is there, or it was said beforehand that it may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nixhive_nb.commands.options import options_of, session_of
from nixhive_nb.errors import PlanStale
from nixhive_nb.plan.plan import DIGITS

if TYPE_CHECKING:
    from nixhive_nb.plan.plan import Plan

_LONGEST = 64


def ask_leave(ctx: click.Context, plan: Plan | None = None) -> None:
    """Raise `click.UsageError` for a command that would change hosts and has no leave to; before anything is done.

    `plan` is the one that it would carry out, where that is known by now.
    """
    options, session = options_of(ctx), session_of(ctx)
    digest: str | None = options.get("agreed")
    if digest is not None:
        _check_digest(digest, session.program)
    if digest is not None or options.get("yes") or session.policy == "free":
        return
    if session.policy == "attended" and session.attended():
        return
    why = "This session is not interactive" if session.policy == "attended" else "The policy requires a confirmation"
    raise click.UsageError(f"{why}: say {_words_of_leave(ctx, plan)}.")


def _words_of_leave(ctx: click.Context, plan: Plan | None) -> str:
    if plan is not None:
        return f"--yes, or --plan {plan.digest}"
    if ctx.params.get("resume") is not None:
        return "--yes"  # what a resumed run does cannot be looked at before
    way = f"{session_of(ctx).program} plan {ctx.info_name} …"
    return f"--yes, or --plan DIGEST with the digest of a plan that you reviewed ({way})"


def check_agreed(ctx: click.Context, plan: Plan) -> None:
    """Raise `PlanStale` when a plan is not the one that `--plan` names."""
    digest = str(options_of(ctx).get("agreed", ""))
    if not plan.whole_digest.startswith(digest):
        raise PlanStale(
            f"What would be done is plan {plan.digest}, and not {digest}: the deployment, the options or the hosts "
            f"have changed. Review it again: {session_of(ctx).program} plan."
        )


def _check_digest(digest: str, program: str) -> None:
    wrong = f"'{digest}' is not the digest of a plan"
    if set(digest) - set("0123456789abcdef") or len(digest) > _LONGEST:
        raise click.UsageError(f"{wrong}, such as 7f3a91c0d2e4.")
    if len(digest) < DIGITS:
        raise click.UsageError(
            f"{wrong}: it has {len(digest)} digits, and so few may be those of another plan. Give {DIGITS} or more, as "
            f"`{program} plan` prints them."
        )
