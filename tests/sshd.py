"""Real ssh servers on this machine, each with keys, files and a password file of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nixhive_nb.deployment.inventory import Instance, Inventory
from nixhive_nb.ssh.config import SshFiles, write_ssh_files
from nixhive_nb.ssh.pool import Connections

SSHD = "/usr/sbin/sshd"
WAIT = 20.0


def eventually(condition, what="the condition", seconds=WAIT):
    """Wait for a condition, and fail when it does not come true in time.

    To look may take a program on a host: most of the time is left to those that are waited for.
    """
    deadline = time.monotonic() + seconds
    looked = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < deadline, f"{what} did not come true in {seconds} s"
        time.sleep(max(0.02, 2 * (now - looked)))
        looked = time.monotonic()


def is_running(pid: int) -> bool:
    """Return whether a process is there and not yet a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> list[int]:
    """All processes below one, from /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        children = [child for child, above in parents.items() if above == parent]
        found += children
        queue += children
    return found


def having_mounts(mounts: Path) -> list[int]:
    """All processes that live in a mount namespace."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # one that ends; a pattern that goes as deep as the link fails by it
            if (entry / "ns" / "mnt").readlink() == mounts:
                found.append(int(entry.name))
    return found


class Sshd:
    """One running server."""

    def __init__(
        self, folder: Path, address: str, keys: list[Path], authorized: Path, *, extra: str = "", password: str = "*"
    ) -> None:
        """`extra`: what its configuration says first. `password`: what root's is encrypted to; empty for none."""
        self.folder = folder
        self.password = password
        self.address = address
        self.keys = keys
        self.authorized = authorized
        self.extra = extra
        with socket.socket() as probe:
            probe.bind((address, 0))
            self.port = probe.getsockname()[1]
        self.log_file = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.mounts = Path()

    def start(self) -> Sshd:
        config = self.folder / "sshd_config"
        lines = [
            f"ListenAddress {self.address}:{self.port}",
            *(f"HostKey {key}" for key in self.keys),
            f"AuthorizedKeysFile {self.authorized}",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            self.extra,
            "PermitRootLogin prohibit-password",
            f"PasswordAuthentication {'no' if self.password else 'yes'}",
            "KbdInteractiveAuthentication no",
            # At DEBUG1 it writes into the outputs of commands too; the first value wins.
            "LogLevel VERBOSE",
            # As on light practice hosts: most of what a login costs are keys against computers to come, by sntrup.
            "KexAlgorithms -sntrup*,curve25519*",
        ]
        config.write_text("\n".join(lines) + "\n")
        # Its own /etc/passwd: root's shell is /bin/sh and its home empty, so that no start-up file slows commands.
        passwd = self.folder / "passwd"
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        others = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
        passwd.write_text("\n".join([f"root:x:0:0:root:{home}:/bin/sh", *others]) + "\n")
        shadow = self.folder / "shadow"
        shadow.write_text(f"root:{self.password}:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n")
        shadow.chmod(0o600)
        mounts = " && ".join(f'mount --bind "{file}" /etc/{file.name}' for file in (passwd, shadow))
        # -r: as on light practice hosts.
        script = f'{mounts} && exec {SSHD} -r -D -e -f "{config}"'
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                # Ends with us, whatever happens to the test run.
                ["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "/bin/sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(lambda: "Server listening on" in self.log() or self.process.poll() is not None, "sshd")
        assert self.process.poll() is None, self.log()
        self.mounts = Path(f"/proc/{self.process.pid}/ns/mnt").readlink()
        return self

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def logins(self) -> int:
        return self.log().count("Accepted publickey")

    def signal_sessions(self, number: signal.Signals) -> None:
        """Send a signal to all that serves a connection; the listener itself goes on. Those killed are dead then."""
        serving = descendants(self.process.pid) if self.process is not None else []
        for pid in serving:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGKILL:
            # One of them may still take a command while the other is killed already.
            eventually(lambda: not any(map(is_running, serving)), "the death of the sessions")

    def stop(self) -> None:
        if self.process is None:
            return
        # What runs there has its mounts, also where the session that it was of is dead already. One look misses what is
        # begun while we look, by a session that has just been woken, say: another one, begun after that, does not.
        while doomed := having_mounts(self.mounts) or having_mounts(self.mounts):
            for pid in doomed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            eventually(lambda doomed=doomed: not any(map(is_running, doomed)), "the death of the sessions")
        self.process.wait()
        self.process = None


class Site:
    """Servers and keys of one test, and short ways to a deployment of them."""

    def __init__(self, folder: Path, keys: dict[str, Path]) -> None:
        self.folder = folder
        self.keys = keys
        self.servers: list[Sshd] = []
        self.connections: list[Connections] = []
        self.carrier = "auto"
        self.authorized = folder / "authorized_keys"
        self.authorized.write_text(public(keys["user"]) + "\n" + public(keys["locked"]) + "\n")

    def sshd(self, *, address="127.0.0.1", keys=("host-ed25519",), extra="", password="*") -> Sshd:
        folder = self.folder / f"sshd-{len(self.servers)}"
        folder.mkdir()
        server = Sshd(
            folder, address, [self.keys[name] for name in keys], self.authorized, extra=extra, password=password
        )
        self.servers.append(server)
        return server.start()

    def instance(self, name: str, server: Sshd, *, keys=("host-ed25519",), user_key="user", **options) -> Instance:
        """An instance on a server; `keys` are those that the deployment names."""
        values = {
            "Hostname": server.address,
            "Port": server.port,
            "User": "root",
            "IdentityFile": self.keys[user_key] if user_key else "none",
            "IdentitiesOnly": "yes",
            **options,
        }
        ssh = tuple((option, (str(value),)) for option, value in sorted(values.items()) if value is not None)
        host_keys = tuple(public(self.keys[key]) for key in keys)
        return Instance(name=name, system="s", ssh=ssh, host_keys=host_keys, carrier=self.carrier)

    def files(self, *instances: Instance, user_files=()) -> tuple[Inventory, SshFiles]:
        inventory = Inventory(source="t", instances={instance.name: instance for instance in instances})
        return inventory, write_ssh_files(inventory, self.folder / "ssh", user_files=user_files)

    def connect(self, *instances: Instance, user_files=(), **options) -> Connections:
        made = Connections(*self.files(*instances, user_files=user_files), **options)
        self.connections.append(made)
        return made

    def close(self) -> None:
        try:
            for connections in self.connections:
                connections.close_all()
        finally:
            for server in self.servers:
                server.signal_sessions(signal.SIGCONT)
                server.stop()


def public(key: Path) -> str:
    """The public line of a key file, without its comment."""
    return " ".join(key.with_name(key.name + ".pub").read_text().split()[:2])


@pytest.fixture(scope="session")
def ssh_keys(tmp_path_factory) -> dict[str, Path]:
    """Key pairs by name; `locked` has the passphrase `secret`."""
    folder = tmp_path_factory.mktemp("keys")
    kinds = {
        "user": "ed25519",
        "user-rsa": "rsa",
        "locked": "ed25519",
        "host-ed25519": "ed25519",
        "host-new": "ed25519",
        "host-ecdsa": "ecdsa",
        "host-rsa": "rsa",
    }
    for name, kind in kinds.items():
        bits = ["-b", "2048"] if kind == "rsa" else []  # making a longer one takes a second
        passphrase = "secret" if name == "locked" else ""
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, *bits, "-N", passphrase, "-C", name, "-f", str(folder / name)], check=True
        )
    return {name: folder / name for name in kinds}


