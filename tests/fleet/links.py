"""The links of a practice fleet: how much has come over them, and how little they carry for a while."""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path


def got_by(fleet, names):
    """Return the bytes that hosts have got so far, as their own interfaces count them.

    It is read of their first processes from here: whoever waits for bytes looks often.
    """
    counted = {name: Path(f"/proc/{fleet.lab.first_process(name)}/net/dev").read_text() for name in names}
    return {name: int(re.search(r"^ *eth0: *(\d+)", text, re.MULTILINE)[1]) for name, text in counted.items()}


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
