"""The practice fleet as a whole: it comes up, tells how it is, and goes without a trace."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from nixhive_nb.lab import cgroups, container, debian, image, lab_nix, network, owner, preflight
from nixhive_nb.lab import host as hosts
from nixhive_nb.lab.commands import kill_all, run
from nixhive_nb.lab.model import GATEWAY, HostSpec, HostStatus, LabError, LabRecord, NoFleet, plan_hosts
from nixhive_nb.lab.places import default_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from nixhive_nb.lab.model import Debian

_log = logging.getLogger(__name__)

_NIXPKGS = Path(__file__).with_name("nixpkgs")
_RECORD = "lab.json"
_FRESH_RECORD = f".{_RECORD}.new"
_PARTS = ("hosts", "containers", "template", "keys")
_SSH_PORT = 22


class Lab:
    """A practice fleet on this machine.

    Use `Lab.up` to make one, `Lab.open` for one that is there already, and either as a context manager to have it
    taken down at the end. A fleet that was made with `keep=False` also goes when this process goes, however it ends.
    """

    def __init__(self, folder: Path, record: LabRecord, watch: owner.Keeper | None = None) -> None:
        self.folder = folder
        self._record = record
        self._watch = watch
        self._keys = image.Keys(folder / "keys")
        self._firsts: dict[str, int] = {}

    @classmethod
    def check(cls, *, systemd: bool = False) -> None:
        """Raise a LabError that names everything this machine lacks to run a fleet, with `systemd` of such hosts."""
        preflight.check(systemd=systemd)

    @classmethod
    def up(
        cls,
        folder: Path | str | None = None,
        *,
        web: int = 3,
        systemd: int = 0,
        deployment: Path | str | None = None,
        specs: Iterable[HostSpec] = (),
        keep: bool = False,
        on_progress: Callable[[str], None] | None = None,
    ) -> Lab:
        """Bring up a jump host, `web` web servers and a depot; `specs` change single hosts, or add some.

        `systemd` is how many more web servers there are to be that have a real systemd. What these are made of takes
        a minute or two the first time, and is kept. `deployment` is the folder that gets a `lab.nix`. With `keep` the
        fleet stays when this process ends.
        """
        place, wanted = _absolute(folder), plan_hosts(web, tuple(specs), systemd)
        tell = on_progress or (lambda _: None)
        suites = {spec.debian for spec in wanted if spec.init == "systemd"}
        preflight.check(systemd=bool(suites))
        if suites:
            container.make_room()
        with debian.held(suites, tell) as debians, locked(place, create=True):
            record = _register(place, wanted, _deployment_folder(deployment))
            watch = None
            try:
                watch = None if keep else owner.employ(place / _RECORD, record.token)
                lab = cls(place, record, watch)
                lab._make(tell, debians)
            except BaseException:
                _take_down_locked(place, record)
                if watch is not None:
                    watch.dismiss()
                raise
        return lab

    @classmethod
    def open(cls, folder: Path | str | None = None) -> Lab:
        """Return the fleet in that folder, whether it is whole or half-dead."""
        place = _absolute(folder)
        record = _read_record(place)
        if record is None:
            raise NoFleet(f"There is no practice fleet in {place}.")
        return cls(place, record)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def identity(self) -> Path:
        """The operator's private key, which every host knows."""
        return self._keys.identity

    @property
    def signing_key(self) -> Path:
        """The secret key that signs store paths, so that hosts take them from the relay."""
        return self._keys.signing

    @property
    def public_key(self) -> str:
        """The public half of the signing key, as it stands in `trusted-public-keys`."""
        return self._keys.public.read_text().strip()

    @property
    def link(self) -> str:
        """The network interface of this machine towards the fleet: all that goes there is counted on it."""
        return network.link_name(self._record.number)

    @property
    def nixpkgs(self) -> Path:
        """The stand-in for nixpkgs that practice systems are built from."""
        return _NIXPKGS

    @property
    def instances(self) -> tuple[str, ...]:
        """The names of all hosts, the jump host first."""
        return tuple(spec.name for spec in self._record.hosts)

    def root(self, name: str) -> Path:
        """Return the folder with a host's own /nix, /etc, /root, /home and /var."""
        return self.folder / "hosts" / self._record.spec(name).name

    def status(self) -> list[HostStatus]:
        """Each host as it is now, in order of name."""
        return sorted(self._statuses(), key=lambda status: status.instance)

    def exec(self, name: str, argv: Sequence[str], *, text: str | None = None) -> str:
        """Run a program as root inside a host, with `text` as its input, and give what it prints."""
        return hosts.enter(self.first_process(name), argv, text)

    def first_process(self, name: str) -> int:
        """Return the first process of a host, as this machine counts. Raises `LabError` when it is down."""
        pid = self._first_processes((self._record.spec(name).name,)).get(name)
        if pid is None:
            raise LabError(f"The host {name} is down.")
        return pid

    def stop_host(self, name: str) -> None:
        """Switch a host off, at once, as if its plug were pulled."""
        inode = self._namespace_inode(name)
        network.unplug(self._record.number, name)
        kill_all([inode])

    def start_host(self, name: str) -> None:
        """Switch a host on again: same keys, same store, and the system that its boot entry names."""
        inode = self._namespace_inode(name)
        if not self._first_processes((name,)):
            self._boot(name, inode)

    def reboot_host(self, name: str) -> None:
        """Do to a running host what `reboot` on it does, and return when it answers again."""
        inode = self._namespace_inode(name)
        pid = self.first_process(name)
        if self._record.spec(name).init == "systemd":
            hosts.shut_down(pid, name)
        self._boot(name, inode)

    def _boot(self, name: str, inode: int) -> None:
        # Whatever still runs ends first: a host that is between two boots has no first process, yet it will have one.
        kill_all([inode])
        hosts.start([self._host(self._record.spec(name))])
        network.forget_neighbours(self._record.number)

    def down(self) -> None:
        """Take everything down: processes, network, mounts, files. It may be called again."""
        take_down(self.folder, self._record.token)
        if self._watch is not None:
            self._watch.dismiss()
            self._watch = None

    def _make(self, tell: Callable[[str], None], debians: Mapping[Debian, Path]) -> None:
        specs = self._record.hosts
        cgroups.sweep()
        tell(f"preparing {len(specs)} hosts")
        template = self.folder / "template"
        template.mkdir()
        image.make_keys(self._keys, template, self._record.token)
        image.make_template(template)
        (self._keys.folder / "hosts").mkdir()
        with ThreadPoolExecutor(max_workers=4) as pool:
            network_ready = pool.submit(network.build, self._record.number, self.instances)
            list(pool.map(self._make_host_key, specs))
            relays = frozenset({GATEWAY, *(spec.relay for spec in specs)})
            site = image.Site(self._keys, self._inner_addresses(), relays)
            list(pool.map(lambda spec: self._make_host(template, spec, site, debians), specs))
            network_ready.result()
        tell(f"starting {len(specs)} hosts")
        hosts.start([self._host(spec) for spec in specs])
        self._write_lab_nix()
        tell(f"{len(specs)} hosts are up")

    def _make_host_key(self, spec: HostSpec) -> None:
        image.make_ssh_key(image.host_key_path(self._keys, spec.name), spec.name)

    def _make_host(self, template: Path, spec: HostSpec, site: image.Site, debians: Mapping[Debian, Path]) -> None:
        root, box = self.root(spec.name), self._container(spec)
        if box is not None:
            container.lay_root(box, root, debians[spec.debian])
        if spec.disk is not None:
            (root / "nix").mkdir(parents=True, exist_ok=True)
            run(["mount", "-t", "tmpfs", "-o", f"size={spec.disk},mode=755", "nixhive-lab", str(root / "nix")])
        image.make_host(template, root, spec, site)

    def _host(self, spec: HostSpec) -> hosts.Host:
        address = self._address(spec.name) + ("/30" if spec.name == GATEWAY else "/16")
        box = self._container(spec)
        daemon = box is not None or spec.user != "root"
        return hosts.Host(spec.name, self._record.number, self.root(spec.name), address, daemon, box)

    def _container(self, spec: HostSpec) -> container.Container | None:
        if spec.init == "light":
            return None
        machine = cgroups.name_of(self._record.token, spec.name)
        return container.Container(self.folder / "containers" / spec.name, machine, self.folder)

    def _inner_addresses(self) -> dict[str, str]:
        return {name: network.inner_address(position) for position, name in enumerate(self.instances)}

    def _address(self, name: str) -> str:
        """Return the address that leads to a host: the jump host's from here, another one's from the jump host."""
        return network.gateway_address(self._record.number) if name == GATEWAY else self._inner_addresses()[name]

    def _host_key(self, name: str) -> str:
        try:
            return image.public_key_line(image.host_key_path(self._keys, name))
        except FileNotFoundError:
            return ""  # The fleet was killed before it made the key.

    def _namespace_inode(self, name: str) -> int:
        spec = self._record.spec(name)
        inode = network.inode(self._record.number, spec.name) if self._owns_number() else None
        if inode is None:
            raise LabError(f"The network of {name} is gone: take the fleet down and bring it up again.")
        return inode

    def _first_processes(self, names: Sequence[str]) -> dict[str, int]:
        if not self._owns_number():
            return {}
        number, known = self._record.number, self._firsts
        # To look at every process of this machine takes as long as most of what is then done in the host.
        if not all(name in known and hosts.is_first_of(known[name], number, name) for name in names):
            known.update(found := hosts.first_processes(number, names))
            return found
        return {name: known[name] for name in names}

    def _owns_number(self) -> bool:
        held = network.read_claim(self._record.number)
        return held is not None and held.token == self._record.token

    def _statuses(self) -> Iterable[HostStatus]:
        running = self._first_processes(self.instances)
        for spec in self._record.hosts:
            pid = running.get(spec.name)
            yield HostStatus(
                instance=spec.name,
                address=self._address(spec.name),
                pid=pid,
                netns=network.namespace(self._record.number, spec.name),
                user=spec.user,
                port=_SSH_PORT,
                host_key=self._host_key(spec.name),
                running=pid is not None,
                init=spec.init,
            )

    def _write_lab_nix(self) -> None:
        if self._record.deployment is None:
            return
        path = Path(self._record.deployment) / "lab.nix"
        lab_nix.write(path, token=self._record.token, nixpkgs=_NIXPKGS, keys=self._keys, hosts=list(self._statuses()))


