"""E1: a digest names all that decides where and how a plan is carried out, and `differences` compares the same."""

from __future__ import annotations

import json

import msgspec
import pytest

from nixhive_nb.deployment.inventory import Check, Instance
from nixhive_nb.deployment.targets import select_instances
from nixhive_nb.plan.drift import differences
from nixhive_nb.plan.facts import HostFacts, Seen
from nixhive_nb.plan.plan import Options, Plan, Survey
from nixhive_nb.plan.planner import Goal, plan_build, plan_reboot, plan_rollback, plan_transfer
from nixhive_nb.run import history
from nixhive_nb.run.journal import Journal
from tests.plan.fleets import deploy, instance, inventory
from tests.run.test_journal import HEADER

replace = msgspec.structs.replace
KEY = "ssh-ed25519 AAAA"
WEB = Instance(
    name="web",
    system="one",
    store="ssh://relay",
    ssh=(("Hostname", ("10.0.0.1",)), ("ProxyJump", ("jump",))),
    host_keys=(KEY,),
    checks=(Check(name="listens", kind="tcp", port=80),),
)
BASE = inventory(WEB, instance("relay"), instance("jump"), instance("builder"), instance("other"))
BASE = replace(BASE, build_flags=("--builders", "ssh://root@builder x86_64-linux; ssh-ng://else aarch64-linux"))
FIELDS = [name for name in Instance.__struct_fields__ if name not in ("name", "system", "tags", "carrier")]
"""The fields that are a term. What carries commands is none: the same is done, by another program."""
OTHER = {
    "store": "ssh://jump",
    "ssh": (("Hostname", ("10.0.0.9",)), ("ProxyJump", ("jump",))),
    "host_keys": ("ssh-ed25519 BBBB",),
    "host_cas": ("ssh-ed25519 BBBB",),
    "checks": (),
    "jumps": ("relay",),
    "elevate": ("doas",),
}


def with_host(inv, name, **fields):
    return replace(inv, instances={**inv.instances, name: replace(inv.instances[name], **fields)})


def plans(inv):
    """A plan of each verb that is about `web` (of a build: of its system), made of an inventory."""
    targets, survey = select_instances(inv, ("web",)), Survey()
    return {
        "deploy": plan_transfer(inv, targets, "deploy", Options()),
        "push": plan_transfer(inv, targets, "push", Options()),
        "rollback": plan_rollback(inv, targets, Options(), {"web": Goal("/nix/store/x", 3)}, survey),
        "reboot": plan_reboot(inv, targets, Options(), survey),
        "build": plan_build(inv, ["one"], Options()),
    }


def assert_another(changed, *verbs, said=""):
    before, now = plans(BASE), plans(changed)
    for verb in verbs or before:
        assert before[verb].digest != now[verb].digest, verb
        found = "\n".join(differences(before[verb], now[verb]))
        assert found, verb
        assert said in found, verb


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_of_an_instance_is_covered(field):
    """E1: every field, also one that comes later: then `OTHER` wants another value for it."""
    assert_another(
        with_host(BASE, "web", **{field: OTHER[field]}), "deploy", "push", "rollback", "reboot", said="web: "
    )


def test_each_field_of_a_check_is_covered():
    """E1: a check that looks elsewhere, or for something else, is another one."""
    (check,) = WEB.checks
    other = {"kind": "http", "command": ("true",), "url": "x", "description": "x", "here": True, "name": "y"}
    for field in check.__struct_fields__:
        value = other.get(field, 99)
        assert_another(with_host(BASE, "web", checks=(replace(check, **{field: value}),)), "deploy", said="checks.")


@pytest.mark.parametrize("name", ["jump", "relay", "builder"])
@pytest.mark.parametrize("fields", [{"ssh": (("Port", ("2222",)),)}, {"host_keys": (KEY,)}], ids=["ssh", "keys"])
def test_hosts_that_a_plan_goes_through_reads_from_or_builds_on_are_covered(name, fields):
    """E1: whoever edits the address of the jump host sends the plan elsewhere as well."""
    assert_another(with_host(BASE, name, **fields), "deploy", said=f"{name}: ")


