"""The fleet's network: namespaces, the link to this machine, and the bridge behind the jump host.

Each fleet on this machine has a number, from which the names and addresses of all its parts follow. A claim file says
whose number it is, so that a fleet that is cleaned up late never takes away what belongs to another one.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.lab.commands import kill_all, run
from nixhive_nb.lab.model import GATEWAY, LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_log = logging.getLogger(__name__)

_NUMBERS = range(256)
_CLAIMS = Path("/run/nixhive-lab")
_NAMESPACES = Path("/run/netns")
_INTERFACES = Path("/sys/class/net")
_HOSTS_PER_BLOCK = 250
_SWEPT_AT_ONCE = 100


class NumberClaim(msgspec.Struct, frozen=True):
    """Who owns a number: the fleet's folder, and the token that its `lab.json` must hold."""

    token: str
    folder: str


def link_name(number: int) -> str:
    """Return the near end of the link to the jump host."""
    return f"nixhive{number}"


def namespace(number: int, host: str) -> str:
    """Return the name of a host's network namespace, as `ip netns list` shows it."""
    return f"nixhive{number}-{host}"


def path(number: int, host: str) -> Path:
    """Return the file by which one enters a host's network namespace."""
    return _NAMESPACES / namespace(number, host)


def near_address(number: int) -> str:
    """Return the near address on the link."""
    return f"198.18.{number}.1"


def gateway_address(number: int) -> str:
    """Return the jump host's address on the link."""
    return f"198.18.{number}.2"


def inner_address(position: int) -> str:
    """Return a host's address behind the jump host; the jump host itself is at position 0."""
    if position == 0:
        return "198.19.0.1"
    block, rest = divmod(position - 1, _HOSTS_PER_BLOCK)
    return f"198.19.{block + 1}.{rest + 1}"


@contextlib.contextmanager
def claims_locked() -> Iterator[None]:
    """Hold this machine's one lock on the numbers of fleets."""
    _CLAIMS.mkdir(mode=0o700, exist_ok=True)
    with (_CLAIMS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def free_numbers() -> Iterator[int]:
    """Return the numbers that no fleet holds and whose addresses are free. Call it, and `claim`, with the lock held."""
    networks = _routed_networks()
    for number in _NUMBERS:
        held = read_claim(number)
        if held is not None and _is_alive(held):
            continue
        if held is not None:
            sweep(number)
        elif (_INTERFACES / link_name(number)).exists() or _namespaces_of(number):
            continue  # Somebody's, though nobody says whose: leave it alone.
        ours = ipaddress.ip_network(f"198.18.{number}.0/30")
        if not any(ours.overlaps(network) for network in networks):
            yield number


def claim(number: int, token: str, folder: Path) -> None:
    """Write down whose number it is."""
    path = _CLAIMS / str(number)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(NumberClaim(token, str(folder))))
    fresh.replace(path)


def take_link(number: int) -> bool:
    """Make the link of a number, unless somebody has it; tell whether it is ours now.

    Claims are files below /run. A container may have a /run of its own and this machine's network: there, the link
    itself is what no two can have.
    """
    name = link_name(number)
    try:
        _ip(f"link add {name} type veth peer name {name}p")
    except LabError:
        if not (_INTERFACES / name).exists():
            raise
        _log.debug("%s is there already", name, exc_info=True)
        return False
    return True


def unclaim(number: int) -> None:
    """Forget a claim whose link is somebody else's."""
    (_CLAIMS / str(number)).unlink(missing_ok=True)


def read_claim(number: int) -> NumberClaim | None:
    """Whose number it is."""
    try:
        return msgspec.json.decode((_CLAIMS / str(number)).read_bytes(), type=NumberClaim)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def release(number: int, token: str) -> None:
    """Take down the number's whole network and give the number back, if it is still this fleet's."""
    if not _CLAIMS.exists():
        return
    with claims_locked():
        held = read_claim(number)
        if held is not None and held.token == token:
            sweep(number)
            (_CLAIMS / str(number)).unlink(missing_ok=True)


