"""One deployment in use: as it was read, where its files lie, how much is done at once, and the way to its hosts."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.state import believed, read_known
from nixhive_nb.errors import PlanStale
from nixhive_nb.hosts.powers import Powers
from nixhive_nb.plan.drift import gone
from nixhive_nb.ssh.access import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.deployment.load import Loaded
    from nixhive_nb.deployment.places import Places
    from nixhive_nb.deployment.sources.source import Evaluation, Source
    from nixhive_nb.deployment.targets import Targets
    from nixhive_nb.nix.ahead import Ahead
    from nixhive_nb.plan.facts import HostFacts
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.plan.status import Standing
    from nixhive_nb.run.limits import Limits
    from nixhive_nb.ssh.config import SshFiles
    from nixhive_nb.ssh.pool import Connections
    from nixhive_nb.workers.cluster import Cluster
    from nixhive_nb.workers.far import Afar
    from nixhive_nb.workers.placing import Placed

_NAMED = 5
"""How many instances a warning names."""


class Reading:
    """A deployment as it was evaluated last. It is evaluated anew when a file that it depends on has changed."""

    def __init__(self, loaded: Loaded, named: str, own: Collection[str], how: Evaluation) -> None:
        """Begin with what was loaded. `named` is what the user calls it, `own` are files that change nothing.

        `how` is how it is evaluated.
        """
        self._loaded = loaded
        self._name = named
        self._own = own
        self._how = how
        self._holding = 0

    @property
    def inventory(self) -> Inventory:
        """The deployment as it was evaluated last. No file is looked at."""
        return self._loaded.inventory

    @property
    def path(self) -> Path:
        """Where it is, whatever the current folder."""
        return self._loaded.path

    @property
    def source(self) -> Source:
        """What instantiates its systems."""
        return self._loaded.source

    @property
    def how(self) -> Evaluation:
        """How it is evaluated."""
        return self._how

    @property
    def folder(self) -> Path:
        """The folder whose revision is that of the deployment."""
        return self._loaded.source.directory or self._loaded.path

    @contextlib.contextmanager
    def held(self, *, show_trace: bool = False) -> Iterator[Inventory]:
        """Look at the files, and keep to that: in this block none is looked at again. Raises `DeploymentError`."""
        if not self._holding and self._loaded.changed() is not None:
            self.again(show_trace=show_trace, anew=False)
        self._holding += 1
        try:
            yield self._loaded.inventory
        finally:
            self._holding -= 1

    def again(self, *, show_trace: bool = False, anew: bool = True) -> Inventory:
        """Load it again: evaluate it `anew`, or take what is kept of just these files. Raises `DeploymentError`."""
        where, own = self._loaded.source.named, self._own
        self._loaded = load(where, how=self._how, name=self._name, show_trace=show_trace, own=own, anew=anew)
        return self._loaded.inventory


class WayToHosts:
    """The way to the hosts of a deployment: made when it is needed, and anew when the deployment asks for another."""

    def __init__(self) -> None:
        self._access: Access | None = None
        self._told: set[str] = set()

    def access(self, inventory: Inventory, warn: Callable[[str], None]) -> Access:
        """Return the ssh files and the warm connections; `warn` is told once what of the user's own is left out."""
        if self._access is not None and not self._access.serves(inventory):
            self.close()
        if self._access is None:
            self._access = Access(inventory)
            for line in self._access.files.warnings:
                if line not in self._told:
                    self._told.add(line)
                    warn(line)
        return self._access

    def close(self) -> None:
        """Close every connection."""
        if self._access is not None:
            self._access.close()
            self._access = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workspace:
    """What every verb works with. With other limits it is another one, on the same reading and connections."""

    reading: Reading
    path: str
    """The deployment, as the user named it."""
    places: Places
    limits: Limits
    show_trace: bool
    warn: Callable[[str], None]
    """Tells what is amiss without being a failure."""
    picked: Callable[[], Sequence[str]]
    """Gives the instances of `@picked`."""
    named_dir: str = ""
    """The folder for journals and the like, where one was named."""
    reach: WayToHosts = dataclasses.field(default_factory=WayToHosts)
    standings: dict[str, Standing] = dataclasses.field(default_factory=dict)
    """How instances stood when they were last asked; what was worked on since is not in it."""
    keeping: dict[str, HostFacts] = dataclasses.field(default_factory=dict)
    """What those instances said last that keep our scripts, as far as that is known."""
    powers: Powers = dataclasses.field(default_factory=Powers)
    """How logins become root, as far as it is known, and the passwords of a command."""
    ahead: list[Ahead] = dataclasses.field(default_factory=list)
    """What builds before the next plan is made; empty where nothing may. Whoever takes it over takes it out."""
    cluster: Cluster | None = None
    """The workers that reach hosts; None where this machine does."""
    afar: list[Afar] = dataclasses.field(default_factory=list)
    """The hosts of the deployment that workers are near, as far as that was asked for."""
    disbelieved: list[str] = dataclasses.field(default_factory=list)
    """What was warned of in the state file."""

    @property
    def inventory(self) -> Inventory:
        """The deployment as it was evaluated last. No file is looked at."""
        return self.reading.inventory

    @property
    def access(self) -> Access:
        """The way to its hosts."""
        return self.reach.access(self.inventory, self.warn)

    @property
    def connections(self) -> Connections:
        """The warm connections to its hosts, as many as the limits allow, carried as these say."""
        connections = self.access.connections
        connections.keep(self.limits.connections)
        connections.carry(self.limits.carrier, self.warn)
        connections.far = self._far() if self.cluster is not None else None
        return connections

    @property
    def files(self) -> SshFiles:
        """What Nix's ssh reads: where workers reach hosts, what it moves goes by them as well."""
        files = self.access.files
        return self._far().files(files) if self.cluster is not None else files

    def _far(self) -> Afar:
        assert self.cluster is not None  # noqa: S101 - it was looked at
        if not self.afar or not self.afar[0].serves(self.cluster, self.inventory):
            from nixhive_nb.workers.far import Afar  # noqa: PLC0415 - few commands need it

            for before in self.afar:
                before.close()
            self.afar[:] = [Afar(self.cluster, self.inventory)]
            left = [name for name in self.inventory.instances if not self.afar[0].carries(name)]
            if left:
                more = f" and {len(left) - _NAMED} more" if left[_NAMED:] else ""
                self.warn(f"No worker is near {', '.join(left[:_NAMED])}{more}: reached from this machine.")
        return self.afar[0]

    def placed(self, plan: Plan) -> tuple[Placed, ...]:
        """Return which workers carry which steps of a plan; none where this machine reaches all hosts."""
        return self._far().placed(plan.steps) if self.cluster is not None else ()

    def apart(self) -> Workspace:
        """Return the same with connections of its own, also those of workers."""
        return dataclasses.replace(self, reach=WayToHosts(), afar=[])

    def close(self) -> None:
        """Close every connection, also those of workers."""
        for one in self.afar:
            one.close()
        self.afar.clear()
        self.reach.close()

    def routed(self, targets: Targets) -> Inventory:
        """Return the deployment with the jumps of targets as OpenSSH reads them, the user's own files too."""
        return self.access.routed(self.inventory, targets.instances)

    def remembered(self) -> dict[str, tuple[str, str]]:
        """Return the last result and derivation of each system, as the state file has them; empty for none."""
        found, wrong = believed(read_known(self.places))
        if wrong and wrong != self.disbelieved:
            self.warn(
                f"The state file {self.places.state} holds what is no path of the Nix store, which counts as not "
                f"there: {wrong[0]}{f' (and {len(wrong) - 1} more)' if wrong[1:] else ''}. Build it anew, or take it "
                "out."
            )
        self.disbelieved[:] = wrong
        return {name: found.get(name, ("", "")) for name in self.inventory.systems}

    def known(self, no: Collection[str]) -> dict[str, str]:
        """Return the results that are taken as they are: with `--no build`, those of the state file."""
        return {name: result for name, (result, _) in self.remembered().items()} if "build" in no else {}

    def serves(self, plan: Plan) -> bool:
        """Return whether a plan is for this deployment and state file."""
        return (str(self.reading.path), str(self.places.state)) == (plan.deployment, plan.state)

    def check_there(self, plan: Plan) -> None:
        """Raise `PlanStale` for a plan with an instance or a system that the deployment does not have any more."""
        missing = gone(plan, self.inventory)
        if missing:
            raise PlanStale(
                "\n".join(
                    [
                        f"Plan {plan.digest} cannot be carried out: {self.path} does not have all of it any more:",
                        *(f"  {line}" for line in missing),
                        "Make a new plan.",
                    ]
                )
            )


def unwatched(places: Places) -> tuple[str, ...]:
    """Return the files and folders of ours that change nothing in a deployment."""
    return (str(places.folder), str(places.state), f"{places.state}.lock")
