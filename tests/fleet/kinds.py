"""A fleet with web servers of each kind of practice host, and what the tests on it do with them by hand."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from nixhive_nb.lab import HostSpec
from tests.fleet.faults import saw
from tests.practice import start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.practice import Practice

KINDS = {"www-1": "light", "www-2": "systemd 252", "www-3": "systemd 257"}
"""Each host, and what kind it is. They have one system, so that what they are told to run is built once."""
HOSTS = tuple(KINDS)
REAL = ("www-2", "www-3")
BOOT = "/boot/extlinux/extlinux.conf"
LOCK = "/run/nixos/switch-to-configuration.lock"
WORDS = ("--confirm", "5", "--batch", "3")
PROFILE = "/nix/var/nix/profiles/system"
_MARK = "networking.hostName"
_numbers = itertools.count()


class Kinds:
    """The fleet, with the system of its web servers."""

    def __init__(self, fleet: Practice, base: str) -> None:
        """`base`: options of the system that the hosts run before each test."""
        self.fleet = fleet
        self.lab = fleet.lab
        page = fleet.example / "www.nix"
        page.write_text(page.read_text().replace(_MARK, f"{base}\n  {_MARK}", 1))
        self._files = {page: page.read_text(), fleet.example / "default.nix": ""}
        self._members = fleet.example / "default.nix"
        self._files[self._members] = self._members.read_text()
        self._page = page
        ended = self.deploy(*HOSTS)
        assert ended.returncode == 0, ended.stderr
        self.base = fleet.runs("www-1")

    def change(self, options: str = "", checks: str = "", swap: tuple[str, str] = ("", "")) -> str:
        """Change the system of all hosts by options and a mark of its own, one text by another, and what is checked.

        Give the mark.
        """
        mark = f"change {next(_numbers)}"
        own = f'environment.etc."change".text = "{mark}"; {options}'
        self._page.write_text(self._files[self._page].replace(*swap).replace(_MARK, f"{own}\n  {_MARK}", 1))
        member = 'inner name "www" [ "web" ]'
        self._members.write_text(self._files[self._members].replace(member, f"{member} // {{ {checks} }}", 1))
        return mark

    def unchange(self) -> None:
        """Want again what the hosts run before each test."""
        for file, text in self._files.items():
            file.write_text(text)

    def deploy(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.fleet.nix_hive("deploy", "-c", "example", *WORDS, *words)

    def fails(self, *words: str) -> str:
        """Deploy, which must fail and leave the hosts as they were; give what was said."""
        before = self.boots()
        ended = self.deploy(*words)
        assert ended.returncode == 1
        assert self.boots() == before
        return ended.stderr

    def begin(self, *words: str, cold: bool = False) -> subprocess.Popen[str]:
        return self.fleet.begin("deploy", "-c", "example", *WORDS, *words, cold=cold)

    def on(self, hosts: Sequence[str], script: str) -> list[str]:
        """Run a script as root on hosts, at the same time, and give what it prints."""
        with ThreadPoolExecutor() as pool:
            return list(
                pool.map(lambda host: self.lab.exec(host, ["timeout", "30", "sh", "-c", script]).strip(), hosts)
            )

    def state(self, *hosts: str) -> dict[str, str]:
        """Return what `status` calls each of them."""
        ended = self.fleet.nix_hive("status", "-c", "example", *hosts, "--json")
        return {row["instance"]: row["state"] for row in json.loads(ended.stdout)}

    def boots(self, *hosts: str) -> list[tuple[str, str, str]]:
        """Return what each of them runs, and what profile and boot loader start next."""
        loads = f"sed -n 's|^ *APPEND init=\\(.*\\)/init$|\\1|p' {BOOT}"
        script = f"readlink -f /run/current-system; readlink -f {PROFILE}; {loads}"
        return [tuple(said.split()) for said in self.on(hosts or HOSTS, script)]

    def mend(self) -> None:
        """Have all hosts run what they ran at first, as somebody does by hand."""
        self.unchange()
        # A machine where many hosts with systemd run has no more inotify instances for some of its own units.
        switch = f"{{ NIXOS_NO_CHECK=1 {self.base}/bin/switch-to-configuration switch || test $? = 4; }}"
        clear = "rm -rf /var/die /var/refuse /var/here /var/go /run/wrappers/bin/timeout"
        self.on(HOSTS, f"{clear}; nix-env -p {PROFILE} --set {self.base} && {switch} && rm -f /run/nixhive/unclean")


@contextlib.contextmanager
def up(folder: Path, base: str) -> Iterator[Kinds]:
    """Bring it up."""
    spec = HostSpec("www-3", "www", init="systemd", debian="trixie")
    one = start(folder, web=1, systemd=1, specs=[spec])
    try:
        yield Kinds(one, base)
    finally:
        one.lab.down()


def told(said: str, fault: str, *words: str, hosts: Sequence[str] = HOSTS) -> None:
    """Say that these words are told of each of these hosts, and have that in the page of what was seen."""
    for host in hosts:
        line = seen(said, host)
        assert [word for word in words if word not in line] == [], line
        saw(fault, line, KINDS[host])


def seen(said: str, host: str) -> str:
    """Return how a host ended by the report in a terminal, where several may have ended for one reason."""
    (row,) = re.findall(rf"^{host}  .*$", said, re.MULTILINE)
    outcome = re.split(r"\s{2,}", row)[1]
    reasons = re.findall(rf"^{host}(?: and \d+ more)?: (.*)$", said, re.MULTILINE) or re.findall(
        r"^[\w-]+ and \d+ more: (.*)$", said, re.MULTILINE
    )
    return f"{host}: {outcome}{f': {reasons[0]}' if reasons and outcome[0] not in '✓=' else ''}"
