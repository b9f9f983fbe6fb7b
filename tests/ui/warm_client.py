"""What Jupyter starts as a kernel, where `tests/ui/warm.py` forks it. Little is imported: this is started each time."""

import json
import os
import signal
import socket
import sys

HANDED_ON = (signal.SIGINT, signal.SIGTERM)


def main(place: str, words: list[str]) -> int:
    """Have a kernel forked with our descriptors, hand on what we are told to end or to interrupt; return its status."""
    asked = json.dumps({"words": words, "cwd": os.getcwd(), "env": dict(os.environ)}).encode()  # noqa: PTH109 - quick
    with socket.socket(socket.AF_UNIX) as kernel:
        kernel.connect(place)
        for number in HANDED_ON:
            signal.signal(number, lambda number, _: kernel.send(bytes([number])))
        socket.send_fds(kernel, [len(asked).to_bytes(4, "big")], [0, 1, 2])
        kernel.sendall(asked)
        told = kernel.makefile().read()
    status = int(told)
    if status < 0:
        if -status in HANDED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
