"""A fleet in which each host is reached in another way: by its sshd, key, way, login and shell."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.lab import HostSpec
from tests import ssh_keys
from tests.fleet.asked import given
from tests.fleet.pairs import Row, covering
from tests.practice import start
from tests.sshd import public

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.practice import Practice

ASKED = "sudo with password"
FACTORS = {
    "sshd": ("as it comes", "Ciphers", "MACs", "KexAlgorithms", "HostKeyAlgorithms"),
    "key": (
        "key file",
        "agent",
        "certificate beside the key",
        "CertificateFile",
        "certificate in the agent",
        "a hardware key's file first",
        "none",
    ),
    "way": ("direct", "ProxyJump", "two jumps", "ProxyCommand", "jump of ~/.ssh/config"),
    "root": (ASKED, "doas", "root", "sudo"),
    "shell": ("sh", "bash", "zsh", "fish", "tcsh", "bash that talks"),
}
NARROWED = {
    "as it comes": "",
    "Ciphers": "Ciphers chacha20-poly1305@openssh.com",
    "MACs": "Ciphers aes256-ctr\nMACs umac-128-etm@openssh.com",
    "KexAlgorithms": "KexAlgorithms sntrup761x25519-sha512@openssh.com",
    # What it shows is a certificate then.
    "HostKeyAlgorithms": (
        "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com\nHostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub"
    ),
}
"""What stands first in the sshd_config of a host."""
SHELLS = {"sh": "/bin/sh", "bash": "/bin/bash", "zsh": "/usr/bin/zsh", "fish": "/usr/bin/fish", "tcsh": "/usr/bin/tcsh"}
CERTIFIED = ("certificate beside the key", "CertificateFile", "certificate in the agent")
ROWS = covering(FACTORS)
_FEW = (
    ("as it comes", "key file", "ProxyJump", "sudo", "zsh"),
    ("Ciphers", "certificate beside the key", "two jumps", "root", "fish"),
    ("HostKeyAlgorithms", "a hardware key's file first", "ProxyCommand", "sudo", "tcsh"),
    ("as it comes", "certificate in the agent", "direct", "run0", "bash that talks"),
    ("KexAlgorithms", "agent", "ProxyJump", "root", "bash"),
    ("HostKeyAlgorithms", "CertificateFile", "jump of ~/.ssh/config", "run0", "sh"),
)
REAL_ROWS = [dict(zip(FACTORS, values, strict=True)) for values in _FEW]
"""The rows of hosts with systemd: the first three have 252, the others 257."""
REAL_KINDS = ("systemd 252",) * 3 + ("systemd 257",) * 3
BEYOND_FABRIC = ("Ciphers", "MACs", "KexAlgorithms")
"""What Fabric has no algorithm for."""
_POLKIT = """\
polkit.addRule(function(action, subject) {
  if (action.id == "org.freedesktop.systemd1.manage-units" && subject.user == "deploy") return polkit.Result.YES;
});
"""
_TALKS = "echo out of the start-up file\necho and on the other stream >&2\n"
_FIRST_PORT = 2300
# As the doas of NixOS has it: its own would find the programs of this machine first.
_PATH = "/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HIVE = """
let
  lab = import ./lab.nix;
  ssh = name: removeAttrs lab.instances.${{name}}.ssh [ "IdentityFile" "IdentitiesOnly" ];