def take_down(folder: Path, token: str) -> None:
    """Take down what is in a folder, if it is the fleet of that token."""
    if not folder.is_dir():
        return
    with contextlib.suppress(FileNotFoundError), locked(folder):
        record = _read_record(folder)
        if record is not None and record.token == token:
            _take_down_locked(folder, record)


def _take_down_locked(folder: Path, record: LabRecord) -> None:
    cgroups.end(record.token)
    network.release(record.number, record.token)
    for place in _mounts_below(folder):
        try:
            run(["umount", "--lazy", place])
        except LabError:
            _log.debug("%s cannot be unmounted", place, exc_info=True)
    if record.deployment is not None:
        lab_nix.remove(Path(record.deployment) / "lab.nix", record.token)
    # The record goes last: as long as it is there, somebody can finish this.
    run(["rm", "-rf", "--one-file-system", *(str(folder / part) for part in _PARTS)])
    for name in (_FRESH_RECORD, _RECORD):
        (folder / name).unlink(missing_ok=True)
    try:
        folder.rmdir()  # It stays if somebody put something of their own there.
    except OSError:
        _log.debug("%s stays", folder, exc_info=True)


@contextlib.contextmanager
def locked(folder: Path, *, create: bool = False) -> Iterator[None]:
    """Hold the lock of a fleet's folder: one program at a time makes a fleet there, or takes it down.

    The helpers that `run` starts inherit the lock. So when a program is killed while it makes a fleet, whoever cleans
    up waits for its last helper, and nothing is made behind their back.
    """
    handle = _open_folder(folder, create=create)
    try:
        os.set_inheritable(handle, True)  # noqa: FBT003 - it takes no keyword
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _open_folder(folder: Path, *, create: bool) -> int:
    while True:
        if create:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        os.close(handle)  # Whoever had the lock removed the folder.
        if not create:
            raise FileNotFoundError(folder)


