"""Diagnoses of hosts that never were."""

from __future__ import annotations

import msgspec

from nixhive_nb.plan.diagnosis import judged
from nixhive_nb.plan.examined import ClockSpan, Diagnosis, HostExamined, Login, RelayTried, ThisMachine, WayThere
from nixhive_nb.plan.facts import HostFacts

KEY = "hive-1:AAAA"
HERE = ThisMachine(public_key=KEY, builds={"x86_64-linux": "here"}, platforms=("x86_64-linux",))
WAY = WayThere(
    carrier="fabric", address="192.0.2.1", port=22, through="portico", user="deploy", public_key="ssh-ed25519 AAAA"
)
SETTINGS = {
    "require-sigs": "true",
    "substituters": "ssh://portico",
    "trusted-public-keys": f"cache-1:BBBB {KEY}",
    "trusted-users": "root @wheel",
}
FACTS = HostFacts(root=False, runs=("x86_64-linux",), free=10_000_000, failed_units=())
WELL = HostExamined(
    facts=FACTS,
    clock=ClockSpan(said=5.0, asked=4.0, heard=6.0),
    nix="2.24.1",
    settings=SETTINGS,
    names=("deploy", "@users"),
    power=0,
    relay=RelayTried(is_reached=True),
    takes_from="ssh://portico",
    boot="/boot",
    boot_free=5_000_000,
    lacks=1_000_000,
)


def diagnosis(name="www-1", *, platform="x86_64-linux", here=HERE, wanted=None, facts=None, settings=None, **more):
    """Judge a host that is well but for some fields of `HostExamined`, its facts, its settings, or of the diagnosis."""
    changed = {field: more.pop(field) for field in list(more) if field in HostExamined.__struct_fields__}
    host = msgspec.structs.replace(
        WELL,
        facts=msgspec.structs.replace(FACTS, **(facts or {})),
        settings={**SETTINGS, **(settings or {})},
        **changed,
    )
    known = {
        "relay": "ssh://portico",
        "way": WAY,
        "login": Login(key="ssh-ed25519", key_from="file /keys/id"),
        "host": host,
        "elevate": () if host.facts.root else ("sudo", "-n", "--"),
        "builds": "here",
        "boot_needs": 1_000_000,
    }
    return judged(Diagnosis(instance=name, system="www", **(known | more)), here, wanted, platform)


def lost(error, name="www-1", **way):
    """Judge a host that was not reached."""
    found = Diagnosis(instance=name, system="www", way=msgspec.structs.replace(WAY, **way), error=error, builds="here")
    return judged(found, HERE, None, "x86_64-linux")
