"""Relays of relays on practice hosts: three levels and thirty leaves, bytes as the interfaces count them."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import subprocess
import sys
from collections import Counter

import pytest

from nixhive_nb.lab import HostSpec
from nixhive_nb.nix import commands
from nixhive_nb.util import process
from tests.fleet.faults import saw
from tests.fleet.links import got_by, slow_to
from tests.practice import give_own_packages, start
from tests.sshd import eventually

pytestmark = pytest.mark.fleet

MIDDLE = ("mid-1", "mid-2", "mid-3")
LEAVES = {f"leaf-{number}": MIDDLE[number % len(MIDDLE)] for number in range(30)}
SOME = tuple(name for name in LEAVES if len(name) == len("leaf-0"))
KIB = 1500
AN_INSTANCE = 8_000
A_LOGIN = 40_000
"""Bytes that a relay itself is asked with by the operator: a login, our scripts."""

_HIVE = """
let
  lab = import ./lab.nix;
  host = name: store: {{
    inherit store;
    system = "leaf";
    ssh = lab.instances.${{name}}.ssh // (if name == "portico" then {{ }} else {{ ProxyJump = "portico"; }});
    hostKeys = lab.instances.${{name}}.hostKeys;
  }};
in
{{
  paths.nixpkgs = lab.nixpkgs;
  signing.keyFile = lab.signingKeyFile;
  nix.build.flags = lab.buildFlags;
  systems.leaf.configuration = {{ pkgs, ... }}: {{
    environment.systemPackages = [ (pkgs.ballast {{ name = "ballast-{mark}"; kib = {kib}; }}) ];
  }};
  instances = {{
    portico = host "portico" "";
    {instances}
  }};
}}
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    specs = [HostSpec(name, "www") for name in MIDDLE]
    specs += [HostSpec(name, "www", relay=relay) for name, relay in LEAVES.items()]
    one = start(folder, web=0, specs=specs)
    give_own_packages(one, folder)
    yield one
    one.lab.down()


@pytest.fixture
def system(fleet):
    """Write the deployment with a system that nobody has yet; give the paths of it, with their sizes."""
    instances = [f'{name} = host "{name}" "ssh://portico";' for name in MIDDLE]
    instances += [f'{name} = host "{name}" "ssh://{relay}";' for name, relay in LEAVES.items()]
    text = _HIVE.format(mark=secrets.token_hex(4), kib=KIB, instances="\n    ".join(instances))
    (fleet.example / "default.nix").write_text(text)
    ended = fleet.nix_hive("build", "-c", "example")
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)["systems"]["leaf"]["result"]
    paths = process.run(commands.closure(result)).stdout.split()
    return dict(zip(paths, map(int, process.run(commands.sizes(paths)).stdout.split()), strict=True))


_COUNTER = """
import signal, socket, sys
heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
heard.setsockopt(socket.SOL_SOCKET, 33, 1 << 27)  # SO_RCVBUFFORCE: none is missed where the machine is busy
source, total = socket.inet_aton(sys.argv[1]), 0
print("listens", flush=True)
def end(*_):
    print(total, flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
while True:
    frame = heard.recv(1 << 17)
    if frame[26:30] == source:
        total += len(frame)
"""


@contextlib.contextmanager
def counted(fleet, relays):
    """Count in the block what comes to hosts from their relays, and from nobody else; give the bytes at its end."""
    where = {status.instance: status for status in fleet.lab.status()}
    counters, totals = {}, {}
    for name, relay in relays.items():
        address = fleet.lab.exec(name, ["sh", "-c", f"getent hosts {relay} | cut -d' ' -f1"]).strip()
        argv = ["ip", "netns", "exec", where[name].netns, sys.executable, "-c", _COUNTER, address]
        counters[name] = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert counters[name].stdout.readline() == "listens\n"
    try:
        yield totals
    finally:
        for name, counter in counters.items():
            counter.terminate()
            totals[name] = int(counter.communicate()[0])


def test_each_edge_of_the_tree_carries_the_content_once(fleet, system):
    content = sum(system.values())
    before, sent = got_by(fleet, LEAVES), fleet.link_bytes()
    with counted(fleet, dict.fromkeys(MIDDLE, "portico")) as edges:
        ended = fleet.nix_hive("push", "-c", "example", "leaf-*")
    assert ended.returncode == 0, ended.stderr
    edges |= {name: now - before[name] for name, now in got_by(fleet, LEAVES).items()}
    # What goes to the others from here passes the top relay, which is their jump host.
    top = fleet.link_bytes() - sent
    asked = A_LOGIN * (1 + len(MIDDLE) + len(LEAVES))
    assert content <= top <= 1.02 * content + asked
    below = Counter(LEAVES.values())
    for name, edge in edges.items():
        most = 1.02 * content + AN_INSTANCE * below.get(name, 1) + A_LOGIN
        assert content <= edge <= most, (name, edge, content)
    for name in MIDDLE:
        assert f"push:leaf>ssh://{name}: done (from ssh://portico)" in ended.stderr
    assert len(re.findall(r"fetch:leaf-\d+: done \(from relay\)", ended.stderr)) == len(LEAVES)


