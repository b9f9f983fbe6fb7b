"""Whether a command may change hosts: a person is there, or it was said beforehand that it may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nixhive_nb.commands.options import options_of, session_of
from nixhive_nb.errors import PlanStale

if TYPE_CHECKING:
    from nixhive_nb.plan.plan import Plan

_SHORTEST = 4


def ask_leave(ctx: click.Context) -> None:
    """Raise `click.UsageError` for a command that would change hosts and has no leave to; before anything is done."""
    options, session = options_of(ctx), session_of(ctx)
    digest = str(options.get("agreed", ""))
    if digest and (len(digest) < _SHORTEST or set(digest) - set("0123456789abcdef")):
        raise click.UsageError(f"'{digest}' is not the digest of a plan, such as 7f3a91c.")
    if digest or options.get("yes") or session.policy == "free":
        return
    if session.policy == "attended" and session.attended():
        return
    why = "Nobody is here to see what it does" if session.policy == "attended" else "The policy asks for a clear word"
    raise click.UsageError(
        f"{why}: say --yes, or --plan DIGEST with the digest of a plan that was looked at "
        f"({session.program} plan {ctx.info_name} …)."
    )


def check_agreed(ctx: click.Context, plan: Plan) -> None:
    """Raise `PlanStale` when a plan is not the one that `--plan` names."""
    digest = str(options_of(ctx).get("agreed", ""))
    if not plan.digest.startswith(digest):
        raise PlanStale(
            f"What would be done is plan {plan.digest}, and not {digest}: the deployment, the options or the hosts "
            f"are not as they were. Look at it anew: {session_of(ctx).program} plan."
        )
