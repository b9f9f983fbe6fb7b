"""Hosts that each lack something, staged as it comes about, and what a person does with the lines of `doctor`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from nixhive_nb.lab import HostSpec
from tests.practice import start

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.practice import Practice

RELAY = "198.19.0.1"
_LATE = '#!/bin/sh\n/bin/sleep {before}\n/bin/date {options} "$@"\n/bin/sleep {behind}\n'
STAGED = {
    "asked": "echo 'deploy ALL=(ALL:ALL) ALL' >>/etc/sudoers",
    "untrusting": (
        "sed -i 's/^trusted-users.*/trusted-users = root/; "
        "s/^trusted-public-keys.*/trusted-public-keys = other-1:AAAA/' /etc/nix/nix.conf; kill $(cat /proc/*/stat | "
        "sed -n 's/^\\([0-9]*\\) (nix-daemon) .*/\\1/p'); sleep 0.2; NIX_REMOTE= setsid nix-daemon >/dev/null 2>&1 &"
    ),
    "walled": f"ip rule add to {RELAY} ipproto 6 dport 22 prohibit",
    "unrelayed": "sed -i 's/^substituters.*/substituters =/' /etc/nix/nix.conf",
    "keyless": "sed -i 's/^trusted-public-keys.*/trusted-public-keys = other-1:AAAA/' /etc/nix/nix.conf",
    "refusing": ": >/root/.ssh/authorized_keys",
    "certified": "echo 'TrustedUserCAKeys /etc/ssh/ca.pub' >>/etc/ssh/sshd_config; : >/root/.ssh/authorized_keys",
    "early": "cat >/usr/local/sbin/date && chmod 755 /usr/local/sbin/date",
    "slow": "cat >/usr/local/sbin/date && chmod 755 /usr/local/sbin/date",
    "bootless": "mount -t tmpfs -o size=64k tmpfs /boot",
    "strange": "",
    "stalled": "",
    "down": "",
    "foreign": "",
    "small": "",
}
"""What is done to each host by hand."""
_SPOILT = """
  for file in nix/nix.conf sudoers; do cp -p /etc/$file /etc/$file.before; done
  sed -i 's/^trusted-public-keys.*/trusted-public-keys = other-1:AAAA/' /etc/nix/nix.conf
  echo 'deploy ALL=(ALL:ALL) PASSWD: ALL' >>/etc/sudoers
  ip rule add to RELAY ipproto 6 dport 22 prohibit
  mount -t tmpfs -o size=64k tmpfs /boot
  cat >/usr/local/bin/date && chmod 755 /usr/local/bin/date
""".replace("RELAY", RELAY)
_MENDED = """
  for file in nix/nix.conf sudoers; do mv /etc/$file.before /etc/$file; done
  ip rule del to RELAY ipproto 6 dport 22 prohibit
  umount /boot
  rm /usr/local/bin/date
""".replace("RELAY", RELAY)
_DATES = {
    "early": _LATE.format(before=0, behind=0, options="-d '+1 hour'"),
    "slow": _LATE.format(before=3, behind=2, options=""),
}
_SPECS = {
    "asked": HostSpec("asked", "www", user="deploy", sudo=False),
    "untrusting": HostSpec("untrusting", "www", user="deploy"),
    "small": HostSpec("small", "www", disk="6M"),
}
NEWER = HostSpec("newer", "www", user="deploy", init="systemd", debian="trixie")
"""A host that lacks nothing: its login becomes root by sudo, and takes what is signed."""
_HIVE = """
let
  base = import ./default.nix;
  lab = import ./lab.nix;
  merged = one: other:
    if builtins.isAttrs one && builtins.isAttrs other then
      one // builtins.mapAttrs (name: value: if one ? ${{name}} then merged one.${{name}} value else value) other
    else
      other;
  inner = name: {{
    inherit name;
    value = {{
      system = "www";
      store = "ssh://portico";
      ssh = lab.instances.${{name}}.ssh // {{ ProxyJump = "portico"; }};
      inherit (lab.instances.${{name}}) hostKeys;
    }};
  }};
