"""The links of a practice fleet: how much has come over them, and how little they carry for a while."""

from __future__ import annotations

import contextlib
import subprocess


def got_by(fleet, names):
    """Return the bytes that hosts have got so far, as their own interfaces count them."""
    return {name: int(fleet.lab.exec(name, ["cat", "/sys/class/net/eth0/statistics/rx_bytes"])) for name in names}


@contextlib.contextmanager
def slow_to(fleet, host):
    """Let the link to a host carry so little that a busy machine finds the middle of a copy of a megabyte.

    That to the jump host carries the logins of all others as well.
    """
    where = {status.instance: status.netns for status in fleet.lab.status()}
    inside = [] if host == "portico" else ["ip", "netns", "exec", where["portico"]]
    device = fleet.lab.link if host == "portico" else f"v{fleet.lab.instances.index(host)}"
    shape = ["dev", device, "root"]
    words = ["tbf", "rate", "1mbit", "burst", "32k", "latency", "400ms"]
    subprocess.run([*inside, "tc", "qdisc", "add", *shape, *words], check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "tc", "qdisc", "del", *shape], check=True)
