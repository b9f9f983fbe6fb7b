"""A practice fleet of three sites: a relay, its hosts, and a worker in a network of its own that reaches those alone.

This machine reaches the scheduler, and none of the hosts.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

from nixhive_nb.lab import HostSpec
from tests import warm
from tests.fleet.links import got_by
from tests.practice import give_own_packages, start
from tests.sshd import eventually
from tests.workers.cluster import Cluster, make_certificates

SITES = {"east": ("east-1", "east-2"), "west": ("west-1",), "south": ("south-1",)}
LEAVES = {leaf: relay for relay, leaves in SITES.items() for leaf in leaves}
HELD = 'system.activationScripts.held = "echo here >/var/here; if test -p /var/go; then read line </var/go; fi";'
HELD_FILES = "rm -f /var/here /var/go"
_HIVE = """
let
  lab = import ./lab.nix;
  host = name: store: {{ inherit store; system = "leaf"; inherit (lab.instances.${{name}}) ssh hostKeys; }};
in
{{
  paths.nixpkgs = lab.nixpkgs;
  signing.keyFile = lab.signingKeyFile;
  nix.build.flags = lab.buildFlags;
  systems.leaf.configuration = {{ pkgs, ... }}: {{
    environment.systemPackages = [ (pkgs.ballast {{ name = "ballast-{mark}"; kib = {kib}; }}) ];
    {script}
  }};
  instances = {{
    {instances}
  }};
}}
"""


class Sites:
    """The fleet, its networks, the scheduler and the workers."""

    def __init__(self, folder):
        specs = [HostSpec(name, "www") for name in SITES]
        specs += [HostSpec(name, "www", relay=relay) for name, relay in LEAVES.items()]
        self.fleet = start(folder, web=0, specs=specs)
        try:
            give_own_packages(self.fleet, folder)
            self.lab = self.fleet.lab
            self.number = int(re.search(r"\d+$", self.lab.link)[0])
            self.hosts = {status.instance: status for status in self.lab.status()}
            self.scheduler = f"10.99.{self.number}.1"
            _ip(f"addr add {self.scheduler}/32 dev lo")
            self.names = {name: self._network(at, name) for at, name in enumerate(SITES)}
            self._answer()
            self.cluster = Cluster(folder, make_certificates(folder / "tls"), host=self.scheduler)
        except BaseException:
            self.fleet.lab.down()
            raise

    def close(self):
        self.cluster.close()
        self.lab.down()
        _ip(f"addr del {self.scheduler}/32 dev lo")

    def address(self, host):
        return self.hosts[host].address

    def start_worker(self, name, *more, at=""):
        """Start one in the network of a site."""
        own = {"NIXHIVE_LOG": str(self.cluster.folder / f"{name}-own.log")}
        self.cluster.start_worker(name, *more, env=own, netns=self.names[at or name])

    def reaches(self, host, frm=""):
        """Return whether there is a way to a host from the worker of a site, or from here."""
        inside = ["-netns", self.names[frm]] if frm else []
        looked = subprocess.run(
            ["ip", *inside, "route", "get", self.address(host)], capture_output=True, check=False, text=True
        )
        return looked.returncode == 0

    @contextlib.contextmanager
    def near(self):
        """Have this machine reach all hosts, as it has to without workers."""
        hosts = [self.address(host) for host in (*SITES, *LEAVES)]
        _ip(*(f"route add {host}/32 via 198.18.{self.number}.2" for host in hosts))
        try:
            yield
        finally:
            _ip(*(f"route del {host}/32" for host in hosts))

    def write(self, *, kib=20, script="", more=None):
        """Write a deployment of a system that nobody has yet; `more` has what instances have beside the usual."""
        more = more or {}
        lines = [f'{name} = host "{name}" "";' for name in SITES]
        lines += [
            f'{leaf} = host "{leaf}" "ssh://{relay}" // {{ {more.get(leaf, "")} }};' for leaf, relay in LEAVES.items()
        ]
        text = _HIVE.format(mark=secrets.token_hex(4), kib=kib, script=script, instances="\n    ".join(lines))
        (self.fleet.example / "default.nix").write_text(text)

    def deploy(self, *words, on=True):
        return self.fleet.nix_hive("deploy", "-c", "example", *(self.cluster.on if on else ()), *words)

    def have_systems(self):
        """See that each host runs a system that it can go back to."""
        if not all("/nix/store/" in self.fleet.runs(leaf) for leaf in LEAVES):
            self.write()
            ended = self.deploy("*-*")
            assert ended.returncode == 0, ended.stderr

    def begin(self, *words):
        return self.fleet.begin("deploy", "-c", "example", *self.cluster.on, *words)

    def begin_aside(self, *words):
        """Deploy in a thread; return what waits for its end and gives it."""
        ended = []
        warm.command()  # its server ends with the thread that starts it
        thread = threading.Thread(target=lambda: ended.append(self.deploy(*words)))
        thread.start()

        def wait():
            thread.join(150)
            return ended[0]

        return wait

    def hold(self, *hosts):
        """Have the next activation on hosts wait in its middle; return what waits for that, and what lets it go on."""
        self.on(hosts, f"{HELD_FILES}; mkfifo /var/go")

        def here():
            def held():
                return all(self.written(host, "here") for host in hosts)

            eventually(held, "the middle of the activation", 60)

        def go_on():
            self.on(hosts, "echo >/var/go; rm /var/go")

        return here, go_on

    def on(self, hosts, script):
        """Run a script on hosts at once, and give what it prints."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda host: self.lab.exec(host, ["timeout", "60", "sh", "-c", script]), hosts))

    def written(self, host, name):
        """Return what a file in /var of a host holds, by what it is here: whoever waits for it looks often."""
        file = self.lab.root(host) / "var" / name
        return file.read_text() if file.exists() else ""

    def logins(self, hosts):
        return {host: self.written(host, "log/sshd.log").count("Accepted publickey") for host in hosts}

    def got(self, hosts):
        return got_by(self.fleet, hosts)

    def connected(self, hosts):
        """Return how many connections sshd of hosts has."""
        served = "cat /proc/net/tcp /proc/net/tcp6 | grep -c '^ *[0-9]*: [0-9A-F]*:0016 [0-9A-F:]* 01 ' || true"
        return sum(map(int, self.on(hosts, served)))

    def is_confirmed(self, *hosts):
        return all(self.fleet.runs(host) == self.fleet.boots(host) != "" for host in hosts)

    def outcomes(self):
        """Return how each instance of the last run has ended, as its report has it."""
        ended = self.fleet.nix_hive("report", "-c", "example", "--json")
        return {row["instance"]: row["outcome"] for row in json.loads(ended.stdout)["instances"]}

    def _network(self, at, name):
        """Make the network of a worker: a leg among the hosts, with a way to its own, and one to the scheduler."""
        inside = f"{self.lab.link}-worker-{name}"  # by its name it goes with the fleet
        gateway = self.hosts["portico"].netns
        near, far = (f"10.99.{self.number}.{4 * at + end}" for end in (5, 6))
        _ip(
            f"netns add {inside}",
            f"link add w{self.number}x{at} type veth peer name out netns {inside}",
            f"addr add {near}/30 dev w{self.number}x{at}",
            f"link set w{self.number}x{at} up",
        )
        _ip(f"link add w{at} master br0 type veth peer name hosts netns {inside}", f"link set w{at} up", inside=gateway)
        _ip(
            *("link set lo up", "link set out up", "link set hosts up"),
            *(f"addr add {far}/30 dev out", f"addr add 198.19.250.{at + 1}/32 dev hosts"),
            f"route add {self.scheduler}/32 via {near} src {far}",
            *(f"route add {self.address(host)}/32 dev hosts src 198.19.250.{at + 1}" for host in (name, *SITES[name])),
            inside=inside,
        )
        return inside

    def _answer(self):
        """Have packets of this machine pass the gateway, and hosts answer them."""
        forward = ["sysctl", "-qw", "net.ipv4.ip_forward=1"]
        subprocess.run(["ip", "netns", "exec", self.hosts["portico"].netns, *forward], check=True)
        for host in (*SITES, *LEAVES):
            _ip(f"route add 198.18.{self.number}.0/30 via 198.19.0.1", inside=self.hosts[host].netns)


def _ip(*commands, inside=""):
    argv = ["ip", *(("-netns", inside) if inside else ()), "-batch", "-"]
    subprocess.run(argv, input="\n".join([*commands, ""]), text=True, check=True)
