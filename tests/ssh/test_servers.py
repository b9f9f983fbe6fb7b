"""What our own ssh servers leave behind."""

from __future__ import annotations

import shlex
import sys

from tests.sshd import eventually, having_mounts

HOPS = """
import os, time
for _ in range(10):
    if not os.fork():
        break
for _ in range(1000):
    time.sleep(0.0002)
    if os.fork():
        os._exit(0)
time.sleep(60)
"""


def test_a_server_that_is_stopped_leaves_nothing_that_was_begun_while_it_was_looked_for(site):
    """Of a session that had just been woken, say: the shell was seen, and what it began then was not."""
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    begun = f"{sys.executable} -c {shlex.quote(HOPS)}"
    connections.run("web", f"setsid {begun} >/dev/null 2>&1 </dev/null & echo begun")
    mounts = server.mounts
    eventually(lambda: having_mounts(mounts) != having_mounts(mounts), "the first hops")
    server.stop()
    eventually(lambda: not having_mounts(mounts), "the end of all that ran there", seconds=5)