@pytest.fixture
def carrier():
    """What carries the commands of a site. Where a module says `CARRIERS`, each of its tests has each of these."""
    return "auto"


def pytest_generate_tests(metafunc):
    """Run the tests of a module that names carriers with each, but those that name their own."""
    own = any("carrier" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if hasattr(metafunc.module, "CARRIERS") and "site" in metafunc.fixturenames and not own:
        metafunc.parametrize("carrier", metafunc.module.CARRIERS)


@pytest.fixture
def site(tmp_path, ssh_keys, monkeypatch, carrier):
    """Servers for one test. Nothing of the user's own takes part."""
    if os.geteuid() != 0 or not Path(SSHD).exists() or not all(map(shutil.which, ("unshare", "setpriv"))):
        pytest.skip("needs root, sshd and unshare")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    made = Site(tmp_path, ssh_keys)
    made.carrier = carrier
    try:
        yield made
    finally:
        made.close()


BOTH = ("fabric", "openssh")
FABRIC = pytest.mark.parametrize("carrier", ["fabric"])
"""For what is about Fabric alone."""
DEBUG = "LogLevel DEBUG1"
"""For servers whose steps a test looks at. Not for those that run commands: it gets into their outputs."""


def in_threads(count, work, *arguments):
    """Run `work` in that many threads at once and give the results in order; errors are raised."""
    with ThreadPoolExecutor(max_workers=count) as pool:
        return list(pool.map(work, *arguments))


@contextlib.contextmanager
def eager_threads():
    """Let threads change places as often as can be, which brings races out."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
