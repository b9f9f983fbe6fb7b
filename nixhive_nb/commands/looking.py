"""The commands that look and change nothing: what there is, how hosts are, what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nixhive_nb.commands.bug_report import BugContext, write_report
from nixhive_nb.commands.forms import document_of
from nixhive_nb.commands.options import (
    common,
    form_of,
    forms,
    hive_of,
    json_also,
    left_out,
    listing_of,
    not_empty,
    options_of,
    patterns,
    session_of,
)
from nixhive_nb.commands.session import Choosing, Message, Told, place_of, records_of
from nixhive_nb.errors import HiveError, OptionError, of_system
from nixhive_nb.frames import doctor_frame, history_frame, status_frame
from nixhive_nb.plan.twins import twins, warning
from nixhive_nb.run import history
from nixhive_nb.util.files import write_new
from nixhive_nb.util.text import size_text
from nixhive_nb.view.deployment import heeded_lines, loaded_text
from nixhive_nb.view.diff import diff_table
from nixhive_nb.view.doctor import doctor_table
from nixhive_nb.view.report import report_listing
from nixhive_nb.view.status import status_table
from nixhive_nb.view.tables import check_table, generations_table, history_table, instances_table, systems_table

if TYPE_CHECKING:
    from pathlib import Path

    from nixhive_nb.commands.session import Listing
    from nixhive_nb.deployment.targets import Pattern

_MOST_ROWS = 200
"""How many hosts `doctor` shows in a terminal: those with something amiss stand first."""


@click.command()
@click.argument("path", required=False, callback=not_empty)
@common
@click.pass_context
def load(ctx: click.Context, path: str | None) -> Message:
    """Evaluate the deployment again.

    In a notebook it is kept for the commands that follow, and so are the workers of --on, until the next load.
    """
    if path:
        options_of(ctx)["config"] = path
    hive = hive_of(ctx, anew=True)
    inventory = hive.inventory
    return Message(text="\n".join([loaded_text(hive.path, inventory), *heeded_lines(inventory.heeded)]))


@click.command()
@click.option("--to", "target", metavar="FILE", callback=not_empty, help="A new file that it goes to.")
@common
@click.pass_context
def convert(ctx: click.Context, target: str | None) -> Message:
    """Write a deployment of another tool in the format of hive.nix.

    Of a flake it becomes an output `nixhive`. Nothing is changed: it is shown, or goes to a file that is not there yet.
    What cannot be said in that format is in comments. It may have to evaluate the systems.
    """
    hive = hive_of(ctx)
    if target is None:
        return Message(text=hive.converted().rstrip("\n"))
    file = place_of(target).absolute()
    try:
        write_new(file, hive.converted(file.parent).encode())
    except FileExistsError:
        raise OptionError(f"{target} is there already, and is left as it is: name another file.") from None
    return Message(text=f"{target} is written. Read what its comments say before you use it.")


@click.command()
@patterns
@forms
@common
@click.pass_context
def instances(ctx: click.Context, patterns: list[Pattern]) -> Listing:
    """List instances in the order of a deploy.

    Without a pattern: all of them.
    """
    frame = hive_of(ctx).instances(*patterns)
    return listing_of(ctx, frame, instances_table(records_of(frame)))


@click.command()
@patterns
@forms
@common
@click.pass_context
def targets(ctx: click.Context, patterns: list[Pattern]) -> Choosing:
    """Choose instances.

    A notebook shows a picker: what is chosen in it is `@picked`, as in "deploy @picked". A terminal lists what there
    is. Without a pattern: all instances.
    """
    hive = hive_of(ctx)
    frame = hive.instances(*patterns)
    table = instances_table(records_of(frame), hive.standings)
    return Choosing(frame=frame, table=table, standings=hive.standings, form=form_of(ctx))


@click.command()
@patterns
@forms
@common
@click.pass_context
def systems(ctx: click.Context, patterns: list[Pattern]) -> Listing:
    """List systems with their last results.

    Patterns are for names of systems. Without one: all of them.
    """
    frame = hive_of(ctx).systems(*patterns)
    return listing_of(ctx, frame, systems_table(records_of(frame)))


@click.command()
@patterns
@forms
@common
@click.pass_context
def status(ctx: click.Context, patterns: list[Pattern]) -> Listing:
    """Ask hosts what they run.

    It says how each stands to what is wanted of it. Nothing is changed. With --no build the last results count as
    what is wanted, and nothing is evaluated.
    """
    hive = hive_of(ctx)
    survey = hive.survey(*patterns, no=left_out(ctx), follow=session_of(ctx).follow)
    for names in twins(survey.seen):
        session_of(ctx).warn(warning(names))
    carriers = hive.carriers([one.instance for one in survey.seen])  # patterns may ask all hosts once more
    named = {name: one.name for name, one in carriers.items()}
    return listing_of(ctx, status_frame(survey, named), status_table(survey, carriers))


@click.command()
@patterns
@forms
@common
@click.pass_context
def generations(ctx: click.Context, patterns: list[Pattern]) -> Listing:
    """List the generations of hosts.

    Those are what a rollback can go back to.
    """
    frame = hive_of(ctx).generations(*patterns)
    return listing_of(ctx, frame, generations_table(records_of(frame)))


@click.command()
@patterns
@forms
@common
@click.pass_context
def check(ctx: click.Context, patterns: list[Pattern]) -> Listing:
    """Run the checks of hosts now.

    They stand in the deployment, in `checks` of systems and instances.
    """
    frame = hive_of(ctx).check(*patterns, follow=session_of(ctx).follow)
    holds = bool(frame["ok"].fillna(value=False).all())
    return listing_of(ctx, frame, check_table(records_of(frame)), ok=holds)


@click.command()
@patterns
@forms
@common
@click.pass_context
def doctor(ctx: click.Context, patterns: list[Pattern]) -> Listing:
    """Say what keeps hosts from being deployed to.

    How each is reached and becomes root, why it takes what is pushed, its relay, its room, its clock; and of what is
    amiss the lines to add, ready to copy. Nothing is changed. In a terminal the exit status is 1 where something is.
    """
    found = hive_of(ctx).diagnose(*patterns, no=left_out(ctx), follow=session_of(ctx).follow)
    is_well = all(one.ok for one in found)
    return listing_of(ctx, doctor_frame(found), doctor_table(found), ok=is_well, most=_MOST_ROWS)


@click.command()
@patterns
@forms
@common
@click.pass_context
def diff(ctx: click.Context, patterns: list[Pattern]) -> Listing:
    """Show which packages would change.

    The systems are built, and compared with what each host runs.
    """
    hive = hive_of(ctx)
    names = hive.targets(*patterns).instances  # once: it may ask all hosts
    frame = hive.diff(names, no=left_out(ctx), follow=session_of(ctx).follow)
    instances = hive.loaded.instances
    systems = {name: instances[name].system for name in names}
    return listing_of(ctx, frame, diff_table(records_of(frame), systems))


@click.command(name="history")
@click.argument("run_id", metavar="[RUN]", default="")
@forms
@common
@click.pass_context
def history_command(ctx: click.Context, run_id: str) -> Listing:
    """List earlier runs, or what one did.

    RUN is its id, or the end of it. The deployment need not evaluate.
    """
    folder = _past(ctx)
    if run_id:
        report = history.report_of(history.find(folder, run_id))
        return listing_of(ctx, report.frame, report_listing(report))
    entries = history.runs(folder)
    return listing_of(ctx, history_frame(entries), history_table(entries, empty="No run is on record here."))


@click.command(name="report")
@click.argument("run_id", metavar="[RUN]", default="")
@json_also
@common
@click.pass_context
def report_command(ctx: click.Context, run_id: str) -> Told:
    """Show the record of an earlier run.

    RUN is its id, or the end of it; without one, the last run. In a notebook its value has timeline() and timings().
    The deployment need not evaluate.
    """
    report = history.report_of(history.find(_past(ctx), run_id))
    return Told(report=report, document=document_of(report) if options_of(ctx).get("as_json") else None)


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
@forms
@common
@click.pass_context
def runs(ctx: click.Context) -> Listing:
    """List the runs in progress.

    Those of this folder, and those that this notebook began in the background.
    """
    known = [run.run for run in session_of(ctx).background]
    entries = [one for one in history.runs(_past(ctx)) if one.state == "running" or one.run in known]
    return listing_of(ctx, history_frame(entries), history_table(entries, empty="No run is in progress."))


def _past(ctx: click.Context) -> Path:
    """Return the folder of the journals that a command is about. Nothing is evaluated."""
    return session_of(ctx).past(options_of(ctx))
