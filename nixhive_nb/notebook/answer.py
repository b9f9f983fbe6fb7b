"""The value of a command → what the notebook gets, what the cell shows, and the error that is raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click
import msgspec
import pandas as pd
from IPython.core.getipython import get_ipython

from nixhive_nb.commands.forms import csv_of
from nixhive_nb.commands.session import (
    Already,
    Begun,
    Choosing,
    Ended,
    Exited,
    Known,
    Listing,
    Message,
    Planned,
    Ran,
    Told,
)
from nixhive_nb.errors import RunFailed
from nixhive_nb.notebook.display import Bundle, ListingView, PlanView, show
from nixhive_nb.notebook.picker import PickerRow, picker_for
from nixhive_nb.notebook.run_output import failure_of
from nixhive_nb.notebook.settings import settings_of
from nixhive_nb.notebook.shown_frame import ShownFrame
from nixhive_nb.util.text import strip_control
from nixhive_nb.view.report import failure_text

if TYPE_CHECKING:
    from nixhive_nb.commands.session import Value
    from nixhive_nb.notebook.picker import Widgets
    from nixhive_nb.run.report import Report
    from nixhive_nb.view.listing import Table


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What comes of a command."""

    value: object
    """For a variable, or for `Out[…]`."""
    shown: Bundle | str | None = None
    """What a command that stands alone shows in place of its value: a view, a text, or nothing more (`""`)."""
    alone: object = None
    """What a command that stands alone gives to the cell in place of `value`, if that looks another way there."""
    failure: RunFailed | None = None

    def show(self) -> None:
        """Show it in the cell."""
        if isinstance(self.shown, str):
            if self.shown:
                click.echo(self.shown)
        elif self.shown is not None:
            show(self.shown)


def answer_to(value: Value) -> Answer:
    """Return the answer that a value of the grammar makes."""
    match value:
        case Listing() | Known() | Planned():
            return _looked_up(value)
        case Ended() | Ran():
            return _carried_out(value)
        case Begun() | Already() | Told():
            return _live(value)
        case Exited():
            return _exited(value)
        case Message():
            return Answer(value=value.document or value.text, shown=value.text)
        case None:
            return Answer(value=None)


def _looked_up(value: Listing | Known | Planned) -> Answer:
    """Return a DataFrame, a plan or a picker, shown as a person reads it; or what a program reads."""
    if isinstance(value, Known):
        return _listed(value.frame, value.table)
    if value.form == "json":
        return Answer(value=value.records)
    if value.form == "csv":
        text = csv_of(value.frame)
        return Answer(value=text, shown=text.rstrip("\n"))
    wide = value.form == "wide"
    if isinstance(value, Choosing):
        return _choosing(value)
    if isinstance(value, Planned):
        return Answer(value=value.plan, shown=PlanView(value.plan, wide=wide))
    return _listed(value.frame, value.table, wide=wide)


def _listed(frame: pd.DataFrame, table: Table, *, wide: bool = False) -> Answer:
    """Return a DataFrame, which a cell shows as a listing."""
    return Answer(value=frame, alone=ShownFrame.of(frame, ListingView(table, wide=wide)))


def _carried_out(value: Ended | Ran) -> Answer:
    """Return a table; the record, or the output, is in the cell already and is all that is shown of it."""
    if isinstance(value, Ended):
        plain = value.document if value.report.plan.verb != "build" else None
        return Answer(value=plain or value.report.frame, shown="", failure=_failure(value.report))
    failure = failure_of(value.frame)
    if value.records is not None:
        return Answer(value=value.records, failure=failure)
    return Answer(value=value.frame, shown="", failure=failure)


def _failure(report: Report) -> RunFailed | None:
    return None if report.ok else RunFailed(strip_control(failure_text(report)), report)


def _live(value: Begun | Already | Told) -> Answer:
    """Return a handle, a report, or the table of the run that did it before."""
    if isinstance(value, Begun):
        return Answer(value=value.run, shown="")  # the cell shows how it goes
    if isinstance(value, Told):
        return Answer(value=value.document or value.report)
    # That nothing was done now is said wherever the value goes.
    click.echo(value.text)
    table = value.report.frame if value.report is not None else pd.DataFrame()
    return Answer(value=value.document or table, shown="")


def _choosing(value: Choosing) -> Answer:
    """Return a picker."""
    rows = [
        PickerRow(
            instance=str(name),
            system=row["system"],
            tags=row["tags"],
            via=row["jump"],
            runs=value.standings.get(str(name), ""),
        )
        for name, row in value.frame.to_dict("index").items()
    ]
    return Answer(value=picker_for(rows, widgets=cast("Widgets", settings_of(get_ipython()).widgets)))


def _exited(ended: Exited) -> Answer:
    """Return what a program said: its errors are shown at once, what it printed is the value."""
    said = strip_control(ended.stdout)
    if ended.stderr:
        click.echo(strip_control(ended.stderr), err=True, nl=False)
    if not ended.status:
        return Answer(value=said, shown=said.rstrip("\n"))
    if said:
        click.echo(said, nl=False)
    return Answer(value=said, failure=RunFailed(f"It ended with exit status {ended.status}."))