def _absolute(folder: Path | str | None) -> Path:
    place = default_folder() if folder is None else Path(folder)
    return Path(os.path.realpath(place))


def _deployment_folder(deployment: Path | str | None) -> str | None:
    if deployment is None:
        return None
    place = Path(deployment).resolve()
    place = place.parent if place.is_file() else place
    if not place.is_dir():
        raise LabError(f"There is no folder {place} to write a lab.nix into.")
    return str(place)


def _register(folder: Path, wanted: tuple[HostSpec, ...], deployment: str | None) -> LabRecord:
    """Write the record and claim a number. From here on everything can be cleaned up. The folder is locked."""
    existing = _read_record(folder)
    if existing is not None:
        _clear_dead(folder, existing)
        folder.mkdir(mode=0o700, exist_ok=True)
    (folder / _FRESH_RECORD).unlink(missing_ok=True)
    if any(folder.iterdir()):
        raise LabError(f"{folder} is not empty: a practice fleet needs a folder of its own.")
    token = secrets.token_hex(4)
    with network.claims_locked():
        for number in network.free_numbers():
            record = LabRecord(token, number, wanted, deployment)
            (folder / _FRESH_RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)))
            (folder / _FRESH_RECORD).replace(folder / _RECORD)
            network.claim(number, token, folder)
            if network.take_link(number):
                return record
            network.unclaim(number)
    (folder / _RECORD).unlink(missing_ok=True)
    raise LabError("No number is free for another practice fleet on this machine.")


def _clear_dead(folder: Path, record: LabRecord) -> None:
    if any(status.running for status in Lab(folder, record).status()):
        raise LabError(f"A practice fleet is up already in {folder}: take it down first, or use another folder.")
    _take_down_locked(folder, record)


def _read_record(folder: Path) -> LabRecord | None:
    try:
        return msgspec.json.decode((folder / _RECORD).read_bytes(), type=LabRecord)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise LabError(f"{folder / _RECORD} cannot be read: {error}") from None


def _mounts_below(folder: Path) -> list[str]:
    """Return the places below a folder where something is mounted, the deepest first."""
    places = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # A blank is written as \040 there.
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4])
        if Path(place).is_relative_to(folder):
            places.append(place)
    return sorted(places, reverse=True)
