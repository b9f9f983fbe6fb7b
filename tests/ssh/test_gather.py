"""Asking many hosts at once, outside of a run."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

ASKS = """
import asyncio
from nixhive_nb.ssh.gather import ask_all

async def ask(name):
    print(name, flush=True)
    try:
        await asyncio.sleep(600)
    finally:
        print("ended", flush=True)

ask_all(["web"], ask, parallel=1)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_heard_while_hosts_are_asked_and_ends_the_questions(number):
    """D13."""
    code = f"import signal; signal.signal({int(number)}, signal.default_int_handler)\n{ASKS}"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout.readline() == "web\n"
        process.send_signal(number)
        said, failed = process.communicate(timeout=60)
    assert said == "ended\n"
    assert failed.endswith("KeyboardInterrupt\n")