def test_the_leaves_of_a_relay_that_is_down_are_skipped_and_the_rest_is_deployed(fleet, system):
    fleet.lab.stop_host("mid-1")
    try:
        ended = fleet.nix_hive("push", "-c", "example", "leaf-*")
    finally:
        fleet.lab.start_host("mid-1")
    assert ended.returncode == 1, ended.stderr
    below = [name for name, relay in LEAVES.items() if relay == "mid-1"]
    for name in LEAVES:
        assert (f"fetch:{name}: done (from relay)" in ended.stderr) == (name not in below)
    assert re.search(r"push:leaf>ssh://mid-1: .*failed", ended.stderr)
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("push:leaf>ssh://mid-1: failed")]
    # It is told in one of two ways, by who gives up first.
    saw("a relay below another one is down", f"{line.partition(' (')[0]} …")
    again = fleet.nix_hive("deploy", "-c", "example", "--resume")
    assert again.returncode == 0, again.stderr
    for name in below:
        assert f"fetch:{name}: done (from relay)" in again.stderr
    assert len(re.findall(r"fetch:leaf-\d+: done", again.stderr)) == len(below)


@pytest.mark.parametrize(
    ("killed", "reader", "lost"),
    [
        ("portico", "portico", [*MIDDLE, *SOME]),
        ("mid-1", "mid-1", [name for name in SOME if LEAVES[name] == "mid-1"]),
        # It serves its leaves: what it has not given them comes from here.
        ("mid-1", "leaf-3", []),
    ],
    ids=["the top one", "one in the middle", "one that serves its leaves"],
)
def test_a_relay_that_is_killed_in_the_middle_of_a_copy_costs_what_is_below_it(fleet, system, killed, reader, lost):
    """Each level; everything ends once, and `--resume` brings what is left, over the tree again."""
    begun = got_by(fleet, [reader])[reader]
    with slow_to(fleet, reader, "1mbit" if reader == "portico" else "400kbit"):
        process = fleet.begin("push", "-c", "example", "--stall-timeout", "10", "leaf-?", "mid-*")
        eventually(lambda: got_by(fleet, [reader])[reader] - begun > 300 * KIB, "the middle of the copy", 60)
        fleet.lab.stop_host(killed)
    said = process.communicate(timeout=240)[1]
    fleet.lab.start_host(killed)
    assert process.returncode == bool(lost), said
    ended = Counter(re.findall(r"^fetch:(\S+): (?:done|failed|skipped)", said, re.MULTILINE))
    assert set(ended.values()) == {1}, said
    for name in lost:
        assert not re.search(f"^fetch:{name}: done", said, re.MULTILINE), said
    again = fleet.nix_hive("deploy", "-c", "example", "--resume")
    assert again.returncode == 0, again.stderr
    wanted = next(path for path in system if "-nixos-system-" in path)
    lack = [
        name
        for name in SOME
        if fleet.lab.exec(name, ["sh", "-c", f"nix-store --check-validity --print-invalid {wanted}"])
    ]
    assert lack == []


def test_with_reroute_they_read_from_the_relay_above(fleet, system):
    """Those that may reach it, and know its key."""
    below = [name for name, relay in LEAVES.items() if relay == "mid-1"]
    knows, stranger = below[0], below[1]
    access = "cat /root/.ssh/portico >>/root/.ssh/config; cat /root/.ssh/portico-key >>/root/.ssh/known_hosts"
    lines = fleet.lab.exec("mid-2", ["cat", "/root/.ssh/config"])
    key = fleet.lab.exec("mid-2", ["cat", "/root/.ssh/known_hosts"])
    write = "cat >/root/.ssh/portico"
    fleet.lab.exec(knows, ["sh", "-c", write], text=lines)
    fleet.lab.exec(knows, ["sh", "-c", "cat >/root/.ssh/portico-key"], text=key)
    fleet.lab.exec(knows, ["sh", "-c", access])
    fleet.lab.stop_host("mid-1")
    try:
        ended = fleet.nix_hive("push", "-c", "example", knows, stranger, "--reroute")
    finally:
        fleet.lab.start_host("mid-1")
    lines = {line.split(":")[1]: line for line in ended.stderr.splitlines() if line.startswith("fetch:")}
    assert "done (from ssh://portico)" in lines[knows]
    assert "it came from ssh://portico" in ended.stderr
    assert "done (from here)" in lines[stranger]
    saw("a relay is down, and its instances may read from the one above (--reroute)", lines[knows])
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"push:leaf>ssh://mid-1: failed", ended.stderr)