def test_flags_of_the_build_and_the_signing_key_are_covered():
    """E1."""
    assert_another(replace(BASE, build_flags=("--option", "sandbox", "false")), said="nix.build.flags")
    assert_another(replace(BASE, signing_key="/other"), said="signing.keyFile is /other now, and was /keys/secret")


def test_what_decides_nothing_of_a_plan_makes_it_no_other_one():
    """E1: a plan that was looked at in the morning holds in the evening, though another host came meanwhile."""
    changed = with_host(BASE, "other", ssh=(("Hostname", ("10.9.9.9",)),))
    changed = with_host(changed, "web", tags=("new",))
    before, now = plans(BASE), plans(changed)
    assert [one.digest for one in before.values()] == [one.digest for one in now.values()]
    assert not any(differences(before[verb], now[verb]) for verb in before)


def test_a_difference_names_where_a_host_was_and_is_and_no_secret():
    """E1: the address is told; an option that may hold a password is named alone."""
    secret = (("Hostname", ("10.0.0.9",)), ("ProxyCommand", ("sshpass -p hunter2 ssh",)))
    gone, line = differences(plans(BASE)["reboot"], plans(with_host(BASE, "web", ssh=secret, checks=()))["reboot"])
    assert gone == "jump: it takes no part any more, and did in the plan"
    assert "ssh.Hostname is 10.0.0.9 now, and was 10.0.0.1 in the plan" in line
    assert "ssh.ProxyCommand is new since the plan" in line
    assert "ssh.ProxyJump is not set now, and was jump" in line
    assert "checks.listens is gone" in line
    assert "hunter2" not in line
    assert "hunter2" not in str(plans(with_host(BASE, "web", ssh=secret))["reboot"].terms)


def test_the_place_of_the_deployment_and_the_options_are_covered():
    """E1."""
    plan = deploy(BASE, "web")
    other = {"deployment": "/elsewhere/hive.nix", "options": Options(checks=False), "allowed": 1}
    digests = {plan.digest, *(replace(plan, **{name: value}).digest for name, value in other.items())}
    assert len(digests) == 1 + len(other)
    assert differences(plan, replace(plan, options=Options(checks=False)))


def test_a_host_that_was_booted_with_something_else_since_is_told():
    """E1: the digest has what was booted in it, and so has the comparison."""
    seen = Seen(instance="web", facts=HostFacts(current="/nix/store/a", profile="/nix/store/a", booted="/nix/store/a"))
    plan = replace(deploy(BASE, "web"), seen=(seen,))
    fresh = replace(plan, seen=(replace(seen, facts=replace(seen.facts, booted="/nix/store/b")),))
    assert plan.digest != fresh.digest
    assert "web: it was booted with /nix/store/b now" in differences(plan, fresh)[0]


def test_a_digest_is_the_start_of_a_whole_one():
    """E1: 12 digits are shown, all are there."""
    plan = deploy(BASE, "web")
    assert len(plan.digest) == 12
    assert len(plan.whole_digest) == 64
    assert plan.whole_digest.startswith(plan.digest)


def test_a_journal_keeps_the_digest_though_secrets_are_cut(tmp_path):
    """E8: the plan that is read back is called as the head of the journal says, and holds no secret."""
    inv = with_host(BASE, "web", store="https://ci:hunter2@cache", ssh=(("ProxyCommand", ("sshpass -p hunter3",)),))
    plan = deploy(inv, "web")
    journal = Journal.begin(tmp_path, HEADER, plan)
    journal.close()
    text = journal.path.read_text()
    assert "hunter" not in text
    (entry,) = history.runs(tmp_path)
    noted = history.report_of(entry).plan
    assert noted.digest == entry.digest == json.loads(text.splitlines()[0])["digest"] == plan.digest
    assert noted.steps == plan.steps  # E3: a plan has no secret in the first place


def test_a_plan_file_is_read_with_its_terms():
    """E1: what `apply FILE` compares came with the file."""
    plan = deploy(BASE, "web")
    again = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    assert (again.terms, again.whole_digest) == (plan.terms, plan.whole_digest)