in
{{
  paths.nixpkgs = lab.nixpkgs;
  signing.keyFile = lab.signingKeyFile;
  nix.build.flags = lab.buildFlags;
  systems.portico.configuration = import ./portico.nix;
  systems.row.configuration = {{ ... }}: {{ environment.etc.row.text = "1"; }};
  instances = {{
    portico = {{ system = "portico"; inherit (lab.instances.portico) ssh hostKeys; }};
    depot = {{
      system = "row";
      ssh = lab.instances.depot.ssh // {{ ProxyJump = "portico"; }};
      inherit (lab.instances.depot) hostKeys;
    }};
    {instances}
  }};
}}
"""


def named(row: Row) -> str:
    """Return what a row is called."""
    return ", ".join(row.values())


class Matrix:
    """The fleet: `row-N` is the host of the row N."""

    def __init__(self, fleet: Practice, rows: Sequence[Row], keys: Path, port_of: str, *, reload: str) -> None:
        """`keys`: where ours are. `port_of`: the address at which ports lead to hosts directly.

        `reload`: what has sshd of a host read its configuration anew.
        """
        self._reload = reload
        self.fleet = fleet
        self.rows = {f"row-{number}": row for number, row in enumerate(rows, 1)}
        self.lab = fleet.lab
        self._keys = keys
        self.secret = secrets.token_hex(12)
        """What sudo asks for, where it does."""
        self._port_of = port_of
        self._statuses = {status.instance: status for status in self.lab.status()}

    def prepare(self) -> None:
        """Make the keys, and each host what its row says."""
        for name in ("ca", "certified", "named"):
            ssh_keys.make(self._keys / name)
        words = ("-n", "root,deploy", "-V", "+1d")
        ssh_keys.sign(self._keys / "ca", self._keys / "certified", *words)
        ssh_keys.sign(self._keys / "ca", self._keys / "named", *words, to=self._keys / "elsewhere.pub")
        ssh_keys.stub(self._keys / "id_ed25519_sk")
        own = self.fleet.folder / ".ssh"
        own.mkdir(mode=0o700)
        theirs = [name for name, row in self.rows.items() if row["way"] == "jump of ~/.ssh/config"]
        (own / "config").write_text(f"Host {' '.join(theirs)}\n  ProxyJump portico\n")
        known = self._keys / "known"
        known.write_text(f"{self._port_of} {self._statuses['portico'].host_key}\n")
        for name, row in self.rows.items():
            self._dress(name, row)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: self.lab.exec(name, ["sh", "-c", self._reload]), self.rows))
        instances = "\n".join(self._instance(name, row) for name, row in self.rows.items())
        (self.fleet.example / "matrix.nix").write_text(_HIVE.format(instances=instances))

    def _dress(self, name: str, row: Row) -> None:
        root, user = self.lab.root(name), self._statuses[name].user
        etc, home = root / "etc", root / ("root" if user == "root" else f"home/{user}")
        sshd = etc / "ssh" / "sshd_config"
        first = [NARROWED[row["sshd"]]]
        key = etc / "ssh" / "ssh_host_ed25519_key"
        if row["sshd"] == "HostKeyAlgorithms":
            ssh_keys.sign(self._keys / "ca", key, "-h", "-n", f"{self._statuses[name].address},{self._port_of}")
        if row["key"] in CERTIFIED:
            (etc / "ssh" / "ca.pub").write_text(public(self._keys / "ca") + "\n")
            first.append("TrustedUserCAKeys /etc/ssh/ca.pub")
        if row["key"] in (*CERTIFIED, "none"):
            (home / ".ssh" / "authorized_keys").write_text("")
        if row["key"] == "none":
            first.append("PermitRootLogin yes\nPermitEmptyPasswords yes\nPasswordAuthentication yes")
            shadow = etc / "shadow"
            shadow.write_text("".join(_emptied(line, user) for line in shadow.read_text().splitlines(keepends=True)))
        sshd.write_text("\n".join([*first, sshd.read_text()]))
        shell = SHELLS[row["shell"].partition(" ")[0]]
        passwd = etc / "passwd"
        passwd.write_text(
            "".join(
                f"{line.rpartition(':')[0]}:{shell}\n" if line.startswith(f"{user}:") else f"{line}\n"
                for line in passwd.read_text().splitlines()
            )
        )
        (etc / "shells").write_text("".join(f"{one}\n" for one in SHELLS.values()))
        if row["shell"] == "bash that talks":
            (home / ".bashrc").write_text(_TALKS)
            (home / ".bashrc").chmod(0o644)
        if row["root"] == ASKED:
            self._have_asked(etc, user, has_none=row["key"] == "none")
        if row["root"] == "run0":
            rules = etc / "polkit-1" / "rules.d"
            rules.mkdir(parents=True, exist_ok=True)
            (rules / "50-deploy.rules").write_text(_POLKIT)
        if row["root"] == "doas":
            (etc / "doas.conf").write_text(f"permit nopass setenv {{ PATH={_PATH} }} {user} as root\n")
            (etc / "doas.conf").chmod(0o644)

    def _have_asked(self, etc: Path, user: str, *, has_none: bool) -> None:
        """Have sudo ask for a password: that of the login, or of root where the login logs in by having none."""
        whose = "root" if has_none else user
        shadow, sudoers = etc / "shadow", etc / "sudoers"
        lines = shadow.read_text().splitlines(keepends=True)
        shadow.write_text("".join(_with_password(line, whose, self._hashed) for line in lines))
        rootpw = "Defaults rootpw\n" if has_none else ""
        sudoers.write_text(f"{sudoers.read_text()}{rootpw}{user} ALL=(ALL:ALL) ALL\n")

    @functools.cached_property
    def _hashed(self) -> str:
        argv = ["openssl", "passwd", "-6", "-stdin"]
        return subprocess.run(argv, input=f"{self.secret}\n", capture_output=True, text=True, check=True).stdout.strip()

    def _instance(self, name: str, row: Row) -> str:
        ssh = [f"IdentityFile = {self._identities(row)};"]
        ssh.append("IdentitiesOnly = false;" if "agent" in row["key"] else "IdentitiesOnly = true;")
        agents = {"agent": "agent", "certificate in the agent": "certified-agent"}
        ssh.append(f'IdentityAgent = "{self._keys / agents[row["key"]] if row["key"] in agents else "none"}";')
        if row["key"] == "CertificateFile":
            ssh.append(f'CertificateFile = "{self._keys}/elsewhere.pub";')
        number = int(name.removeprefix("row-"))
        by = f"ssh -F none -i {self.lab.identity} -o BatchMode=yes -o UserKnownHostsFile={self._keys}/known"
        ssh.append(
            {
                "direct": f'Hostname = "{self._port_of}"; Port = {_FIRST_PORT + number};',
                "ProxyJump": 'ProxyJump = "portico";',
                "two jumps": 'ProxyJump = "portico,depot";',
                "ProxyCommand": f'ProxyCommand = "{by} -W %h:%p root@{self._port_of}";',
                "jump of ~/.ssh/config": "",
            }[row["way"]]
        )
        keys = f"inherit (lab.instances.{name}) hostKeys;"
        if row["sshd"] == "HostKeyAlgorithms":
            keys = f'hostCAs = [ "{public(self._keys / "ca")}" ];'
        elevate = f'elevate = "{row["root"].partition(" ")[0]}";' if row["root"] != "root" else ""
        return (
            f'{name} = {{ tags = [ "rows" ]; system = "row"; store = "ssh://portico"; {keys} {elevate} '
            f'ssh = ssh "{name}" // {{ {" ".join(ssh)} }}; }};'
        )

    def _identities(self, row: Row) -> str:
        files = {
            "key file": [self.lab.identity],
            "certificate beside the key": [self._keys / "certified"],
            "CertificateFile": [self._keys / "named"],
            "a hardware key's file first": [self._keys / "id_ed25519_sk", self.lab.identity],
        }.get(row["key"], ["none"])
        return f"[ {' '.join(json.dumps(str(file)) for file in files)} ]"

    def ports(self) -> list[str]:
        """Return the words for `relay_port`."""
        direct = [name for name, row in self.rows.items() if row["way"] == "direct"]
        return [f"{_FIRST_PORT + int(name.removeprefix('row-'))}:{self._statuses[name].address}" for name in direct]

    def nix_hive(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.fleet.nix_hive(command, "-c", "example/matrix.nix", *words)

    def given(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command that becomes root, with the password."""
        return given(self.fleet, self.secret, command, "-c", "example/matrix.nix", *words)

    def configuration(self) -> Path:
        """Write what OpenSSH is to read, and return where that is."""
        said = self.nix_hive("ssh-config")
        assert said.returncode == 0, said.stderr
        config = self.fleet.folder / "ssh-config"
        config.write_text(said.stdout)
        return config

    def by_ssh(self, config: Path) -> dict[str, str]:
        """Return what OpenSSH with this configuration says of each host; empty for one that it reaches."""

        def reach(name: str) -> str:
            argv = ["ssh", "-F", str(config), "-o", "BatchMode=yes", name, "true"]
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
            )
            return done.stderr.strip() or f"status {done.returncode}" if done.returncode else ""

        with ThreadPoolExecutor(4) as pool:
            return dict(zip(self.rows, pool.map(reach, self.rows), strict=True))


