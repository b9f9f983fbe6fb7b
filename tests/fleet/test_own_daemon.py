"""An operator whom the Nix of his own machine does not trust: a user of a real daemon, who is in no list."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nixhive_nb.lab import HostSpec
from tests.practice import start, with_leave
from tests.programs import versions

pytestmark = pytest.mark.fleet

USER = "nobody"
_UNTRUSTING = """
sed -i 's/^trusted-users.*/trusted-users = root/' /etc/nix/nix.conf
kill $(sed -n 's/^\\([0-9]*\\) (nix-daemon) .*/\\1/p' /proc/[0-9]*/stat)
rm -f /nix/var/nix/daemon-socket/socket
NIX_REMOTE= setsid nix-daemon >/dev/null 2>&1 </dev/null &
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A fleet whose host `www-2` does not trust the login, and takes what is signed."""
    one = start(tmp_path_factory.mktemp("fleet"), web=1, specs=[HostSpec("www-2", "www", user="deploy")])
    one.lab.exec("www-2", ["sh", "-c", _UNTRUSTING])
    yield one
    one.lab.down()


@pytest.fixture(scope="module")
def daemon():
    """The socket of a daemon of this machine that trusts root alone."""
    with tempfile.TemporaryDirectory(prefix="hive-") as folder:
        Path(folder).chmod(0o755)
        socket = Path(folder) / "socket"
        settings = f"{os.environ.get('NIX_CONFIG', '')}\ntrusted-users = root\nallowed-users = *\n"
        env = {**os.environ, "NIX_DAEMON_SOCKET_PATH": str(socket), "NIX_CONFIG": settings}
        one = subprocess.Popen(["nix-daemon"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not socket.exists():
            assert one.poll() is None, one.stdout.read()
        yield socket
        one.kill()
        one.wait()


@pytest.fixture
def operator(daemon):
    """Run `nix-hive` as a user who is nobody, and may only read what the tests have made."""
    with tempfile.TemporaryDirectory(prefix="hive-") as folder:
        home = Path(folder)
        shutil.chown(home, USER)

        def run(*words):
            may_read = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
            program = [sys.executable, "-m", "nixhive_nb", *with_leave(words)]
            return subprocess.run(
                ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", *may_read, *program],
                cwd=home,
                env={
                    "PATH": os.environ["PATH"], "HOME": folder, "XDG_STATE_HOME": f"{folder}/state",
                    "XDG_RUNTIME_DIR": folder, "NIX_REMOTE": "daemon", "NIX_DAEMON_SOCKET_PATH": str(daemon),
                    "PYTHONPATH": str(Path(__file__).parents[2]), "NO_COLOR": "1",
                },
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )  # fmt: skip

        yield run


def renew(fleet):
    """Have the system of the web servers be another one than before, so that nothing of it is signed."""
    page = fleet.example / "www.nix"
    name = secrets.token_hex(8)
    text = page.read_text().replace(
        "networking.hostName", f'environment.etc."{name}".text = "{name}";\n  networking.hostName', 1
    )
    assert name in text
    page.write_text(text)


def test_what_cannot_be_signed_here_is_signed_where_it_is_pushed(fleet, operator):
    """So it is with Nix 2.8; newer ones let everybody sign."""
    renew(fleet)
    ended = operator("deploy", "-c", str(fleet.example), "www-1")
    assert ended.returncode == 0, ended.stderr
    refused = (
        "sign:www: warned: Nix on this machine does not trust your user, so nothing is signed here" in ended.stderr
    )
    assert refused or "sign:www: done" in ended.stderr
    assert ("push:www>ssh://portico: done (from here, signed there)" in ended.stderr) == refused
    assert refused == (versions()["Nix"] == "2.8.0")
    assert "fetch:www-1: done (from relay)" in ended.stderr
    assert fleet.runs("www-1") == fleet.boots("www-1") != ""


def test_what_is_not_signed_goes_where_the_login_is_trusted_and_else_both_ways_out_are_named(fleet, operator):
    renew(fleet)
    page = fleet.example / "direct.nix"
    page.write_text(
        'let base = import ./default.nix; in removeAttrs base [ "signing" ] // { instances = builtins.mapAttrs '
        '(_: one: removeAttrs one [ "store" ]) base.instances; }'
    )
    ended = operator("deploy", "-c", str(page), "www-1", "www-2")
    assert "activate:www-1: done" in ended.stderr
    assert fleet.runs("www-1") == fleet.boots("www-1") != ""
    told = next(line for line in ended.stderr.splitlines() if "fetch:www-2: failed" in line)
    assert "signature" in told
    assert "Sign what is sent (signing.keyFile of the deployment" in told
    assert "or name the login user in trusted-users there" in told
