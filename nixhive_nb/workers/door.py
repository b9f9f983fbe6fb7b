"""The ProxyCommand of an ssh whose host is reached by a worker: hands it a connection to the program that asks for it.

usage: door.py SOCKET INSTANCE

It is started for each login, and imports nothing of ours.
"""

from __future__ import annotations

import array
import os
import socket
import sys


def main() -> int:
    """Pass the connection on, by the standard output, and return the exit status."""
    place, instance = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as way, socket.socket(fileno=os.dup(1)) as asker:
        way.connect(place)
        way.sendall(f"{instance}\n".encode())
        told = b""
        # A byte at a time: what follows is for ssh.
        while not told.endswith(b"\n"):
            read = way.recv(1)
            if not read:
                told = told or b"the program that reaches it has ended\n"
                break
            told += read
        if why := told.decode(errors="replace").strip():
            sys.stderr.write(f"ssh: {instance}: {why}\n")
            return 1
        asker.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [way.fileno()]))])
    return 0


if __name__ == "__main__":
    sys.exit(main())
