"""`lab`: the commands for the practice fleet."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING

import click
import msgspec

from nixhive_nb.commands.options import Value, common, forms, listing_of, options_of, session_of
from nixhive_nb.commands.session import Message, place_of, records_of
from nixhive_nb.errors import HiveError
from nixhive_nb.plan.option_kinds import WholeNumber
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import count_text
from nixhive_nb.view.tables import lab_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from nixhive_nb.commands.session import Listing
    from nixhive_nb.lab import Lab

_log = logging.getLogger(__name__)


@click.group(name="lab", context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.pass_context
def lab_group(ctx: click.Context) -> Message | None:
    """Run a practice fleet on this machine.

    Its hosts are real: sshd and a Nix store each, in namespaces. It needs root. Hosts with a systemd of their own can
    stand beside them: `lab up --systemd N`.
    """
    return None if ctx.invoked_subcommand else Message(text=ctx.get_help())


@lab_group.command()
@click.option("-n", "web", metavar="N", type=Value(WholeNumber()), default=3, show_default=True,
              help="How many web servers to start.")  # fmt: skip
@click.option("--systemd", metavar="N", type=Value(WholeNumber()), default=0, show_default=True,
              help="How many hosts with a real systemd to add.")  # fmt: skip
@common
@click.pass_context
def up(ctx: click.Context, web: int, systemd: int) -> Message:
    """Bring the practice fleet up.

    It is for the deployment of -c (without it: example), whose folder gets a lab.nix that leads to the fleet.

    A web server with systemd is a container of its own on a Debian, which is made the first time: that takes a minute
    or two, and some 300 MB below /var/cache. It needs systemd-nspawn and debootstrap.
    """
    session = session_of(ctx)
    deployment = place_of(options_of(ctx).get("config") or session.config or "example")
    with _practice() as lab:
        fleet = _fleet(lab)
        if fleet is not None and _serves(fleet, web, systemd, deployment):
            return Message(text=f"The practice fleet is up already: {count_text(len(fleet.instances), 'host')}.")
        fleet = lab.Lab.up(web=web, systemd=systemd, deployment=deployment, keep=True, on_progress=session.tell)
    return Message(
        text=f"The practice fleet is up: {count_text(len(fleet.instances), 'host')}. It stays until `lab down`."
    )


@lab_group.command()
@forms
@common
@click.pass_context
def status(ctx: click.Context) -> Listing:
    """List its hosts as they are now."""
    from nixhive_nb.frames import lab_frame  # noqa: PLC0415 - what Tab does not need

    with _practice() as lab:
        hosts = lab.Lab.open().status()
    frame = lab_frame([msgspec.structs.asdict(host) for host in hosts])
    return listing_of(ctx, frame, lab_table(records_of(frame)))


@lab_group.command()
def down() -> Message:
    """Take the practice fleet down.

    It also cleans up after one that broke.
    """
    with _practice() as lab:
        fleet = _fleet(lab)
        if fleet is None:
            return Message(text="There is no practice fleet.")
        fleet.down()
    return Message(text="The practice fleet is down.")


def _fleet(lab: ModuleType) -> Lab | None:
    with swallowed(_log, "looking for the practice fleet", lab.NoFleet):
        found: Lab = lab.Lab.open()
        return found
    return None


def _serves(fleet: Lab, web: int, systemd: int, deployment: Path) -> bool:
    """Return whether a fleet is up, has the web servers that are wanted, and its addresses stand in the deployment."""
    hosts = fleet.status()
    kinds = Counter(host.init for host in hosts if host.instance.startswith("www-"))
    wanted = kinds == Counter(light=web, systemd=systemd)
    return wanted and (deployment / "lab.nix").is_file() and all(host.running for host in hosts)


@contextlib.contextmanager
def _practice() -> Iterator[ModuleType]:
    """Import the practice fleet, which these commands alone need, and give its errors as ours."""
    from nixhive_nb import lab  # noqa: PLC0415 - see above

    try:
        yield lab
    except lab.LabError as error:
        raise HiveError(str(error)) from None
