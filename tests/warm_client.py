"""What stands for a program that is forked from a warm one (tests/forks.py).

It is started more than a thousand times: it imports what is built into Python alone, which halves what that takes.

usage: warm_client.py SOCKET WORDS…
"""

import _signal
import _socket
import marshal
import posix
import sys

HANDED_ON = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)


def main(place: str, words: list[str]) -> int:
    """Have a program forked with our descriptors, hand on the signals that we get, and return its status."""
    asked = {"words": words, "cwd": posix.getcwd(), "env": dict(posix.environ), "umask": posix.umask(0o022)}
    data = marshal.dumps(asked)
    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    server.connect(place)
    descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    ours = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)]
    server.sendmsg([len(data).to_bytes(4, "big")], ours)
    server.sendall(data)
    for number in HANDED_ON:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, lambda number, _: server.send(bytes([number])))
    told = b""
    while more := server.recv(64):
        told += more
    server.close()
    status = int(told)
    if status < 0:
        if -status in HANDED_ON:
            _signal.signal(-status, _signal.SIG_DFL)
        posix.kill(posix.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
