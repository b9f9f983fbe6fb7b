"""Workers of Dask on a practice fleet: a real scheduler and real workers, which are killed in the middle."""

from __future__ import annotations

import re
import secrets
import threading

import pytest

from nixhive_nb.workers.placing import chosen
from tests.fleet.links import got_by, slow_to
from tests.practice import start
from tests.sshd import eventually
from tests.workers.cluster import Cluster, make_certificates

pytest.importorskip("distributed")
pytestmark = [pytest.mark.fleet, pytest.mark.timeout(240)]

HOST = "www-1"
KIB = 1500
_HELD = 'system.activationScripts.held = "echo here >/var/here; if test -p /var/go; then read line </var/go; fi";'


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    one = start(tmp_path_factory.mktemp("fleet"), web=3)
    yield one
    one.lab.down()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    one = Cluster(folder, make_certificates(folder / "tls"))
    one.start_worker("portico", env={"NIXHIVE_LOG": str(folder / "portico-own.log")})
    one.start_worker("second", "--for", "portico", env={"NIXHIVE_LOG": str(folder / "second-own.log")})
    yield one
    one.close()


def test_a_deploy_goes_by_the_workers_and_again_changes_nothing(fleet, cluster):
    first = fleet.nix_hive("deploy", "-c", "example", *cluster.on, "--canary", "1", "--batch", "2", "portico", "*")
    assert first.returncode == 0, first.stderr
    assert all(fleet.runs(name) == fleet.boots(name) != "" for name in fleet.lab.instances)
    again = fleet.nix_hive("deploy", "-c", "example", *cluster.on, "portico", "*")
    assert again.returncode == 0, again.stderr
    assert "unchanged" in again.stderr
    assert "ssh.fabric_login" not in (fleet.folder / "nix-hive.log").read_text()
    own = [(cluster.folder / f"{name}-own.log").read_text() for name in cluster.workers]
    assert all("Authentication (publickey) successful" in text for text in own)


def held_activation(fleet, cluster, mark):
    """Begin a deploy that is held in the activation of a web server; return what lets it go on, and ends with it."""
    www = fleet.example / "www.nix"
    kept = [line for line in www.read_text().splitlines() if "# held" not in line]
    at = next(n for n, line in enumerate(kept) if line.startswith("}"))
    www.write_text(
        "\n".join(
            [*kept[:at], f"  {_HELD} # held {mark}", f'  environment.etc.mark.text = "{mark}"; # held', *kept[at:], ""]
        )
    )
    fleet.lab.exec(HOST, ["sh", "-c", "rm -f /var/here /var/go; mkfifo /var/go"])
    ended = []
    words = ("deploy", "-c", "example", *cluster.on, "--confirm", "60", HOST, "www-2")
    thread = threading.Thread(target=lambda: ended.append(fleet.nix_hive(*words)))
    thread.start()
    eventually(lambda: fleet.lab.exec(HOST, ["sh", "-c", "cat /var/here 2>/dev/null || true"]).strip(), "it", 60)

    def go_on():
        fleet.lab.exec(HOST, ["sh", "-c", "echo >/var/go; rm /var/go"])
        thread.join(120)
        return ended[0]

    return go_on


def is_confirmed(fleet):
    return all(fleet.runs(name) == fleet.boots(name) for name in (HOST, "www-2"))


def test_a_worker_that_is_killed_in_an_activation_is_followed_by_another_one(fleet, cluster):
    before = fleet.runs(HOST)
    go_on = held_activation(fleet, cluster, "killed")
    carrier = chosen(HOST, cluster.workers)
    cluster.kill(carrier)
    ended = go_on()
    cluster.start_worker(carrier, "--for", "portico")
    assert ended.returncode == 0, ended.stderr
    assert before != fleet.runs(HOST)
    assert is_confirmed(fleet)


def test_a_worker_that_is_killed_in_a_copy_costs_nothing(fleet, cluster):
    """What only moves content is done again, by another one; each instance ends once."""
    www = fleet.example / "www.nix"
    mark = (
        f'  environment.systemPackages = [ (pkgs.ballast {{ name = "{secrets.token_hex(4)}"; kib = {KIB}; }}) ]; # held'
    )
    text = www.read_text().replace("{ lib, ... }:", "{ lib, pkgs, ... }:")
    kept = [line for line in text.splitlines() if "# held" not in line]
    at = next(n for n, line in enumerate(kept) if line.startswith("}"))
    www.write_text("\n".join([*kept[:at], mark, *kept[at:], ""]))
    begun = got_by(fleet, [HOST])[HOST]
    ended = []
    words = ("deploy", "-c", "example", *cluster.on, HOST, "www-2")
    thread = threading.Thread(target=lambda: ended.append(fleet.nix_hive(*words)))
    with slow_to(fleet, HOST):
        thread.start()
        eventually(lambda: got_by(fleet, [HOST])[HOST] - begun > 300 * KIB, "the middle of the copy", 60)
        carrier = chosen(HOST, cluster.workers)
        cluster.kill(carrier)
    thread.join(120)
    cluster.start_worker(carrier, "--for", "portico")
    assert ended[0].returncode == 0, ended[0].stderr
    for name in (HOST, "www-2"):
        assert len(re.findall(f"^activate:{name}: (?:done|failed|skipped)", ended[0].stderr, re.MULTILINE)) == 1
    assert is_confirmed(fleet)


def test_a_scheduler_that_is_started_again_in_an_activation_gets_its_workers_back(fleet, cluster):
    before = fleet.runs(HOST)
    go_on = held_activation(fleet, cluster, "restarted")
    cluster.end_scheduler()
    cluster.start_scheduler()
    for name in cluster.workers:
        eventually(lambda name=name: cluster.is_ready(name, 2), f"worker {name} again", 60)
    ended = go_on()
    assert ended.returncode == 0, ended.stderr
    assert before != fleet.runs(HOST)
    assert is_confirmed(fleet)
