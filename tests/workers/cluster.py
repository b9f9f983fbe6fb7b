"""A real scheduler and real workers on this machine, with certificates of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys

from tests.sshd import eventually


def make_certificates(folder):
    """Make an authority and a certificate, as docs/howto/workers.md does."""
    folder.mkdir()
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "30"]
    ca = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=fleet"]
    own = ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=worker", "-CA", "ca.pem", "-CAkey", "ca.key"]
    for words in (ca, own):
        subprocess.run([*new, *words], cwd=folder, check=True, capture_output=True)
    return folder


def free_port(host="127.0.0.1"):
    with socket.socket() as one:
        one.bind((host, 0))
        return one.getsockname()[1]


class Cluster:
    """What was started, and can be killed."""

    def __init__(self, folder, tls=None, host="127.0.0.1"):
        self.folder, self.tls, self.host = folder, tls, host
        self.port = free_port(host)
        self.address = f"{'tls' if tls else 'tcp'}://{host}:{self.port}"
        self.on = ["--on", self.address, *(["--tls", str(tls)] if tls else [])]
        self.workers = {}
        self.start_scheduler()

    def start_scheduler(self):
        scheme = self.address.partition(":")[0]
        files = (("ca-file", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem"))
        words = [word for name, file in files for word in (f"--tls-{name}", str(self.tls / file))] if self.tls else []
        self.scheduler = self._started(
            "scheduler", "-m", "distributed.cli.dask_scheduler", "--host", f"{scheme}://{self.host}",
            "--port", str(self.port), "--no-dashboard", *words,
        )  # fmt: skip

        def listens():
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port)):
                return True
            return False

        eventually(listens, "the scheduler", 60)

    def start_worker(self, name, *more, env=None, netns=""):
        """Start one, in a network namespace where one is named, and wait until it is ready."""
        tls = ["--tls", str(self.tls)] if self.tls else []
        words = ["-m", "nixhive_nb", "worker", self.address, "--name", name, *more, *tls]
        self.workers[name] = self._started(
            name, *words, env=env, inside=["ip", "netns", "exec", netns] if netns else []
        )
        eventually(lambda: self.is_ready(name), f"worker {name}", 60)

    def said(self, name):
        return (self.folder / f"{name}.log").read_text()

    def is_ready(self, name, times=1):
        return self.said(name).count(" is ready") >= times

    def kill(self, name):
        self.workers[name].send_signal(signal.SIGKILL)
        self.workers[name].wait()

    def end_scheduler(self):
        self.scheduler.send_signal(signal.SIGKILL)
        self.scheduler.wait()

    def close(self):
        for one in (*self.workers.values(), self.scheduler):
            one.kill()
            one.wait()

    def _started(self, name, *words, env=None, inside=()):
        with (self.folder / f"{name}.log").open("w") as log:
            return subprocess.Popen(
                [*inside, sys.executable, *words], cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
            )  # fmt: skip
