"""`doctor`: whether instances can be deployed to, and what is amiss where they cannot. Nothing is changed."""

from __future__ import annotations

import base64
import binascii
import logging
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from nixhive_nb import runs
from nixhive_nb.deployment.platforms import build_places, own_platforms
from nixhive_nb.deployment.stores import shown_store
from nixhive_nb.errors import HiveError
from nixhive_nb.hosts.closures import kernel_of
from nixhive_nb.hosts.examination import ToExamine, examine
from nixhive_nb.hosts.privilege import elevation
from nixhive_nb.nix.stores import ssh_store
from nixhive_nb.plan.diagnosis import judged
from nixhive_nb.plan.examined import Diagnosis, Login, ThisMachine, WayThere
from nixhive_nb.plan.options import How, options_of
from nixhive_nb.plan.survey import plan_survey
from nixhive_nb.planning import targets_of
from nixhive_nb.ssh.own_effects import expired, own_effects, public_key
from nixhive_nb.util.redaction import redact
from nixhive_nb.util.said import one_line
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.deployment.targets import Pattern
    from nixhive_nb.nix.build import Built
    from nixhive_nb.plan.examined import HostExamined
    from nixhive_nb.plan.facts import HostFacts, Wanted
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.run.carry import Follow
    from nixhive_nb.ssh.link import HostLinks
    from nixhive_nb.ssh.resolve import SshTarget
    from nixhive_nb.workspace import Workspace

_log = logging.getLogger(__name__)
_REACHED_BY_NIX = ("ssh", "ssh-ng", "http", "https", "s3")
_SECRET_BYTES = 64
_SEED_BYTES = 32
_CERTIFICATE = "-cert-v01@openssh.com"


def diagnose(
    work: Workspace, patterns: Sequence[Pattern], *, no: Collection[str] = (), follow: Follow | None = None
) -> tuple[Diagnosis, ...]:
    """Return what is amiss with each instance that patterns name, in the order of a deploy. Nothing is changed.

    A host that cannot be asked is told in its diagnosis. Raises `TargetError`, `NixError` and `MissingProgram`.
    """
    targets = targets_of(work, patterns)
    inventory = work.routed(targets)
    plan = _examined_last(plan_survey(inventory, targets, options_of(How(), "survey"), work.known(no)))
    here = _this_machine(inventory, {inventory.systems[target.system].platform for target in plan.targets})
    examiner = _Examiner(work, inventory, targets.instances)
    survey = runs.found(work, plan, follow, examine=examiner)
    wanted = {one.system: one for one in survey.wanted}
    errors = {one.instance: one.error for one in survey.seen}
    ways = _ways(work, inventory, targets.instances, [name for name, error in errors.items() if error])
    return tuple(
        judged(
            examiner.diagnosis(
                name, ways[name], errors.get(name, ""), here, wanted.get(inventory.instances[name].system)
            ),
            here,
            wanted.get(inventory.instances[name].system),
            inventory.systems[inventory.instances[name].system].platform,
        )
        for name in targets.instances
    )


class _Examiner:
    """Examines hosts as the probes of a run, and keeps what they said."""

    def __init__(self, work: Workspace, inventory: Inventory, names: Sequence[str]) -> None:
        self._inventory = inventory
        self._connections = work.connections
        stores = {inventory.instances[name].store for name in names} - {""}
        self._relays = {store: _relay_hosts(work, store) for store in stores if _is_askable(store)}
        self._found: dict[str, HostExamined] = {}
        self._logins: dict[str, Login] = {}

    async def __call__(self, links: HostLinks, instance: str, built: Built | None) -> HostFacts:
        """Examine a host, and return its facts. Raises `ConnectionFailed`, `LinkLost` or `NoAnswer`."""
        one = self._inventory.instances[instance]
        asked = ToExamine(
            elevate=elevation(one.elevate, root=False).words,
            relay=one.store if one.store in self._relays else "",
            relay_hosts=self._relays.get(one.store, ()),
            sizes=built.sizes if built is not None and built.sizes else None,
        )
        found = self._found[instance] = await examine(links.kept(instance), asked)
        self._logins[instance] = self._login(instance)
        return found.facts

    def diagnosis(
        self, instance: str, way: WayThere, error: str, here: ThisMachine, wanted: Wanted | None
    ) -> Diagnosis:
        """Return what was found out of an instance, before it is judged."""
        one = self._inventory.instances[instance]
        system = self._inventory.systems[one.system]
        found = self._found.get(instance) if not error else None
        is_root = found is not None and found.facts.root
        place = (
            f"at {shown_store(system.build)}" if system.build not in ("", "here") else here.builds.get(system.platform)
        )
        return Diagnosis(
            instance=instance,
            system=one.system,
            relay=shown_store(one.store),
            way=way,
            login=self._logins.get(instance, Login()),
            host=found,
            error=error,
            elevate=elevation(one.elevate, root=is_root).words,
            builds=place or "",
            boot_needs=_boot_needs(wanted.path if wanted else "", found.facts) if found else None,
        )

    def _login(self, instance: str) -> Login:
        taken = self._connections.taken(instance)
        if taken is None:
            return Login()
        source = "agent" if taken.is_held else "file"
        return Login(key=taken.kind, key_from=f"{'certificate' if _CERTIFICATE in taken.kind else source} {taken.name}")


