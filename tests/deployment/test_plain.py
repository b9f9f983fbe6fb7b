"""Instances that come from Nix as they are: read to the same as those with types and places."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixhive_nb.deployment import plain as plainly
from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.reading import Evaluated, PlacesWanted, read_inventory
from nixhive_nb.deployment.sources import hive as hive_source
from nixhive_nb.deployment.sources.hive import HiveSource
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.errors import DeploymentError
from nixhive_nb.util import process
from tests.counting import counted

HIVES = Path(__file__).parents[1] / "hives"
HERE = Path("/deployment")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICxszIbEMgXks8n0EhULivLVfhmjE2hz4HEx7fRTCA6S"
TYPES = {str: "string", bool: "bool", int: "int", float: "float"}

SCALARS = st.one_of(
    st.sampled_from(["192.0.2.1", "22", "root", "", "edge", "a,b", "none", "www-1", "x\ny", "%h", "[::1]", "a b"]),
    st.sampled_from([True, 1, 0, 22, 1.0, 2.5]),
)
TEXTS = st.sampled_from(["web", "eu", "a\tb", "", KEY, f" {KEY} root@x", "ssh-rsa x"])
INSTANCES = st.fixed_dictionaries(
    {},
    optional={
        "hostCAs": st.lists(st.sampled_from([KEY, "ssh-rsa x"]), max_size=2),
        "hostKeys": st.lists(st.sampled_from([KEY, f" {KEY} root@x", "ssh-rsa x"]), max_size=2),
        "ssh": st.dictionaries(
            st.sampled_from(["Hostname", "HostName", "hostname", "Port", "User", "ProxyJump", "HostKeyAlias", "a b"]),
            SCALARS | st.lists(SCALARS, max_size=2),
            max_size=4,
        ),
        "store": st.sampled_from(["", "ssh://edge", "ssh://root@edge", "s3://bucket", "edge", "ssh://localhost"]),
        "system": st.sampled_from(["one", "one", "two", "three"]),
        "tags": st.lists(TEXTS, max_size=2),
    },
)
NAMES = st.sampled_from(["www-1", "www-2", "WWW-1", "edge", "127.1", "localhost", "a@b", "10.0.0.1"])


def described(value):
    """Return a value as `inventory.nix` describes it."""
    if isinstance(value, dict):
        return {"type": "set", "members": {name: described(one) for name, one in value.items()}}
    if isinstance(value, list):
        return {"type": "list", "items": [described(one) for one in value]}
    return {"type": TYPES[type(value)], "value": value}


def answer(instances, form):
    systems = {"one": {"configuration": {}}, "two": {"configuration": {}, "checks": {"listens": {"tcp": 80}}}}
    members = {"type": "set", "members": {name: form(one) for name, one in instances.items()}}
    top = {"type": "set", "members": {"systems": described(systems), "instances": members}}
    return msgspec.convert({"platform": "x86_64-linux", "deployment": top}, Evaluated)


def read(found):
    """Return the inventory, or in one text what is wrong."""
    try:
        return read_inventory(found, "hive.nix", HERE)
    except DeploymentError as error:
        return str(error)


@given(st.dictionaries(NAMES, INSTANCES, max_size=4))
def test_they_are_read_to_the_same(instances):
    whole = read(answer(instances, described))
    if isinstance(whole, str):
        with pytest.raises(PlacesWanted):
            read(answer(instances, lambda one: {"plain": one}))
    else:
        assert read(answer(instances, lambda one: {"plain": one})) == whole


def test_those_with_checks_of_their_own_keep_them_and_take_those_of_their_system():
    checks = described({"answers": {"tcp": 22}})
    found = read(answer({"www": {"system": "two"}}, lambda one: {"plain": one, "members": {"checks": checks}}))
    assert [check.name for check in found.instances["www"].checks] == ["answers", "listens"]


def test_a_value_that_many_share_is_looked_at_once_and_is_one_object(monkeypatch):
    values = counted(monkeypatch, plainly, "ssh_problem")
    stores = counted(monkeypatch, plainly, "store_problem")
    instances = {
        f"www-{number}": {
            "system": "one",
            "store": f"ssh://relay-{number % 2}",
            "tags": ["web", "eu"],
            "ssh": {"Hostname": f"192.0.2.{number}", "Port": 22, "User": "root", "ProxyJump": "edge"},
        }
        for number in range(100)
    }
    found = read(answer(instances, lambda one: {"plain": one}))
    first, second = found.instances["www-1"], found.instances["www-2"]
    assert first.ssh[1:] == second.ssh[1:]
    assert [one is other for one, other in zip(first.ssh, second.ssh, strict=True)] == [False, True, True, True]
    assert first.tags is second.tags
    assert len(values) == 4  # a name or an address is seen to be good at a glance
    assert len(stores) == 2


@pytest.mark.nix
@pytest.mark.parametrize("name", sorted(folder.name for folder in HIVES.iterdir()))
def test_nix_gives_the_same_with_places_and_without(name):
    def evaluated(places):
        target = HIVES / name
        return HiveSource(target, Evaluation())._read("hive/", places=places).inventory

    assert evaluated(places=False) == evaluated(places=True)


@pytest.mark.nix
def test_a_deployment_is_evaluated_once_and_no_place_of_an_instance_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "default.nix").write_text("""{
      systems.www.configuration = { ... }: { };
      instances.www-1 = { system = "www"; tags = [ "a" ]; hostKeys = [ ]; store = ""; };
      instances.www-2 = { system = "www"; ssh = { Port = 22; A = [ "x" 1 true ]; }; checks = [ { tcp = 22; } ]; };
    }""")
    calls = counted(monkeypatch, process, "run")
    answers = counted(monkeypatch, hive_source, "read_inventory")
    assert len(load(tmp_path).inventory.instances) == 2
    assert len(calls) == 1
    ((found, *_),) = answers
    nodes = found.deployment.members["instances"].members
    assert [(node.type, node.at, list(node.members)) for node in nodes.values()] == [
        ("plain", None, []),
        ("plain", None, ["checks"]),
    ]


@pytest.mark.nix
@pytest.mark.parametrize(
    "value",
    [
        '{ system = "www"; unknown = throw "never"; }',
        '{ system = "www"; ssh.IdentityFile = "${builtins.toFile "key" ""}"; }',
        '{ system = "www"; tags = [ "${builtins.toFile "key" ""}" ]; store = "ssh://x?a=${builtins.toFile "k" ""}"; }',
    ],
)
def test_one_that_is_not_plain_comes_with_its_places_and_is_evaluated_once_as_well(tmp_path, monkeypatch, value):
    (tmp_path / "default.nix").write_text(
        f'{{ systems.www.configuration = {{ }}; instances.www-1 = {value}; instances.www-2.system = "www"; }}'
    )
    calls = counted(monkeypatch, process, "run")
    assert len(load(tmp_path).inventory.instances) == 2
    assert len(calls) == 1


@pytest.mark.nix
def test_a_mistake_is_told_with_its_place_after_a_second_evaluation(tmp_path, monkeypatch):
    (tmp_path / "default.nix").write_text(
        '{ systems.www.configuration = { };\ninstances.www-1 = {\nsystem = "www";\nssh.Port = "ssh"; }; }'
    )
    calls = counted(monkeypatch, process, "run")
    with pytest.raises(DeploymentError, match=r"^default.nix:4: `ssh.Port` of instance www-1 is 'ssh'"):
        load(tmp_path)
    assert len(calls) == 2


@pytest.mark.nix
def test_what_cannot_be_evaluated_outside_of_instances_is_evaluated_once(tmp_path, monkeypatch):
    (tmp_path / "default.nix").write_text('{ systems = throw "no"; instances.www-1.system = "www"; }')
    calls = counted(monkeypatch, process, "run")
    with pytest.raises(DeploymentError, match="no"):
        load(tmp_path)
    assert len(calls) == 1


@pytest.mark.nix
@pytest.mark.parametrize(
    ("value", "what"),
    [
        ('ssh.Port = throw "no";', "`ssh.Port` of instance www-1"),
        ('tags = [ (throw "no") ];', "`tags` of instance www-1"),
        ('system = throw "no";', "`system` of instance www-1"),
        ('hostKeys = throw "no";', "`hostKeys` of instance www-1"),
        ('ssh = throw "no";', "`ssh` of instance www-1"),
        ('checks.a.tcp = throw "no";', "`checks.a`"),
    ],
)
def test_what_cannot_be_evaluated_is_named_as_in_an_answer_with_places(tmp_path, monkeypatch, value, what):
    (tmp_path / "default.nix").write_text(f"{{ systems.www.configuration = {{ }}; instances.www-1 = {{ {value} }}; }}")
    calls = counted(monkeypatch, process, "run")
    with pytest.raises(DeploymentError) as plain:
        load(tmp_path)
    assert len(calls) == (1 if "checks" in value else 2)  # the words that name it come with the places
    with pytest.raises(DeploymentError) as placed:
        HiveSource(tmp_path, Evaluation())._read("", places=True)
    assert str(placed.value).removesuffix(")") in str(plain.value)  # which may say more: a place, an instance
    assert what in str(plain.value)
