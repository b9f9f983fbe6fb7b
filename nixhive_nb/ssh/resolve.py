"""What ssh_config says about a host, as OpenSSH itself reads it: `ssh -F FILE -G HOST`."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.ways import Circle, Hop, MalformedJump, read_hops, way_to
from nixhive_nb.errors import ConnectionFailed, TookTooLong
from nixhive_nb.ssh.own_files import expanded, home
from nixhive_nb.util import process, said
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nixhive_nb.ssh.alike import Alike, Kin

SSH_VALUED = frozenset("BbcDEeFIiJLlmOopPQRSWw")
"""The flags of ssh that take a value, from its manual page."""
_AT_ONCE = 8
_TIMEOUT = 20
_LAST_PORT = 65535
_TOKEN = re.compile(r"%(.)|\$\{(\w+)\}")


class SshTarget(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach and enter one host. Nothing in here needs a configuration file any more."""

    name: str
    """What the host is called in the deployment."""
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...] = ()
    """Private keys, or public halves of keys that are in the agent. Some may not exist."""
    certificate_files: tuple[Path, ...] = ()
    """Certificates for our keys, each in a file of its own. Without one, those beside the keys count."""
    identities_only: bool = False
    agent: str = ""
    """Socket of the agent; empty for none."""
    jumps: tuple[Hop, ...] = ()
    """The hosts on the way, the first to connect to first."""
    proxy_command: str = ""
    connect_timeout: float
    """Seconds; how long a connection may take up to the login."""
    host_key_alias: str = ""
    known_hosts: tuple[Path, ...] = ()
    revoked_keys: Path | None = None
    """A file of keys that no host may show: `RevokedHostKeys`."""
    ca_algorithms: tuple[str, ...] = ()
    """How an authority may have signed the certificate of the host; empty for the usual ways."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables of its commands, by `SetEnv`, as far as the host takes them."""
    address_family: str = "any"
    bind_address: str = ""
    asks: tuple[str, ...] = ()
    """Options that are set and that OpenSSH alone honours, by their names."""
    algorithms: Mapping[str, tuple[str, ...]] = {}
    """What may be used, by the names of the options."""

    @property
    def address(self) -> str:
        """`HOSTNAME:PORT`, for people."""
        return f"[{self.hostname}]:{self.port}" if ":" in self.hostname else f"{self.hostname}:{self.port}"

    @property
    def through(self) -> tuple[str, ...]:
        """The hosts that it is reached through, those of its jumps or the one that its ProxyCommand logs in to."""
        return tuple(hop.host for hop in self.jumps) or tuple(filter(None, [_proxy_host(self.proxy_command)]))

    @property
    def route(self) -> str:
        """The chain of jumps as `ProxyJump` writes it; empty without one."""
        return ",".join(map(str, self.jumps))

    def __str__(self) -> str:
        through = f" through {self.route}" if self.jumps else ""
        return f"{self.name} ({self.address}{through})"