def _emptied(line: str, user: str) -> str:
    return _with_password(line, user, "")


def _with_password(line: str, user: str, hashed: str) -> str:
    name, _, *rest = line.split(":")
    return ":".join([name, hashed, *rest]) if name == user else line


def _spec(number: int, row: Row, kind: str | None) -> HostSpec:
    name, user, sudo = f"row-{number}", "root" if row["root"] == "root" else "deploy", row["root"] == "sudo"
    if kind is None:
        return HostSpec(name, "www", user=user, sudo=sudo)
    return HostSpec(
        name, "www", user=user, sudo=sudo, init="systemd", debian="trixie" if kind.endswith("257") else "bookworm"
    )


@contextlib.contextmanager
def matrix(folder: Path, rows: Sequence[Row] = ROWS, kinds: Sequence[str] = ()) -> Iterator[Matrix]:
    """Bring the fleet up, with what the ways to it need. Home is the folder that it works in.

    `kinds`: which systemd each host has; by default none has any.
    """
    specs = [_spec(number, row, kind) for number, (row, kind) in enumerate(zip_longest(rows, kinds), 1)]
    fleet = start(folder, web=0, specs=specs)
    keys = folder / "matrix-keys"
    keys.mkdir(mode=0o700)
    (portico,) = [status for status in fleet.lab.status() if status.instance == "portico"]
    before = os.environ.get("HOME")
    os.environ["HOME"] = str(folder)
    try:
        one = Matrix(fleet, rows, keys, portico.address, reload="systemctl restart ssh" if kinds else "kill -HUP 1")
        one.prepare()
        with contextlib.ExitStack() as stack:
            stack.enter_context(ssh_keys.agent(keys / "agent", fleet.lab.identity))
            stack.enter_context(ssh_keys.agent(keys / "certified-agent", keys / "certified"))
            lead = [sys.executable, str(Path(__file__).with_name("relay_port.py")), *one.ports()]
            leading = subprocess.Popen(["ip", "netns", "exec", portico.netns, *lead], stdout=subprocess.PIPE, text=True)
            stack.callback(leading.wait)
            stack.callback(leading.kill)
            assert leading.stdout is not None
            assert leading.stdout.readline() == "ready\n"
            yield one
    finally:
        if before is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = before
        fleet.lab.down()
