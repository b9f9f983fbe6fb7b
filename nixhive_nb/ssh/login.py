"""Logging in with keys: which are tried, in which order, and what to say when none is taken."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
from typing import TYPE_CHECKING, Any

import msgspec
import paramiko
from paramiko.agent import AgentKey, AgentSSH
from paramiko.pkey import UnknownKeyType

from nixhive_nb.ssh.host_keys import HostKey, parse_key
from nixhive_nb.ssh.transport import use_agent
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nixhive_nb.ssh.resolve import SshTarget

_log = logging.getLogger(__name__)
_AGENT_TIMEOUT = 60
"""Seconds for the agent: a person may have to confirm, or to touch a key."""
_HELD = " (agent"


class LoginRefused(Exception):  # noqa: N818 - becomes a `ConnectionFailed` with the name of the host
    """No key was taken. The text says what was tried and what to do."""


class TakenKey(msgspec.Struct, frozen=True, kw_only=True):
    """The key that a login was taken by."""

    kind: str
    """Such as `ssh-ed25519`, or that of a certificate."""
    name: str
    """Its file, or what the agent calls it."""
    is_held: bool = False
    """Whether an agent has it."""


class KeyLogin:
    """Tries the keys of one host. Made for each login; paramiko calls `authenticate`."""

    def __init__(self, target: SshTarget) -> None:
        self._target = target
        self._refused: list[str] = []
        self._locked: list[Path] = []
        self._unusable: list[str] = []
        self.taken: TakenKey | None = None
        """The key that was taken; None before the login, and where none was needed."""

    def authenticate(self, transport: paramiko.Transport) -> list[str]:
        """Log in. Raises `LoginRefused`, or what paramiko raises when the link breaks."""
        with _agent_keys(self._target.agent) as agent:
            for key, name in self._keys(agent):
                try:
                    left = transport.auth_publickey(self._target.user, key)
                except paramiko.BadAuthenticationType as error:
                    raise LoginRefused(self._wrong_type(error.allowed_types)) from None
                except paramiko.AuthenticationException as error:
                    self._note(transport, name, error)
                else:
                    kind = HostKey(key.get_name(), key.asbytes()).fingerprint if _log.isEnabledFor(logging.INFO) else ""
                    _log.info("%s: user %s: key %s (%s %s) was taken", self._target, self._target.user, name,
                              key.get_name(), kind)  # fmt: skip
                    if not left:
                        self.taken = _taken(key, name)
                        return left
                    raise LoginRefused(self._wrong_type(left))
        raise LoginRefused(self._why())

    def _note(self, transport: paramiko.Transport, name: str, error: paramiko.AuthenticationException) -> None:
        _log.debug("%s: user %s: key %s was refused: %s", self._target, self._target.user, name, error)
        self._refused.append(name)
        if "timeout" in str(error).lower():
            raise TimeoutError from None
        if not transport.is_active():
            # Servers hang up after a few keys (MaxAuthTries), or when the account may not log in.
            raise LoginRefused(f"{self._why()} It hung up after {len(self._refused)} keys.")

    def _keys(self, agent: Sequence[AgentKey]) -> Iterator[tuple[paramiko.PKey, str]]:
        """Return the keys with their names: first those that the configuration names, then the rest of the agent's."""
        offered: set[bytes] = set()
        for path in self._target.identity_files:
            for key, name in self._from_file(path, agent):
                if key.asbytes() not in offered:
                    offered.add(key.asbytes())
                    yield key, name
        if not self._target.identities_only:
            yield from ((key, _agent_name(key)) for key in agent if key.asbytes() not in offered)

    def _from_file(self, path: Path, agent: Sequence[AgentKey]) -> Iterator[tuple[paramiko.PKey, str]]:
        public = _public_half(path)
        held = [key for key in agent if public is not None and key.asbytes() == public.blob]
        if held:
            yield held[0], f"{path}{_HELD})"
            return
        if not path.is_file() or path.suffix == ".pub":
            return
        try:
            stat = path.stat()
            yield _load(path, stat.st_mtime_ns, stat.st_size), str(path)
        except TypeError:  # what the library raises for a key with a passphrase
            _log.debug("%s: key %s has a passphrase", self._target, path)
            self._locked.append(path)
        except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as error:
            self._unusable.append(f"{path} cannot be used ({strip_control(str(error)) or type(error).__name__})")

    def _why(self) -> str:
        parts = [f"the login of user {self._target.user} was refused."]
        if self._refused:
            parts.append(f"Keys tried: {', '.join(self._refused)}. Is one of them authorized there for that user?")
        if self._locked:
            names = " ".join(map(str, self._locked))
            parts.append(f"{names} has a passphrase: add it to ssh-agent (`ssh-add {names}`).")
        parts.extend(f"{text}." for text in self._unusable)
        if not self._refused and not self._locked:
            parts.append("There was no key to try: name one with IdentityFile, or add one to ssh-agent.")
        return " ".join(parts)

    def _wrong_type(self, allowed: Sequence[str]) -> str:
        return f"the login of user {self._target.user} by key is not enough; the host wants {', '.join(allowed)}."


@contextlib.contextmanager
def _agent_keys(path: str) -> Iterator[Sequence[AgentKey]]:
    """Return the keys of the agent, with a connection of our own that must stay open while they sign."""
    agent: Any = AgentSSH()
    with contextlib.ExitStack() as stack:
        keys: Sequence[AgentKey] = ()
        if path:
            with swallowed(_log, f"asking the agent {path}", OSError, paramiko.SSHException):
                link = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                link.settimeout(_AGENT_TIMEOUT)
                link.connect(path)
                use_agent(agent, link)
                keys = agent.get_keys()
        yield keys


def _taken(key: paramiko.PKey, name: str) -> TakenKey:
    certificate: Any = key.public_blob
    kind = certificate.key_type if certificate else key.get_name()
    return TakenKey(kind=strip_control(str(kind)), name=name.partition(_HELD)[0], is_held=isinstance(key, AgentKey))


def _agent_name(key: AgentKey) -> str:
    shown = strip_control(key.comment) or HostKey(key.get_name(), key.asbytes()).fingerprint
    return f"{shown}{_HELD})"


def _public_half(path: Path) -> HostKey | None:
    for place in (path, path.with_name(path.name + ".pub")):
        if place.suffix == ".pub" and place.is_file():
            with swallowed(_log, f"reading {place}", OSError, UnicodeDecodeError):
                return parse_key(place.read_text(encoding="utf-8"))
    return None


@functools.lru_cache(maxsize=64)
def _load(path: Path, changed: int, size: int) -> paramiko.PKey:  # noqa: ARG001 - a changed file is another key
    return paramiko.PKey.from_path(path)
