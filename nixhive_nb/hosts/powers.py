"""How the logins of a deployment become root, as far as it is known, and the passwords of one command.

A survey sees which logins become root without a question. Where one is asked for a password, and somebody can give it,
it is tried once: on one host first, and where it is right on the others. What is refused is tried nowhere again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from nixhive_nb.errors import HiveError, PasswordRefused
from nixhive_nb.hosts.privilege import Power, power_of
from nixhive_nb.ssh.fabric_links import FabricLinks
from nixhive_nb.ssh.gather import ask_all
from nixhive_nb.util.text import count_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from nixhive_nb.hosts.password import Password
    from nixhive_nb.ssh.link import HostLink, HostLinks
    from nixhive_nb.ssh.pool import Connections

_NAMED = 5
"""How many instances a message names."""

Way = tuple[str, tuple[str, ...]]
"""An instance, and what its deployment says of becoming root."""


class Powers:
    """What is known of logins, from command to command, and the passwords of one command alone."""

    def __init__(self, give: Callable[[str, Sequence[str]], Password] | None = None, named: Sequence[str] = ()) -> None:
        """`give` gets a password: it is told the pattern that it is for ("" for all), and the instances that ask.

        `named` are the patterns that have one of their own.
        """
        self.give = give
        self.named = tuple(named)
        self.able: set[Way] = set()
        """Those that were seen to become root without a question."""
        self.asking: set[Way] = set()
        """Those that are asked for a password, which is all that they lack."""
        self._given: dict[Way, Password] = {}
        self._holders = 1
        self._lock = threading.Lock()

    def for_command(self, give: Callable[[str, Sequence[str]], Password] | None, named: Sequence[str]) -> Powers:
        """Return the same knowledge with passwords of its own."""
        other = Powers(give, named)
        other.able, other.asking = self.able, self.asking
        return other

    def password_of(self, way: Way) -> Password | None:
        """Return what a login is to say where it is asked; None where nothing is known to be right."""
        return self._given.get(way)

    async def see(self, link: HostLink, way: Way) -> str:
        """See whether a login becomes root without a question, once a session. Return why not, else nothing."""
        if way in self.able or way in self._given:
            return ""
        power = await power_of(link, way[1])
        if power.asks:
            self.asking.add(way)
        elif not power.why:
            self.able.add(way)
            self.asking.discard(way)
        return power.why

    def prove(self, connections: Connections, ways: Sequence[Way], label: str, *, parallel: int) -> dict[str, str]:
        """Get a password and see that it is right: on one host first, then on the others, once on each.

        Return why it does not help, by instance, where something else is missing or a host cannot be asked. `label`
        is the pattern that it is for. Raises `PasswordRefused`, naming each host that has refused it.
        """
        if self.give is None or not ways:
            return {}
        password = self.give(label, [name for name, _ in ways])
        seen = _tried(connections, ways, password, parallel)
        refused = {name: power.why for name, power in seen.items() if isinstance(power, Power) and power.wrong}
        if refused:
            password.wipe()
            raise PasswordRefused(_refused_text(refused, [name for name, _ in ways if name not in seen]))
        for way in ways:
            power = seen[way[0]]
            if isinstance(power, Power) and not power.why:
                self._given[way] = password
        if password not in self._given.values():
            password.wipe()
        return {name: power if isinstance(power, str) else power.why for name, power in seen.items()}

    def hold(self) -> None:
        """Keep the passwords until one more has let go of them: a run in the background outlives its command."""
        with self._lock:
            self._holders += 1

    def let_go(self) -> None:
        """Wipe the passwords when nobody holds them any more."""
        with self._lock:
            self._holders -= 1
            if self._holders > 0:
                return
            for password in self._given.values():
                password.wipe()
            self._given.clear()

    def passwords(self, elevate: Mapping[str, Sequence[str]]) -> dict[str, Password]:
        """Return them by instance; `elevate` has what the deployment says of each."""
        found = {name: self.password_of((name, tuple(words))) for name, words in elevate.items()}
        return {name: password for name, password in found.items() if password is not None}


def seen_by(connections: Connections, powers: Powers, ways: Collection[Way], *, parallel: int) -> None:
    """Have logins looked at of which nothing is known. What cannot be asked is left: its command tells."""
    links, unknown = FabricLinks(connections), {way[0]: way for way in ways if way not in powers.able}

    async def see(name: str) -> str:
        return await powers.see(links.kept(name), unknown[name])

    ask_all(list(unknown), see, parallel=parallel)


def _tried(connections: Connections, ways: Sequence[Way], password: Password, parallel: int) -> dict[str, Power | str]:
    """Return what became of a password by instance, and an error as text; a wrong one stops at the first host."""
    links, found, left = FabricLinks(connections), dict[str, Power | str](), list(ways)
    # One on which something else is missing says nothing of the password.
    while left and not any(isinstance(power, Power) and (power.wrong or not power.why) for power in found.values()):
        found |= _at_once(links, [left.pop(0)], password, 1)
    if any(isinstance(power, Power) and power.wrong for power in found.values()):
        return found
    return found | _at_once(links, left, password, parallel)


def _at_once(links: HostLinks, ways: Sequence[Way], password: Password, parallel: int) -> dict[str, Power | str]:
    by_name = dict(ways)

    async def see(name: str) -> Power:
        return await power_of(links.kept(name), by_name[name], password)

    found = ask_all(list(by_name), see, parallel=parallel)
    return {name: str(power) if isinstance(power, HiveError) else power for name, power in found.items()}


def _refused_text(refused: Mapping[str, str], untried: Sequence[str]) -> str:
    """Return the message for a password that was refused: where, with what was said, and what to do."""
    lines = [f"  {name}: sudo: {why}" for name, why in list(refused.items())[:_NAMED]]
    if len(refused) > _NAMED:
        lines.append(f"  and {len(refused) - _NAMED} more")
    elsewhere = f", and not on the {count_text(len(untried), 'other host')} where one is asked for" if untried else ""
    return "\n".join([
        f"The password was refused on {count_text(len(refused), 'host')}. It was tried once there{elsewhere}:",
        *lines,
        "Nothing was built or changed. Give the right one, or one for some hosts alone: --ask-password-for PATTERN.",
    ])  # fmt: skip
