"""Logging in with keys: which are tried, in which order, and what to say when none is taken."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

import msgspec
import paramiko
from paramiko.agent import AgentKey, AgentSSH
from paramiko.pkey import PublicBlob

from nixhive_nb.ssh.certificates import is_certificate
from nixhive_nb.ssh.key_files import certificate_in, load_private, public_half, read_key_file
from nixhive_nb.ssh.own_files import home
from nixhive_nb.ssh.public_keys import HostKey
from nixhive_nb.ssh.transport import use_agent
from nixhive_nb.ssh.wire import Malformed
from nixhive_nb.util.said import one_line
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nixhive_nb.ssh.certificates import Certificate
    from nixhive_nb.ssh.resolve import SshTarget

_log = logging.getLogger(__name__)
_AGENT_TIMEOUT = 60
"""Seconds for the agent: a person may have to confirm, or to touch a key."""
_LIST_TIMEOUT = 10
"""Seconds for it to say which keys it has, which asks nobody: one that hangs is passed over then."""
_BY_KEY = "publickey"
_ACCEPTED = "PubkeyAcceptedAlgorithms"
_OF_HARDWARE = "sk-"
_HELD = " (agent"
_CERTIFIED = " with its certificate"
"""What stands behind the name of a key."""
_MOST = 300
"""Characters of what a library or an agent says."""


class LoginRefused(Exception):  # noqa: N818 - becomes a `ConnectionFailed` with the name of the host
    """No key was taken. The text says what was tried and what to do."""


class _AgentKey(AgentKey):
    """A key of an agent that shows what the agent has, and ends no connection where the agent does not sign."""

    def __init__(self, agent: AgentSSH, blob: bytes, comment: str) -> None:
        super().__init__(agent, blob, comment)
        self.failure = ""
        if is_certificate(self.get_name()):
            self.inner_key = None  # of a certificate of RSA, paramiko makes the key inside
        if self.inner_key is None:
            # paramiko asks for it, and before 4 has none for a key of a kind that it does not know.
            self.public_blob = None

    def sign_ssh_data(self, data: Any, algorithm: str | None = None) -> paramiko.Message:  # noqa: ANN401 - as paramiko's
        """Sign, or give no signature where nobody touched the key or said that it may: the host refuses that."""
        try:
            return super().sign_ssh_data(data, algorithm)
        except (OSError, paramiko.SSHException) as error:
            _log.debug("the agent does not sign", exc_info=True)
            self.failure = one_line(str(error), _MOST) or "the agent said nothing"
            return paramiko.Message()


class _Offer(msgspec.Struct, frozen=True):
    """A key to log in with, and what it is called."""

    key: paramiko.PKey
    name: str

    @property
    def shown(self) -> bytes:
        """What the host sees of it: the public key, or the certificate."""
        certificate = self.key.public_blob
        return bytes(certificate.key_blob) if certificate is not None else self.key.asbytes()

    @property
    def kind(self) -> str:
        """Its type, or that of the certificate."""
        certificate = self.key.public_blob
        return str(certificate.key_type if certificate is not None else self.key.get_name())


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

    def __init__(self, target: SshTarget, tell: Callable[[str], None] = _log.info) -> None:
        """`tell` takes a line for a person who has to do something: a key is waited for."""
        self._target = target
        self._tell = tell
        self._refused: list[str] = []
        self._locked: list[Path] = []
        self._unusable: list[str] = []
        self._wanted: Sequence[str] = ()
        """What the host wants as well, after a key that it took."""
        self.taken: TakenKey | None = None
        """The key that was taken; None before the login, and where none was needed."""

    def authenticate(self, transport: paramiko.Transport) -> list[str]:
        """Log in. Raises `LoginRefused`, or what paramiko raises when the link breaks."""
        with self._agent_keys() as agent:
            for offer in self._offers(agent):
                left = self._tried(transport, offer)
                if left is not None and not left:
                    return []
                if left is not None:  # it was taken, and is not enough
                    self._wanted = left
                if self._wanted and _BY_KEY not in self._wanted:
                    break
        if not self._wanted and self._is_let_in(transport):
            return []
        raise LoginRefused(self._why())

    def _tried(self, transport: paramiko.Transport, offer: _Offer) -> Sequence[str] | None:
        """Try a key, and return what the host wants beside it; None where it was not taken."""
        _log.debug("%s: user %s: trying key %s", self._target, self._target.user, offer.name)
        if offer.name.endswith(_TOUCHED):
            self._tell(f"{self._target.name} waits for the key {offer.name.removesuffix(_TOUCHED)}): touch it.")
        try:
            left: list[str] = transport.auth_publickey(self._target.user, offer.key)
        except paramiko.BadAuthenticationType as error:
            if not self._is_let_in(transport):
                raise LoginRefused(self._wrong_type(error.allowed_types)) from None
            return []
        except paramiko.AuthenticationException as error:
            self._note(transport, offer, error)
            return None
        kind = HostKey(offer.key.get_name(), offer.key.asbytes()).fingerprint if _log.isEnabledFor(logging.INFO) else ""
        _log.info("%s: user %s: key %s (%s %s) was taken", self._target, self._target.user, offer.name,
                  offer.key.get_name(), kind)  # fmt: skip
        self.taken = _taken(offer)
        return left

    def _is_let_in(self, transport: paramiko.Transport) -> bool:
        """Return whether the host asks for nothing at all: OpenSSH tries that first, and it costs as much as a key."""
        try:
            return not transport.auth_none(self._target.user)
        except paramiko.AuthenticationException as error:
            if not transport.is_active():
                raise LoginRefused(f"{self._why()} It hung up then.") from None
            _log.debug("%s: user %s: not without a key: %s", self._target, self._target.user, error)
            return False

    def _note(self, transport: paramiko.Transport, offer: _Offer, error: paramiko.AuthenticationException) -> None:
        _log.debug("%s: user %s: key %s was refused: %s", self._target, self._target.user, offer.name, error)
        if isinstance(offer.key, _AgentKey) and offer.key.failure:
            self._unusable.append(f"{offer.name} did not sign: {offer.key.failure}")
        else:
            self._refused.append(offer.name)
        if "timeout" in str(error).lower():
            if offer.name.endswith(_TOUCHED):
                raise LoginRefused(f"the key {offer.name} was waited for.") from None
            raise TimeoutError from None
        if not transport.is_active():
            # Servers hang up after a few keys (MaxAuthTries), or when the account may not log in.
            raise LoginRefused(f"{self._why()} It hung up after {len(self._refused)} keys.")

    def _offers(self, agent: Sequence[AgentKey]) -> Iterator[_Offer]:
        """Return each key once: those that the configuration names, then the rest of the agent's.

        Those that have to be touched come last: whoever is let in without touches nothing.
        """
        offered: set[bytes] = set()
        touched: list[_Offer] = []
        for offer in self._in_order(agent):
            if offer.shown in offered:
                continue
            offered.add(offer.shown)
            if not self._may_be_shown(offer):
                continue
            if offer.name.endswith(_TOUCHED):
                touched.append(offer)
            else:
                yield offer
        yield from touched

    def _may_be_shown(self, offer: _Offer) -> bool:
        """Return whether ssh's list of algorithms has one for a key; an empty list has all."""
        accepted = self._target.algorithms.get(_ACCEPTED, ())
        kind = offer.kind
        fitting = {kind.replace("ssh-rsa", "rsa-sha2-512"), kind.replace("ssh-rsa", "rsa-sha2-256"), kind}
        if not accepted or not fitting.isdisjoint(accepted):
            return True
        self._unusable.append(f"{offer.name} is not tried: {_ACCEPTED} of its ssh options does not have {kind}")
        return False

    def _in_order(self, agent: Sequence[AgentKey]) -> Iterator[_Offer]:
        named = [found for path in self._target.certificate_files if (found := self._certificate(path, is_named=True))]
        for path in self._target.identity_files:
            for offer in self._from_file(path, agent):
                # As OpenSSH does: those that lie beside keys count where none is named.
                beside = path.with_name(path.name + "-cert.pub")
                fitting = named if self._target.certificate_files else filter(None, [self._certificate(beside)])
                yield from self._with(fitting, offer)
                yield offer
        if not self._target.identities_only:
            for key in agent:
                offer = _Offer(key, _agent_name(key))
                yield from self._with(named, offer)
                yield offer

    def _with(self, certificates: Iterator[Certificate] | Sequence[Certificate], offer: _Offer) -> Iterator[_Offer]:
        """Return a key with each of the certificates that are for it."""
        for certificate in certificates:
            if certificate.key.blob == offer.key.asbytes():
                key = _copied(offer.key)
                kind = str(PublicBlob.from_message(paramiko.Message(certificate.blob)).key_type)
                key.public_blob = PublicBlob(kind, certificate.blob)
                yield _Offer(key, f"{offer.name}{_CERTIFIED} {one_line(certificate.key_id, 60)!r}")

    def _certificate(self, path: Path, *, is_named: bool = False) -> Certificate | None:
        try:
            found = certificate_in(path)
        except (Malformed, OSError) as error:
            _log.debug("%s: certificate %s", self._target, path, exc_info=True)
            self._unusable.append(f"{path} cannot be used: {one_line(str(error), _MOST)}")
            return None
        if found is None and is_named:
            self._unusable.append(f"{path}, which is to be a certificate, is not there")
        return found

    def _from_file(self, path: Path, agent: Sequence[AgentKey]) -> Iterator[_Offer]:
        public = public_half(path)
        held = [key for key in agent if public is not None and key.asbytes() == public.blob]
        if held:
            yield _Offer(held[0], f"{path}{_HELD}{_touch(held[0])}")
            return
        file = read_key_file(path)
        if file is None:
            return
        if file.is_locked:
            _log.debug("%s: key %s has a passphrase", self._target, path)
            self._locked.append(path)
        elif file.problem:
            self._unusable.append(f"{path} cannot be used: {file.problem}")
        elif file.private:
            try:
                key = load_private(path, file.private)
            except (OSError, ValueError) as error:
                _log.debug("%s: key %s", self._target, path, exc_info=True)
                self._unusable.append(f"{path} cannot be used ({strip_control(str(error)) or type(error).__name__})")
                return
            if public is None or key.asbytes() == public.blob:
                yield _Offer(key, str(path))
            else:
                self._unusable.append(
                    f"{path} is not used, as ssh does not use it: {path}.pub beside it is that of another key. "
                    f"`ssh-keygen -y -f {path} >{path}.pub` writes the right one"
                )

    def _why(self) -> str:
        user = self._target.user
        if self._wanted:
            return " ".join([self._wrong_type(self._wanted), *(f"{text}." for text in self._unusable)])
        parts = [f"the login of user {user} was refused."]
        if self._refused:
            parts.append(f"Keys tried: {', '.join(self._refused)}. Is one of them authorized there for that user?")
        if self._locked:
            names = " ".join(map(str, self._locked))
            parts.append(f"{names} has a passphrase: add it to ssh-agent (`ssh-add {names}`).")
        parts.extend(f"{text}." for text in self._unusable)
        if not self._refused and not self._locked:
            parts.append("There was no key to try: name one with IdentityFile, or add one to ssh-agent.")
            if os.environ.get("HOME", home()) != home():
                parts.append(f"ssh takes {home()} for `~`, whatever HOME says.")
        return " ".join(parts)

    def _wrong_type(self, allowed: Sequence[str]) -> str:
        wanted = ", ".join("another key" if one == _BY_KEY else one for one in allowed)
        return f"the login of user {self._target.user} by key is not enough; the host wants {wanted or 'another way'}."

    @contextlib.contextmanager
    def _agent_keys(self) -> Iterator[Sequence[AgentKey]]:
        """Return the keys of the agent, with a connection of our own that must stay open while they sign."""
        agent: Any = AgentSSH()
        with contextlib.ExitStack() as stack:
            keys: Sequence[AgentKey] = ()
            if path := self._target.agent:
                try:
                    link = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                    link.settimeout(_LIST_TIMEOUT)
                    link.connect(path)
                    use_agent(agent, link)
                    keys = [_AgentKey(agent, key.blob, key.comment) for key in agent.get_keys()]
                    link.settimeout(_AGENT_TIMEOUT)
                except (OSError, ValueError, paramiko.SSHException) as error:
                    _log.debug("%s: asking the agent %s", self._target, path, exc_info=True)
                    why = one_line(getattr(error, "strerror", None) or str(error), _MOST)
                    self._unusable.append(
                        f"The agent at {path} does not answer ({why}): set SSH_AUTH_SOCK (in a notebook "
                        "`%env SSH_AUTH_SOCK=…`) to the one that runs"
                    )
            yield keys


_TOUCHED = ", to be touched)"
"""How the name of a key ends that a person has to touch."""


def _touch(key: AgentKey) -> str:
    return _TOUCHED if key.get_name().startswith(_OF_HARDWARE) else ")"


def _copied(key: paramiko.PKey) -> paramiko.PKey:
    if isinstance(key, _AgentKey):
        return _AgentKey(key.agent, key.blob, key.comment)
    return copy.copy(key)


def _taken(offer: _Offer) -> TakenKey:
    return TakenKey(
        kind=strip_control(offer.kind),
        name=offer.name.partition(_HELD)[0].partition(_CERTIFIED)[0],
        is_held=isinstance(offer.key, AgentKey),
    )


def _agent_name(key: AgentKey) -> str:
    shown = one_line(strip_control(key.comment), 120) or HostKey(key.get_name(), key.asbytes()).fingerprint
    return f"{shown}{_HELD}{_touch(key)}"
