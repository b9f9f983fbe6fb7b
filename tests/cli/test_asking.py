"""A password is asked for at the terminal itself, and never shown there."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

ASKS = "from nixhive_nb.cli.asking import *; print(has_keyboard() and len(ask_secret('Password: ')))"


def test_it_is_read_from_the_terminal_whatever_the_standard_input_is_and_not_shown():
    child, terminal = pty.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execv(sys.executable, [sys.executable, "-c", ASKS])
    said = b""
    while b"Password: " not in said:
        said += os.read(terminal, 1000)
    os.write(terminal, b"hunter2\n")
    while b"7" not in said.partition(b"Password: ")[2]:
        said += os.read(terminal, 1000)
    assert os.waitpid(child, 0)[1] == 0
    os.close(terminal)
    assert b"hunter2" not in said


def test_without_a_terminal_nobody_is_asked():
    ended = subprocess.run(
        [sys.executable, "-c", ASKS], stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True,
        check=True,
    )  # fmt: skip
    assert ended.stdout == "False\n"