class Resolver:
    """Resolves hosts of one rendered configuration, each once, at most 8 at the same time.

    Of hosts that are `alike`, ssh is asked about one.
    """

    def __init__(self, config: Path, alike: Alike | None = None, restore: Callable[[], object] = bool) -> None:
        """Ask nothing yet. `restore` sees that the configuration is there, before ssh reads it."""
        self._config = config
        self.restore = restore
        self._alike = alike
        self._known: dict[str, SshTarget] = {}
        self._before: dict[str, SshTarget] = {}
        self._slots = threading.BoundedSemaphore(_AT_ONCE)

    def __call__(self, name: str) -> SshTarget:
        """Return what the configuration says about a host. Raises `ConnectionFailed` when ssh cannot read it."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = parse(name, self.said(name))
        return known

    def said(self, name: str) -> str:
        """Return what `ssh -G` says about a host, as text. Raises as a call does."""
        kin = self.kin(name)
        return self._asked(name) if kin is None else self._asked_once(name, kin)

    def kin(self, name: str) -> Kin | None:
        """Return the hosts that are like one; None where it has to be asked about itself."""
        return self._alike.kin(name) if self._alike is not None else None

    def _asked(self, name: str) -> str:
        self.restore()
        with self._slots:
            return _ask(self._config, name)

    def _asked_once(self, name: str, kin: Kin) -> str:
        """Return what ssh says of a host, or would, since it has said the same of another."""
        assert self._alike is not None  # noqa: S101 - for the type checker
        with kin.lock:
            if not kin.answer:
                kin.answer = self._asked(name)
                return kin.answer
        return self._alike.said_of(name, kin.answer)

    def at_once(self, name: str) -> SshTarget:
        """Return what it said before where that is known, else what it says. Raises as a call does."""
        return self._known.get(name) or self._before.get(name) or self(name)

    def way(self, name: str) -> tuple[str, ...]:
        """Return all hosts that are passed on the way to one, the first to connect to first.

        Raises `ConnectionFailed` where it would be reached through itself: OpenSSH would start itself without end.
        """
        asked: list[str] = []

        def through(host: str) -> tuple[str, ...]:
            asked.append(host)
            return self(host).through

        try:
            return way_to(name, through)
        except (Circle, ConnectionFailed) as error:
            for host in asked:
                self.forget(host)
            if isinstance(error, ConnectionFailed):
                raise
            raise ConnectionFailed(
                f"{name} would be reached through itself: {error}. Give one of them `ProxyJump none` in the "
                "deployment, or fix your own ssh configuration."
            ) from None

    def forget(self, name: str) -> None:
        """Ask anew next time: a host that could not be reached is a reason for a person to edit the configuration."""
        known = self._known.pop(name, None)
        if known is not None:
            self._before[name] = known
        if self._alike is not None:
            self._alike.again()


def _ask(config: Path, name: str) -> str:
    try:
        # With a command, as all that we do has one: `Match sessiontype` tells that from a shell.
        done = process.run(["ssh", "-F", str(config), "-G", "--", name, "true"], timeout=_TIMEOUT)
    except TookTooLong:
        raise ConnectionFailed(
            f"{name}: ssh does not finish reading its configuration ({config}): a `Match exec` that hangs?"
        ) from None
    if done.status:
        lines = [strip_control(line) for line in done.stderr.splitlines() if line.strip()]
        if any("jumphost loop" in line for line in lines):
            raise _through_itself(name)
        raise ConnectionFailed(
            f"{name}: ssh cannot read its configuration: {lines[0] if lines else f'status {done.status}'}", log=lines
        )
    return done.stdout


def parse(name: str, text: str) -> SshTarget:
    """Return the target that a text of `ssh -G` describes. Raises `ConnectionFailed` for a jump that cannot be used."""
    options: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        options.setdefault(keyword.lower(), []).append(value)
    one = {keyword: values[0] for keyword, values in options.items()}
    hostname, port, user = one.get("hostname", name), _port(name, one.get("port", "22")), one.get("user", "")
    tokens = _tokens(name, hostname, port, user, _value(one, "hostkeyalias"))
    return SshTarget(
        name=name,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=_paths(_expand(file, tokens) for file in options.get("identityfile", ())),
        certificate_files=_paths(
            _expand(file, tokens) for file in options.get("certificatefile", ()) if file.lower() != "none"
        ),
        identities_only=one.get("identitiesonly") == "yes",
        agent=_agent(_value(one, "identityagent", "SSH_AUTH_SOCK"), tokens),
        jumps=_jumps(name, _expand(_value(one, "proxyjump"), tokens)),
        proxy_command=_expand(_value(one, "proxycommand"), tokens, for_shell=True),
        connect_timeout=_seconds(one.get("connecttimeout", "")),
        host_key_alias=_value(one, "hostkeyalias"),
        known_hosts=_paths(
            _expand(file, tokens)
            for keyword in ("userknownhostsfile", "globalknownhostsfile")
            for file in _split_files(_value(one, keyword))
        ),
        revoked_keys=next(iter(_paths([revoked] if (revoked := _value(one, "revokedhostkeys")) else [])), None),
        ca_algorithms=tuple(filter(None, one.get("casignaturealgorithms", "").split(","))),
        environment=_variables(options.get("setenv", ())),
        address_family=one.get("addressfamily", "any"),
        bind_address=_value(one, "bindaddress"),
        asks=(*_asks(one, hostname), *_unknown(options, tokens)),
        algorithms=_algorithms(tuple(one.get(name.lower(), "") for name in _LISTS)),
    )


_ASKED = {
    "KnownHostsCommand": ("", "none"),
    "VerifyHostKeyDNS": ("", "no", "false"),
    "GSSAPIAuthentication": ("", "no"),
    "GSSAPIKeyExchange": ("", "no"),
    "HostbasedAuthentication": ("", "no"),
    "PubkeyAuthentication": ("", "yes", "true", "unbound", "host-bound"),
    "PKCS11Provider": ("", "none"),
    "SecurityKeyProvider": ("", "none", "internal", "$ssh_sk_provider"),
    "ProxyUseFdpass": ("", "no"),
    "BindInterface": ("", "none"),
}
"""What OpenSSH alone honours, and what `ssh -G` says of each where nothing of it is asked for."""
_LOCAL = re.compile(r"localhost|127(\.\d+){3}|::1", re.IGNORECASE)
_OF_LOCAL = "NoHostAuthenticationForLocalhost"
_EXPANDED = ("IdentityFile", "CertificateFile", "IdentityAgent", "UserKnownHostsFile", "ProxyCommand")
"""The options in whose values OpenSSH replaces tokens and variables."""
_LISTS = ("Ciphers", "MACs", "KexAlgorithms", "HostKeyAlgorithms", "PubkeyAcceptedAlgorithms")


def _asks(one: Mapping[str, str], hostname: str) -> tuple[str, ...]:
    """Return which options are set that OpenSSH alone honours, by their names."""
    asked = [name for name, unset in _ASKED.items() if one.get(name.lower(), "").lower() not in unset]
    if one.get(_OF_LOCAL.lower()) == "yes" and _LOCAL.fullmatch(hostname):
        asked.append(_OF_LOCAL)
    if (ways := one.get("preferredauthentications", "")) and "publickey" not in ways.split(","):
        asked.append("PreferredAuthentications")
    return tuple(asked)


def _unknown(options: Mapping[str, Sequence[str]], tokens: Mapping[str, str]) -> tuple[str, ...]:
    """Return what stands in the options that is to be replaced by what only OpenSSH knows, or nobody."""
    return tuple(
        f"{found[0]} in {name}"
        for name in _EXPANDED
        for value in options.get(name.lower(), ())
        for found in _TOKEN.finditer(value)
        if (found[1] and found[1] not in tokens)
        or (found[2] and name != "ProxyCommand" and found[2] not in os.environ)  # the shell replaces those of a command
    )


@functools.lru_cache(maxsize=64)
def _algorithms(values: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Return the lists of algorithms by their options; hosts with the same ones share them."""
    return {name: tuple(filter(None, value.split(","))) for name, value in zip(_LISTS, values, strict=True)}