def _is_alive(held: NumberClaim) -> bool:
    try:
        record = msgspec.json.decode((Path(held.folder) / "lab.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        _log.debug("there is no fleet in %s", held.folder, exc_info=True)
        return False
    return isinstance(record, dict) and record.get("token") == held.token


def _routed_networks() -> list[ipaddress.IPv4Network]:
    routes = msgspec.json.decode(run(["ip", "-4", "-json", "route", "show", "table", "all"]))
    found = []
    for route in routes:
        with contextlib.suppress(ValueError):  # "default" is no network, and overlaps with nothing here.
            found.append(ipaddress.IPv4Network(route["dst"]))
    return [network for network in found if network.prefixlen > 0]


def build(number: int, hosts: Sequence[str]) -> None:
    """Make the namespaces and the bridge, and connect the link. `hosts` are all names, the jump host first."""
    link, gateway = link_name(number), namespace(number, GATEWAY)
    inner = list(enumerate(hosts))[1:]
    _ip(
        *(f"netns add {namespace(number, host)}" for host in hosts),
        f"link set {link}p netns {gateway} name eth0",
        f"addr add {near_address(number)}/30 dev {link}",
    )
    _silence(link)
    _ip(f"link set {link} up")
    _ip("link add br0 type bridge", f"addr add {inner_address(0)}/16 dev br0", "link set br0 up", inside=gateway)
    _ip(
        *(
            f"link add v{position} master br0 type veth peer name eth0 netns {namespace(number, host)}"
            for position, host in inner
        ),
        *(f"link set v{position} up" for position, _ in inner),
        inside=gateway,
    )


def _silence(link: str) -> None:
    """No IPv6 on the link: its announcements would count as the operator's traffic."""
    setting = Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6")
    if setting.exists():
        setting.write_text("1")


def unplug(number: int, host: str) -> None:
    """Cut a host off, as a host that is switched off is."""
    _ip("link set eth0 down", inside=namespace(number, host))


def forget_neighbours(number: int) -> None:
    """Forget which hosts did not answer.

    Whoever asked for a host that was off waits up to a second more for an answer to a question that the host, back
    by now, never heard, and every connection made in that second fails with "No route to host".
    """
    _ip(f"neigh flush dev {link_name(number)}")
    _ip("neigh flush dev br0", inside=namespace(number, GATEWAY))


def inode(number: int, host: str) -> int | None:
    """Return the inode of a host's network namespace, which tells its processes from others; None if it is gone."""
    try:
        status = (_NAMESPACES / namespace(number, host)).stat()
    except FileNotFoundError:
        return None
    return status.st_ino if _is_namespace(status) else None


def sweep(number: int) -> None:
    """End every process in the number's namespaces, and remove the namespaces and the link."""
    if (_INTERFACES / link_name(number)).exists():
        # It goes by itself, at any moment, once the namespace at its other end is gone.
        try:
            _ip(f"link del {link_name(number)}")
        except LabError:
            _log.debug("%s cannot be removed", link_name(number), exc_info=True)
    names = _namespaces_of(number)
    for start in range(0, len(names), _SWEPT_AT_ONCE):
        _sweep_namespaces(names[start : start + _SWEPT_AT_ONCE])
    if left := _namespaces_of(number):
        raise LabError(f"These network namespaces could not be removed: {', '.join(left)}")


def _sweep_namespaces(names: Sequence[str]) -> None:
    with contextlib.ExitStack() as stack:
        # While a namespace is held open its inode stays its own, so no stranger's process can be taken for one of ours.
        held = [stack.enter_context((_NAMESPACES / name).open("rb")) for name in names]
        inodes = [status.st_ino for file in held if _is_namespace(status := os.fstat(file.fileno()))]
        # First the names, so that nothing can enter any more, then the processes.
        run(["ip", "-force", "-batch", "-"], text="".join(f"netns del {name}\n" for name in names))
        kill_all(inodes)


def _is_namespace(status: os.stat_result) -> bool:
    """Tell a namespace from the plain file, on the file system of /run, that a fleet leaves which is killed early."""
    return status.st_dev != _NAMESPACES.stat().st_dev


def _namespaces_of(number: int) -> list[str]:
    return sorted(path.name for path in _NAMESPACES.glob(f"{namespace(number, '')}*"))


def _ip(*commands: str, inside: str | None = None) -> None:
    if not commands:
        return
    argv = ["ip", *(("-netns", inside) if inside else ()), "-batch", "-"]
    run(argv, text="\n".join(commands) + "\n")