def _examined_last(plan: Plan) -> Plan:
    """Return a survey whose hosts are asked when their systems are known: one question is for all then."""
    groups = {system: step.id for step in plan.steps if step.kind == "instantiate" for system in step.systems}
    return msgspec.structs.replace(
        plan,
        steps=tuple(
            msgspec.structs.replace(step, after=(groups[step.system],))
            if step.kind == "probe" and step.system in groups
            else step
            for step in plan.steps
        ),
    )


def _ways(work: Workspace, inventory: Inventory, names: Sequence[str], lost: Collection[str]) -> dict[str, WayThere]:
    """Return how each instance is reached; more is told of those that were not."""
    access, connections = work.access, work.connections
    effects = own_effects(inventory, names, access.files, access.resolve)
    ways = {}
    for name in names:
        target, carrier = None, ""
        with swallowed(_log, f"the way to {name}", HiveError):  # its error says so
            target, carrier = access.resolve.at_once(name), connections.carrier_of(name).name
        way = WayThere(carrier=carrier, own=tuple(map(str, effects[name])))
        ways[name] = way if target is None else _way(way, target, is_lost=name in lost)
    return ways


def _way(way: WayThere, target: SshTarget, *, is_lost: bool) -> WayThere:
    keys = [file for file in target.identity_files if file.is_file()]
    return msgspec.structs.replace(
        way,
        address=target.hostname,
        port=target.port,
        through=target.route or redact(target.proxy_command),
        user=target.user,
        identities=tuple(map(str, keys)),
        public_key=public_key(target.identity_files) if is_lost else "",
        expired=expired(keys) if is_lost else (),
    )


def _is_askable(store: str) -> bool:
    """Return whether a host may be told of a store: a password would stand in its list of processes."""
    return shown_store(store) == store and urlsplit(store).scheme in _REACHED_BY_NIX


def _relay_hosts(work: Workspace, store: str) -> tuple[str, ...]:
    where = ssh_store(store)
    if where is None:
        return tuple(filter(None, [urlsplit(store).hostname]))
    known = [where.host]
    with swallowed(_log, f"the address of {where.host}", HiveError):
        known.append(work.access.resolve.at_once(where.host).hostname)
    return tuple(dict.fromkeys(known))


def _this_machine(inventory: Inventory, platforms: Collection[str]) -> ThisMachine:
    key, problem = _signing_key(inventory.signing_key) if inventory.signing_key else ("", "")
    return ThisMachine(
        public_key=key,
        key_problem=problem,
        builds=build_places(inventory, sorted(filter(None, platforms))),
        platforms=tuple(sorted(own_platforms(inventory))),
    )


def _signing_key(file: str) -> tuple[str, str]:
    """Return the public half of a Nix secret key, and why there is none. The other half goes nowhere."""
    try:
        name, _, secret = Path(file).read_text(encoding="ascii").strip().partition(":")
        both = base64.b64decode(secret, validate=True)
    except OSError as error:
        return "", f"signing.keyFile names {file}, which cannot be read: {error.strerror}."
    except (ValueError, binascii.Error):
        return "", f"signing.keyFile names {file}, which holds no secret key of Nix."
    if len(both) != _SECRET_BYTES or not name:
        return "", f"signing.keyFile names {file}, which holds no secret key of Nix."
    return f"{one_line(name)}:{base64.b64encode(both[_SEED_BYTES:]).decode()}", ""


def _boot_needs(path: str, facts: HostFacts) -> int | None:
    """Return the bytes of the kernel and the initrd of a system here that a host has not in use; None if not known."""
    kernel = kernel_of(path) if path else ()
    if not kernel:
        return None
    there = {*facts.current_kernel, *facts.booted_kernel}
    return sum(Path(file).stat().st_size for file in kernel[:2] if file and file not in there)
