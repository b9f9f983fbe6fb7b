"""`worker`: to reach hosts for operators elsewhere."""

from __future__ import annotations

import click

from nixhive_nb.commands.options import not_empty, session_of
from nixhive_nb.errors import OptionError


@click.command()
@click.argument("address", callback=not_empty)
@click.option(
    "--name",
    metavar="NAME",
    required=True,
    callback=not_empty,
    help="The name of the worker: that of the relay, the instance or the tag whose hosts it is near.",
)
@click.option(
    "--for",
    "places",
    metavar="NAME",
    multiple=True,
    help="A relay, instance or tag whose hosts it is near, in place of its name; any number of times.",
)
@click.option("--tls", metavar="FOLDER", callback=not_empty, help="The folder with the certificates, for tls://.")
@click.pass_context
def worker(ctx: click.Context, address: str, name: str, places: tuple[str, ...], tls: str | None) -> None:
    """Reach hosts for operators elsewhere, as a worker of Dask.

    ADDRESS is that of the scheduler, tls://HOST:PORT. It reaches hosts by the keys and the ssh configuration of whoever
    starts it, until it is interrupted, and begins anew when its scheduler does. Two that are for the same place stand
    in for each other.
    """
    from nixhive_nb.workers.address import checked_address  # noqa: PLC0415 - only this command needs it
    from nixhive_nb.workers.worker import work  # noqa: PLC0415 - as above

    session = session_of(ctx)
    if not session.has_terminal:
        raise OptionError("A worker runs by itself: start nix-hive worker in a terminal, or as a unit of systemd.")
    work(checked_address(address, "worker"), name=name, places=places or (name,), tls=tls, tell=session.tell)
