"""A practice fleet whose hosts have a real systemd, each with a system that a test can change by itself."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from nixhive_nb.lab import HostSpec
from tests.practice import Practice, start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

BOOKWORM = "systemd 252"
TRIXIE = "systemd 257"
EACH = "own"
"""The tag of all hosts but the jump host: they are deployed side by side."""

_HIVE = """
let
  lab = import ./lab.nix;
  module = own: options: {{ ... }}: {{ imports = [ (import ./base.nix own) options ]; }};
in
{{
  paths.nixpkgs = lab.nixpkgs;
  signing.keyFile = lab.signingKeyFile;
  nix.build.flags = lab.buildFlags;
  systems.base.configuration = module "" {{ }};
  {systems}
  instances = {{
    {instances}
  }};
}}
"""
# `own` is the name of a host with a system of its own.
_BASE = """
own:
{{ pkgs, lib, ... }}:
{{
  environment.etc.base.text = "{mark}";
  {options}
}}
"""


class OwnSystems:
    """The hosts beside the jump host. All have one system, `base`, until a test gives some of them their own."""

    def __init__(self, practice: Practice, names: Iterable[str], confirm: int) -> None:
        self.practice = practice
        self.lab = practice.lab
        self.names = tuple(names)
        self._confirm = str(confirm)
        self.mark = 0
        self.base = ""
        self.carrier = "auto"
        """What carries the commands of all of them."""
        self.store = ""
        """What they fetch their systems from; empty where these come from here."""

    def write(self, changes: Mapping[str, str] | None = None, checks: Mapping[str, str] | None = None) -> None:
        """Write the deployment: the options that some hosts have beside the common ones, and their checks."""
        changes, checks = changes or {}, checks or {}
        (self.practice.example / "base.nix").write_text(_BASE.format(mark=self.mark, options=self.base))
        systems = [
            f'systems.{name}.configuration = module "{name}" ({{ pkgs, lib, ... }}: {{ '
            f'environment.etc.own.text = "{name}"; {options} }});'
            for name, options in changes.items()
        ]
        store = f'store = "{self.store}"; ' if self.store else ""
        instances = [
            f'{name} = {{ tags = [ "own" ]; system = "{name if name in changes else "base"}"; '
            f'ssh = lab.instances.{name}.ssh // {{ ProxyJump = "portico"; }}; '
            f'carrier = "{self.carrier}"; {store}'
            f"hostKeys = lab.instances.{name}.hostKeys; checks = {{ {checks.get(name, '')} }}; }};"
            for name in self.names
        ]
        # It runs what it is, and is deployed to by nobody.
        jump = 'portico = { system = "base"; inherit (lab.instances.portico) ssh hostKeys; };'
        text = _HIVE.format(systems="\n  ".join(systems), instances="\n    ".join([jump, *instances]))
        (self.practice.example / "own.nix").write_text(text)

    def deploy(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Deploy to the hosts that are named, or to all of them side by side."""
        hosts = () if any(word in self.names for word in words) else (EACH,)
        return self.nix_hive("deploy", "--confirm", self._confirm, *words, *hosts)

    def nix_hive(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.practice.nix_hive(command, "-c", "example/own.nix", *words)

    def begin(self, command: str, *words: str, cold: bool = False) -> subprocess.Popen[str]:
        return self.practice.begin(command, "-c", "example/own.nix", *words, cold=cold)

    def settle(self, *hosts: str) -> None:
        """Have hosts, or all of them, run and boot what all have in common."""
        self.write()
        ended = self.deploy("--wait", "60", *hosts)
        assert ended.returncode == 0, ended.stderr

    def sh(self, host: str, words: str) -> str:
        """Run shell words as root on a host."""
        return self.lab.exec(host, ["sh", "-c", words])

    def stands(self, host: str) -> tuple[str, str, str]:
        """Return what a host runs, what its profile says, and what its boot loader starts."""
        loads = "sed -n 's|^ *APPEND init=\\(/nix/[^ ]*\\)/init.*|\\1|p' /boot/extlinux/extlinux.conf 2>/dev/null"
        runs, boots, *loaded = self.sh(
            host, f"readlink -f /run/current-system; readlink -f /nix/var/nix/profiles/system; {loads} | head -n 1"
        ).split()
        return runs, boots, loaded[0] if loaded else ""


@contextlib.contextmanager
def own_systems(
    folder: Path, specs: Mapping[str, HostSpec | None], *, base: str = "", confirm: int = 8
) -> Iterator[OwnSystems]:
    """Bring up a fleet with hosts of these names, and nothing deployed to it yet, for as long as it is needed."""
    wanted = [spec or HostSpec(name, "www", init="systemd") for name, spec in specs.items()]
    own = OwnSystems(start(folder, web=0, specs=wanted), specs, confirm)
    try:
        own.base = base
        own.write()
        yield own
    finally:
        own.lab.down()
