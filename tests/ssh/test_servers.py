"""What our own ssh servers leave behind."""

from __future__ import annotations

import shlex
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from nixhive_nb.errors import LinkLost
from tests.sshd import eventually, having_mounts

STARTS_OTHERS = """
import os, signal
for _ in range(5):
    if not os.fork():
        break
print("begun", flush=True)
for _ in range(300):
    if not os.fork():
        signal.pause()
signal.pause()
"""


def test_a_server_that_is_stopped_leaves_nothing_that_was_begun_while_it_was_looked_for(site):
    """Of a session that had just been woken, say: the shell was seen, and what it began then was not."""
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    with ThreadPoolExecutor(1) as pool:
        begun = threading.Event()
        words = f"{sys.executable} -c {shlex.quote(STARTS_OTHERS)}"
        running = pool.submit(connections.run, "web", words, on_line=lambda *_: begun.set())
        assert begun.wait(20)
        mounts = server.mounts
        server.stop()
        with pytest.raises(LinkLost):
            running.result(20)
    eventually(lambda: not having_mounts(mounts), "the end of all that ran there", seconds=5)
