"""What a plan promises, broken on purpose between the look and the deed; and a system that takes its own folder."""

from __future__ import annotations

import json
import re
import secrets

import pytest

from nixhive_nb.run.history import runs
from tests.fleet.faults import saw
from tests.practice import start

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    one = start(tmp_path_factory.mktemp("fleet"), web=2)
    ended = one.nix_hive("deploy", "-c", "example", "portico", "*")
    assert ended.returncode == 0, ended.stderr
    yield one
    one.lab.down()


@pytest.fixture
def planned(fleet):
    """A plan for www-1 that somebody has looked at: its digest. Afterwards the files are as they were."""
    files = {name: (fleet.example / name).read_text() for name in ("default.nix", "www.nix")}
    (fleet.example / "base.nix").write_text(files["default.nix"])
    edit(fleet, "")
    page = fleet.example / "www.nix"
    page.write_text(files["www.nix"].replace("This is a web server.", f"Looked at: {secrets.token_hex(4)}."))
    ended = fleet.nix_hive("plan", "-c", "example", "--json", "www-1")
    assert ended.returncode == 0, ended.stderr
    (row,) = json.loads(ended.stdout)
    assert re.fullmatch("[0-9a-f]{64}", row["digest"])
    assert fleet.nix_hive("plan", "-c", "example", "--out", "plan.json", "www-1").returncode == 0
    yield row["digest"]
    for name, text in files.items():
        (fleet.example / name).write_text(text)


def edit(fleet, change):
    """Have the deployment say something else: attributes that go over those of the example."""
    (fleet.example / "default.nix").write_text(f"let base = import ./base.nix; in base // {{ {change} }}")


def of_www_1(change):
    return f"instances = base.instances // {{ www-1 = base.instances.www-1 // {{ {change} }}; }};"


EDITS = {
    "the address of a host was edited after its plan was looked at": (
        of_www_1("ssh = base.instances.www-1.ssh // { inherit (base.instances.www-2.ssh) Hostname; };"),
        "ssh.Hostname is ",
    ),
    "a check of a host was edited after its plan was looked at": (
        of_www_1('checks.gone.command = [ "true" ];'),
        "checks.gone is new since the plan",
    ),
    "flags of the build were edited after a plan was looked at": (
        'nix.build.flags = [ "--option" "cores" "1" ];',
        "nix.build.flags of the deployment changed",
    ),
}


@pytest.mark.parametrize("fault", EDITS)
def test_a_plan_that_was_looked_at_goes_nowhere_else(fleet, planned, fault):
    """E1: neither `deploy --plan` nor `apply` carries out what nobody has looked at."""
    change, said = EDITS[fault]
    before = fleet.runs("www-1")
    edit(fleet, change)
    agreed = fleet.nix_hive("deploy", "-c", "example", "--plan", planned[:12], "www-1")
    assert agreed.returncode == 1
    assert "What would be done is plan" in agreed.stderr
    applied = fleet.nix_hive("apply", "plan.json")
    assert applied.returncode == 1
    assert said in applied.stderr
    assert fleet.runs("www-1") == before
    line = next(line for line in applied.stderr.splitlines() if said in line)
    saw(fault, f"nothing is done: {re.sub(r'[0-9]+(?:[.][0-9]+){3}', 'ADDRESS', line)}")


def test_a_plan_is_carried_out_by_twelve_digits_and_by_all(fleet, planned):
    """E1: and seven are an error that says so."""
    short = fleet.nix_hive("deploy", "-c", "example", "--plan", planned[:7], "www-1")
    assert (short.returncode, "it has 7 digits" in short.stderr) == (2, True)
    done = fleet.nix_hive("deploy", "-c", "example", "--plan", planned, "www-1")
    assert done.returncode == 0, done.stderr
    (newest, *_) = runs(fleet.own)
    assert newest.digest == planned[:12]


def test_an_instance_that_is_gone_is_named_with_force_too(fleet, planned):
    """D16."""
    edit(fleet, 'instances = builtins.removeAttrs base.instances [ "www-1" ];')
    applied = fleet.nix_hive("apply", "--force", "plan.json")
    assert applied.returncode == 1
    assert "www-1: there is no such instance" in applied.stderr
    fault = "a host was taken out of the deployment, and its plan is applied with --force"
    saw(fault, "nothing is done: www-1: there is no such instance")


def test_a_system_that_takes_its_own_folder_is_deployed_once(fleet, planned):
    """Case 8: the second deploy finds it there; hosts get no journal of ours."""
    page = fleet.example / "www.nix"
    own = 'environment.etc.src.text = "${./.}";'
    page.write_text(page.read_text().replace("networking.hostName", f"{own}\n  networking.hostName", 1))
    words = ("-c", "example", "-s", "example/.hive.state")
    first = fleet.nix_hive("deploy", *words, "www-1")
    assert first.returncode == 0, first.stderr
    runs_now = fleet.runs("www-1")
    again = fleet.nix_hive("deploy", *words, "www-1")
    assert again.returncode == 0, again.stderr
    assert "probe:www-1: unchanged" in again.stderr
    assert fleet.runs("www-1") == runs_now
    status = json.loads(fleet.nix_hive("status", *words, "--json", "www-1").stdout)
    assert status[0]["state"] == "in sync"
    (source,) = fleet.lab.exec("www-1", ["cat", "/run/current-system/etc/src"]).split()
    held = fleet.lab.exec("www-1", ["ls", "-A", source]).split()
    assert [name for name in held if name.startswith(".hive")] == []
    fault = "a system takes its own folder, `./.`, and is deployed twice"
    saw(fault, f"www-1: unchanged the second time, {status[0]['state']}; nothing of ours is on the host")
