"""The links of a practice fleet: how much has come over them, and how little they carry for a while."""

from __future__ import annotations

import contextlib
import re
import subprocess


def got_by(fleet, names):
    """Return the bytes that hosts have got so far, as their own interfaces count them."""
    return {name: int(fleet.lab.exec(name, ["cat", "/sys/class/net/eth0/statistics/rx_bytes"])) for name in names}


@contextlib.contextmanager
def slow_to(fleet, host, rate="1mbit"):
    """Let the link to a host carry so little that a busy machine finds the middle of a copy of a megabyte.

    That to the jump host carries the logins of all others as well.
    """
    where = {status.instance: status.netns for status in fleet.lab.status()}
    inside, device = [], fleet.lab.link
    if host != "portico":
        inside, device = ["ip", "netns", "exec", where["portico"]], _port(fleet, host)
    shape = ["dev", device, "root"]
    words = ["tbf", "rate", rate, "burst", "32k", "latency", "400ms"]
    subprocess.run([*inside, "tc", "qdisc", "add", *shape, *words], check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "tc", "qdisc", "del", *shape], check=True)


def _port(fleet, host):
    """Return the jump host's end of the link to a host behind it."""
    peer = fleet.lab.exec(host, ["cat", "/sys/class/net/eth0/iflink"]).strip()
    ends = fleet.lab.exec("portico", ["sh", "-c", "cd /sys/class/net && grep -H . */ifindex"])
    (device,) = re.findall(rf"^(\S+)/ifindex:{peer}$", ends, re.MULTILINE)
    return device