in
merged (merged (base // {{
  systems = base.systems // {{ arm = base.systems.www // {{ system = "aarch64-linux"; }}; }};
  instances = base.instances // builtins.listToAttrs (map inner [ {names} ]);
}}) {{
  instances.foreign.system = "arm";
  instances.strange.hostKeys = [ ];
  instances.stalled.ssh.ConnectTimeout = 4;
  instances.certified.ssh.IdentityFile = {identity};
}}) {{
{lines}
}}
"""


class Doctored:
    """The fleet, and its deployment."""

    def __init__(self, folder: Path, *, systemd: bool) -> None:
        """`systemd`: whether hosts that have one are among them."""
        self.well = ("www-2", NEWER.name) if systemd else ()
        specs = [_SPECS.get(name) or HostSpec(name, "www") for name in STAGED] + ([NEWER] if systemd else [])
        self.fleet: Practice = start(folder, web=1, systemd=int(systemd), specs=specs)
        self.lab = self.fleet.lab
        self.key = folder / "certified"
        self.ca = folder / "ca"
        self.lines: list[str] = []
        self.file = self.fleet.example / "doctored.nix"

    def stage(self) -> None:
        """Have each host lack what it is named after."""
        self._certify()
        for name, words in STAGED.items():
            if words:
                self.lab.exec(name, ["sh", "-c", words], text=_DATES.get(name, ""))
        for name in self.well:
            self.sh(name, "mount -t tmpfs -o size=48m tmpfs /boot")
        for name in self.well[1:]:
            words = "sed -i 's/^trusted-users.*/trusted-users = root/' /etc/nix/nix.conf"
            self.lab.exec(name, ["sh", "-c", words])
        self.write()
        built = self.nix_hive("build", "www", "portico", "depot")
        assert built.returncode == 0, built.stderr
        self.lab.stop_host("down")
        self.pause("stalled", signal.SIGSTOP)

    def closure(self, system: str) -> dict[str, int]:
        """Return the store paths of a system that was built, with the bytes of each."""
        rows = json.loads(self.nix_hive("systems", "--json").stdout)
        (path,) = [row["result"] for row in rows if row["system"] == system]

        def asked(*words: str) -> list[str]:
            argv = ["nix-store", "--query", *words]
            return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()

        paths = asked("--requisites", path)
        return dict(zip(paths, map(int, asked("--size", *paths)), strict=True))

    def sh(self, host: str, words: str, text: str = "") -> str:
        """Run shell words as root on a host."""
        return self.lab.exec(host, ["sh", "-ec", words], text=text).strip()

    @contextlib.contextmanager
    def spoilt(self, *hosts: str) -> Iterator[None]:
        """Have hosts lack several things at once for the time of the block."""
        for host in hosts:
            self.sh(host, _SPOILT, text=_LATE.format(before=0, behind=0, options="-d '-1 hour'"))
        try:
            yield
        finally:
            for host in hosts:
                self.sh(host, _MENDED)

    def pause(self, host: str, sign: signal.Signals) -> None:
        """Send a signal to the first process of a host, which is its sshd."""
        (pid,) = [one.pid for one in self.lab.status() if one.instance == host]
        os.kill(pid, sign)

    def write(self) -> None:
        """Write the deployment, with the lines that were added."""
        text = _HIVE.format(
            names=" ".join(json.dumps(name) for name in [*STAGED, *self.well[1:]]),
            identity=json.dumps(str(self.key)),
            lines="\n".join(f"  {line}" for line in self.lines),
        )
        self.file.write_text(text)

    def nix_hive(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.fleet.nix_hive(command, "-c", "example/doctored.nix", *words)

    def doctor(self, *patterns: str) -> dict[str, dict]:
        """Return what `doctor` says of each instance, by name."""
        ended = self.nix_hive("doctor", "--json", *patterns)
        rows = json.loads(ended.stdout)
        assert ended.returncode == (0 if all(row["ok"] for row in rows) else 1), ended.stderr
        return {row["instance"]: row for row in rows}

    def _certify(self) -> None:
        """Make a key of its own whose certificate was valid until yesterday."""
        for key in (self.key, self.ca):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self.sign("-V", "-2d:-1d")
        self.lab.exec("certified", ["sh", "-c", "cat >/etc/ssh/ca.pub"], text=self.ca.with_suffix(".pub").read_text())

    def sign(self, *words: str) -> None:
        argv = ["ssh-keygen", "-q", "-s", self.ca, "-I", "root", "-n", "root", *words, f"{self.key}.pub"]
        subprocess.run(argv, check=True)

    def hup(self, host: str) -> None:
        """Have sshd read its configuration again."""
        self.lab.exec(host, ["sh", "-c", "kill -HUP $(cat /var/lib/sshd.pid)"])

    def add(self, host: str, lines: Sequence[str]) -> None:
        """Do what a person does with lines: to the configuration of the host, the deployment, or a shell."""
        kind, groups = "", {}
        for line in "\n".join(lines).splitlines():
            if line.startswith("# "):
                kind = line
            groups.setdefault(kind, []).append(line)
        for kind, own in groups.items():
            told = [line for line in own if not line.startswith("#")]
            if kind.startswith("# in the configuration of system"):
                self._configure(host, told)
            elif kind.startswith("# in the deployment"):
                self.lines += told
                self.write()

    def _configure(self, host: str, lines: Sequence[str]) -> None:
        """Make of lines of NixOS what NixOS makes of them: of those modules the practice hosts have no other."""
        argv = ["nix-instantiate", "--eval", "--strict", "--json", "-E", f"{{ {' '.join(lines)} }}"]
        options = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
        for name, values in options.pop("nix", {}).get("settings", {}).items():
            line = f"extra-{name} = {' '.join(values)}"
            self.lab.exec(host, ["sh", "-c", "cat >>/etc/nix/nix.conf"], text=f"{line}\n")
        for rule in options.pop("security", {}).get("sudo", {}).get("extraRules", []):
            for user in rule["users"]:
                (command,) = rule["commands"]
                line = f"{user} ALL=(ALL:ALL) {':'.join(command['options'])}: {command['command']}\n"
                self.lab.exec(host, ["sh", "-c", "cat >>/etc/sudoers"], text=line)
        for user, one in options.pop("users", {}).get("users", {}).items():
            home = "/root" if user == "root" else f"/home/{user}"
            keys = "\n".join([*one["openssh"]["authorizedKeys"]["keys"], ""])
            self.lab.exec(host, ["sh", "-c", f"cat >>{home}/.ssh/authorized_keys"], text=keys)
        assert options == {}
