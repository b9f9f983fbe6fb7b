"""`lab`: the commands for the practice fleet."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING

import click
import msgspec

from nixhive_nb import lab as practice
from nixhive_nb.commands.options import Value, as_json, common, options_of, session_of
from nixhive_nb.commands.session import Listing, Message, place_of, records_of
from nixhive_nb.errors import HiveError
from nixhive_nb.frames import lab_frame
from nixhive_nb.plan.option_kinds import WholeNumber
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import count_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
              help="How many web servers.")  # fmt: skip
@click.option("--systemd", metavar="N", type=Value(WholeNumber()), default=0, show_default=True,
              help="How many more there are to be with a real systemd.")  # fmt: skip
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
    with _lab_errors():
        fleet = _fleet()
        if fleet is not None and _serves(fleet, web, systemd, deployment):
            return Message(text=f"The practice fleet is up already: {count_text(len(fleet.instances), 'host')}.")
        fleet = practice.Lab.up(web=web, systemd=systemd, deployment=deployment, keep=True, on_progress=session.tell)
    return Message(
        text=f"The practice fleet is up: {count_text(len(fleet.instances), 'host')}. It stays until `lab down`."
    )


@lab_group.command()
@as_json
@common
def status(*, as_json: bool) -> Listing:
    """List its hosts as they are now."""
    with _lab_errors():
        hosts = practice.Lab.open().status()
    frame = lab_frame([msgspec.structs.asdict(host) for host in hosts])
    return Listing(frame=frame, records=records_of(frame) if as_json else None)


@lab_group.command()
def down() -> Message:
    """Take the practice fleet down.

    It also cleans up after one that broke.
    """
    with _lab_errors():
        fleet = _fleet()
        if fleet is None:
            return Message(text="There is no practice fleet.")
        fleet.down()
    return Message(text="The practice fleet is down.")


def _fleet() -> practice.Lab | None:
    with swallowed(_log, "looking for the practice fleet", practice.NoFleet):
        return practice.Lab.open()
    return None


def _serves(fleet: practice.Lab, web: int, systemd: int, deployment: Path) -> bool:
    """Return whether a fleet is up, has the web servers that are wanted, and its addresses stand in the deployment."""
    hosts = fleet.status()
    kinds = Counter(host.init for host in hosts if host.instance.startswith("www-"))
    wanted = kinds == Counter(light=web, systemd=systemd)
    return wanted and (deployment / "lab.nix").is_file() and all(host.running for host in hosts)


@contextlib.contextmanager
def _lab_errors() -> Iterator[None]:
    try:
        yield
    except practice.LabError as error:
        raise HiveError(str(error)) from None
