"""What stands for a program that is forked from a warm one (tests/forks.py). Little is imported, to start at once.

usage: warm_client.py SOCKET WORDS…
"""

import json
import os
import signal
import socket
import sys

HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def main(place: str, words: list[str]) -> int:
    """Have a program forked with our descriptors, hand on the signals that we get, and return its status."""
    asked = {"words": words, "cwd": os.getcwd(), "env": dict(os.environ), "umask": os.umask(0o022)}  # noqa: PTH109 - quick
    text = json.dumps(asked).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        socket.send_fds(server, [len(text).to_bytes(4, "big")], [0, 1, 2])
        server.sendall(text)
        for number in HANDED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: server.send(bytes([number])))
        told = server.makefile().read()
    status = int(told)
    if status < 0:
        if -status in HANDED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
