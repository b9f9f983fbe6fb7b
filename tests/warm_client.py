"""What stands for `nix-hive` where `tests/warm.py` runs it. Little is imported, since this is started each time."""

import json
import os
import signal
import socket
import sys

PLACE = "NIXHIVE_TEST_WARM"
"""The variable that names the socket of the server."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def main(words: list[str]) -> int:
    """Have the server run `nix-hive` here, on our descriptors, and return its status."""
    asked = {"words": words, "cwd": os.getcwd(), "env": dict(os.environ), "umask": os.umask(0o022)}  # noqa: PTH109 - quick
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ[PLACE])
        socket.send_fds(server, [b"\n"], [0, 1, 2])
        server.sendall(json.dumps(asked).encode() + b"\n")
        told = server.makefile()
        program = int(told.readline())
        for number in FORWARDED:
            signal.signal(number, lambda number, _: os.kill(program, number))
        status = int(told.read())
    if status < 0:
        if -status in FORWARDED:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