def _variables(lines: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return variables by name; of two with one name ssh takes the first."""
    found: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if equals:
            found.setdefault(name, value)
    return tuple(found.items())


def _value(options: Mapping[str, str], keyword: str, default: str = "") -> str:
    value = options.get(keyword, default)
    return "" if value.lower() == "none" else value


def _port(name: str, text: str) -> int:
    port = said.whole(text)
    if port is None or not 0 < port <= _LAST_PORT:
        raise ConnectionFailed(f"{name}: ssh's Port is {text!r}, which is no port.")
    return port


def _seconds(text: str) -> float:
    # `ConnectTimeout none` leaves it to TCP, which gives up after two minutes.
    return said.seconds(text) or 120.0


def _tokens(name: str, hostname: str, port: int, user: str, alias: str) -> dict[str, str]:
    machine = socket.gethostname()
    return {
        "%": "%",
        "d": home(),
        "h": hostname,
        "i": str(os.getuid()),
        "k": alias or name,
        "L": machine.partition(".")[0],
        "l": machine,
        "n": name,
        "p": str(port),
        "r": user,
        "u": os.environ.get("USER", ""),
    }


def _expand(text: str, tokens: Mapping[str, str], *, for_shell: bool = False) -> str:
    """Replace `%x`, and `${NAME}` and a leading `~` but where the shell does that."""

    def replaced(found: re.Match[str]) -> str:
        if found[1]:
            return tokens.get(found[1], found[0])
        return found[0] if for_shell else os.environ.get(found[2], "")

    filled = _TOKEN.sub(replaced, text)
    return filled if for_shell else expanded(filled)


def _agent(value: str, tokens: Mapping[str, str]) -> str:
    if value == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK", "")
    if value.startswith("$") and not value.startswith("${"):
        return os.environ.get(value[1:], "")
    return _expand(value, tokens)


def _split_files(value: str) -> list[str]:
    # `ssh -G` leaves the quotes out, so that a name with blanks is known by there being such a file.
    if value and os.path.exists(value):  # noqa: PTH110 - pathlib fails for a name that cannot be
        return [value]
    with contextlib.suppress(ValueError):
        return shlex.split(value)
    return value.split()


def _paths(files: Iterable[str]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(Path(file) for file in files))


def _jumps(name: str, text: str) -> tuple[Hop, ...]:
    try:
        hops = read_hops(text)
    except MalformedJump as error:
        raise ConnectionFailed(f"{name}: ssh's ProxyJump holds what it cannot: {error}.") from None
    if any(hop.host == name for hop in hops):
        raise _through_itself(name)
    return hops


def _through_itself(name: str) -> ConnectionFailed:
    # OpenSSH would start itself without end; a `Host *` with a ProxyJump is how this comes about.
    return ConnectionFailed(f"{name} would be reached through itself. Give it `ProxyJump none` in its ssh options.")


def _proxy_host(command: str) -> str:
    """Return the host that a ProxyCommand logs in to, where it is an ssh of its own (`ssh -W %h:%p portico`)."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    if words[:1] == ["exec"]:
        words = words[1:]
    if not words or Path(words[0]).name != "ssh":
        return ""
    rest = iter(words[1:])
    for word in rest:
        if word == "--":
            continue
        if not word.startswith("-"):
            return word.removeprefix("ssh://").rpartition("@")[2].partition(":")[0]
        if word[-1] in SSH_VALUED:
            next(rest, None)
    return ""
