"""The commands that look and change nothing: what there is, how hosts are, what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nixhive_nb.commands.bug_report import BugContext, write_report
from nixhive_nb.commands.options import (
    as_json,
    common,
    hive_of,
    left_out,
    listing_of,
    not_empty,
    options_of,
    patterns,
    session_of,
)
from nixhive_nb.commands.session import Choosing, Listing, Message, Surveyed, Told, place_of, records_of
from nixhive_nb.errors import HiveError, of_system
from nixhive_nb.frames import status_frame
from nixhive_nb.plan.twins import twins, warning
from nixhive_nb.util.text import count_text, size_text

if TYPE_CHECKING:
    from nixhive_nb.deployment.targets import Pattern


@click.command()
@click.argument("path", required=False, callback=not_empty)
@common
@click.pass_context
def load(ctx: click.Context, path: str | None) -> Message:
    """Evaluate the deployment anew.

    In a notebook it is kept for the commands that follow.
    """
    if path:
        options_of(ctx)["config"] = path
    hive = hive_of(ctx, anew=True)
    inventory = hive.inventory
    counts = (count_text(len(inventory.systems), "system"), count_text(len(inventory.instances), "instance"))
    return Message(text=f"{hive.path}: {', '.join(counts)}")


@click.command()
@patterns
@as_json
@common
@click.pass_context
def instances(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """List instances in the order of a deploy.

    Without a pattern: all of them.
    """
    return listing_of(hive_of(ctx).instances(*patterns), as_json=as_json)


@click.command()
@patterns
@as_json
@common
@click.pass_context
def targets(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Choosing:
    """Choose instances.

    A notebook shows a picker: what is chosen in it is `@picked`, as in "deploy @picked". A terminal lists what there
    is. Without a pattern: all instances.
    """
    hive = hive_of(ctx)
    frame = hive.instances(*patterns)
    return Choosing(frame=frame, standings=hive.standings, records=records_of(frame) if as_json else None)


@click.command()
@patterns
@as_json
@common
@click.pass_context
def systems(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """List systems with their last results.

    Patterns are for names of systems. Without one: all of them.
    """
    return listing_of(hive_of(ctx).systems(*patterns), as_json=as_json)


@click.command()
@patterns
@as_json
@common
@click.pass_context
def status(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Surveyed:
    """Ask hosts what they run.

    It says how each stands to what is wanted of it. Nothing is changed. With --no build the last results count as
    what is wanted, and nothing is evaluated.
    """
    survey = hive_of(ctx).survey(*patterns, no=left_out(ctx), follow=session_of(ctx).follow)
    for names in twins(survey.seen):
        session_of(ctx).warn(warning(names))
    return Surveyed(survey=survey, records=records_of(status_frame(survey)) if as_json else None)


@click.command()
@patterns
@as_json
@common
@click.pass_context
def generations(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """List the generations of hosts.

    Those are what a rollback can go back to.
    """
    return listing_of(hive_of(ctx).generations(*patterns), as_json=as_json)


@click.command()
@patterns
@as_json
@common
@click.pass_context
def check(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """Run the checks of hosts now.

    They stand in the deployment, in `checks` of systems and instances.
    """
    frame = hive_of(ctx).check(*patterns, follow=session_of(ctx).follow)
    return Listing(
        frame=frame, records=records_of(frame) if as_json else None, ok=bool(frame["ok"].fillna(value=False).all())
    )


@click.command()
@patterns
@as_json
@common
@click.pass_context
def diff(ctx: click.Context, patterns: list[Pattern], *, as_json: bool) -> Listing:
    """Show what changes in packages.

    The systems are built, and compared with what each host runs.
    """
    frame = hive_of(ctx).diff(*patterns, no=left_out(ctx), follow=session_of(ctx).follow)
    return listing_of(frame, as_json=as_json, nothing="No package differs.")


@click.command(name="history")
@click.argument("run_id", metavar="[RUN]", default="")
@as_json
@common
@click.pass_context
def history_command(ctx: click.Context, run_id: str, *, as_json: bool) -> Listing:
    """List earlier runs, or what one did.

    RUN is its id, or the end of it.
    """
    return listing_of(hive_of(ctx).history(run_id), as_json=as_json, nothing="No run is on record here.")


@click.command(name="report")
@click.argument("run_id", metavar="[RUN]", default="")
@common
@click.pass_context
def report_command(ctx: click.Context, run_id: str) -> Told:
    """Show the record of an earlier run.

    RUN is its id, or the end of it; without one, the last run. In a notebook its value has timeline() and timings().
    """
    return Told(report=hive_of(ctx).report(run_id))


@click.command(name="bug-report")
@click.argument("run_id", metavar="[RUN]", default="")
@click.option("--file", "target", metavar="FILE", callback=not_empty, help="Where it goes.  [default: beside the runs]")
@common
@click.pass_context
def bug_report(ctx: click.Context, run_id: str, target: str | None) -> Message:
    """Write a bug report: one text file, which is sent nowhere.

    It holds versions, settings, the generated ssh configuration, and the journal and logs of a run: of the last one, or
    of RUN, which is its id or the end of it. Secrets are cut. The deployment need not evaluate.
    """
    session = session_of(ctx)
    options = options_of(ctx)
    inventory, failure = None, ""
    try:
        inventory = session.hive(options).inventory
    except (HiveError, OSError) as error:
        failure = str(of_system(error) if isinstance(error, OSError) else error)
    known = BugContext(
        settings=session.settings(options),
        folder=session.folder(options),
        inventory=inventory,
        failure=failure,
    )
    place, contents = write_report(known, run_id, place_of(target) if target else None)
    size = size_text(place.stat().st_size)
    return Message(text=f"{place} ({size}) has:\n{contents}\nRead it before you give it away. Nothing was sent.")


@click.command()
@as_json
@common
@click.pass_context
def runs(ctx: click.Context, *, as_json: bool) -> Listing:
    """List the runs that go on.

    Those of this folder, and those that this notebook began in the background.
    """
    known = [run.run for run in session_of(ctx).background]
    frame = hive_of(ctx).history()
    goes_on = frame[(frame["state"] == "running") | frame.index.isin(known)]
    return listing_of(goes_on, as_json=as_json, nothing="No run goes on.")
