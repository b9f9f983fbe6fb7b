"""Jump hosts: one OpenSSH process for each chain of them, and a socket file for each host behind it.

paramiko cannot share a jump host's connection between threads, and reads `ProxyJump` chains backwards. So OpenSSH does
the whole way: its keys, its agent, its host keys, its nested jumps. The sockets lie in a folder that is ours alone.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.errors import ConnectionFailed, HiveError, HostKeyError, TookTooLong
from nixhive_nb.ssh.attempt import Cancelled
from nixhive_nb.ssh.chatter import without_chatter
from nixhive_nb.ssh.config import private_folder, remove_folder
from nixhive_nb.ssh.guest import WayLost
from nixhive_nb.util import process
from nixhive_nb.util.files import read_tail
from nixhive_nb.util.said import one_line
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nixhive_nb.deployment.ways import Hop
    from nixhive_nb.ssh.resolve import SshTarget

_log = logging.getLogger(__name__)

_START_TIMEOUT = 60.0
"""Seconds for a chain to come up. ssh itself gives up sooner, by the ConnectTimeout of each of its hosts."""
_FORWARD_TIMEOUT = 10.0
_TOLD_WITHIN = 5.0
"""Seconds in which a jump host finds that one is off: Linux looks for a neighbour for three of them."""
_AT_ONCE = 128
"""Forwards that one program asks for: an argument list has its limits."""
_POLL = 0.02
_MOST_WORDS = 500
_REMEMBER = 2.0
"""Seconds for which a failure stands: the many hosts behind one dead jump host need not each find it out."""
_ECHOES = ("Connection closed by UNKNOWN", "kex_exchange_identification", "banner exchange")
"""What the last ssh of a chain says when an earlier one has failed."""
KEY_TROUBLE = ("Host key verification failed", "HOST IDENTIFICATION HAS CHANGED", "host key is known for")


class Jumps:
    """The jump processes of one set of connections. They start when first needed; `close` ends them."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._chains: dict[str, _Chain] = {}
        self._folder: Path | None = None
        self._numbers = itertools.count()
        self._closed = False

    def expect(self, targets: Iterable[SshTarget]) -> None:
        """Hear which hosts will soon be asked for: those behind the same jump host are prepared at once."""
        for target in targets:
            if target.jumps:
                self._chain(target.jumps).expect(target)

    def socket(self, target: SshTarget, cancelled: Callable[[], bool]) -> Path:
        """Return a socket file that leads to a host behind jump hosts.

        Raises `ConnectionFailed` or `HostKeyError` with what OpenSSH says about the way, `Cancelled`, and `WayLost`
        where the process ends just now.
        """
        return self._chain(target.jumps).forward(target, cancelled)

    def words(self, target: SshTarget, cancelled: Callable[[], bool]) -> list[str]:
        """Return the words of a program whose input and output lead to a host behind jump hosts.

        Raises as `socket` does.
        """
        return self._chain(target.jumps).words(target, cancelled)

    def lost(self, target: SshTarget) -> None:
        """Hear that the socket of a host is dead: the next one who asks for it gets another."""
        self._chain(target.jumps).lost(target)

    def why_closed(self, target: SshTarget, seconds: float = _FORWARD_TIMEOUT) -> str:
        """Ask the jump host why it does not reach a host, for so many seconds at most, but long enough to be told.

        Empty when it does, does not say, or is not connected.
        """
        return self._chain(target.jumps).why_closed(target, min(max(seconds, _TOLD_WITHIN), _FORWARD_TIMEOUT))

    def close(self) -> None:
        """End the processes and remove their sockets."""
        with self._lock:
            self._closed = True
            chains, self._chains = list(self._chains.values()), {}
            folder, self._folder = self._folder, None
        for chain in chains:
            chain.close()
        if folder is not None:
            remove_folder(folder)

    def _chain(self, hops: Sequence[Hop]) -> _Chain:
        name = ",".join(map(str, hops))
        with self._lock:
            if self._closed:
                raise Cancelled
            if name not in self._chains:
                self._chains[name] = _Chain(self._config, tuple(hops), self._place)
            return self._chains[name]

    def _place(self) -> Path:
        """Make a folder for the sockets of a chain, in another one of ours where somebody has cleaned up."""
        with self._lock:
            if self._closed:
                raise Cancelled
            if self._folder is None or not self._folder.is_dir():
                self._folder = private_folder()
            folder = self._folder / f"j{next(self._numbers)}"
            folder.mkdir(mode=0o700)
            return folder


class _Chain:
    """One process, which holds the connection to the last jump host of a chain."""

    def __init__(self, config: Path, hops: tuple[Hop, ...], place: Callable[[], Path]) -> None:
        """`place` makes a folder for its sockets, each time that it starts."""
        self._config = config
        self._hops = hops
        self._place = place
        self._folder = Path()
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cut_off: list[subprocess.Popen[bytes]] = []
        """Those whose sockets are gone, and by which hosts are still connected."""
        self._forwards: dict[tuple[str, int], Path] = {}
        self._wanted: dict[tuple[str, int], SshTarget] = {}
        """Hosts that somebody waits for, or soon will."""
        self._numbers = itertools.count()
        self._failure: ConnectionFailed | None = None
        self._failed_at = 0.0
        self._closed = False

    def forward(self, target: SshTarget, cancelled: Callable[[], bool]) -> Path:
        """Return the socket for a host; a process that has died is started once more."""
        key = (target.hostname, target.port)
        known = self._forwards.get(key)
        if known is not None and self._process is not None and self._process.poll() is None:
            return known  # without waiting for whatever is found out about other hosts
        self._wanted[key] = target
        try:
            return self._forward(target, key, cancelled)
        finally:
            self._wanted.pop(key, None)

    def _forward(self, target: SshTarget, key: tuple[str, int], cancelled: Callable[[], bool]) -> Path:
        with self._up(target, cancelled):
            if key not in self._forwards:
                self._add_wanted()
            if key not in self._forwards:  # alone, so that what is wrong is told of this one
                self._forwards[key] = self._add_forward(target)
            return self._forwards[key]

    def words(self, target: SshTarget, cancelled: Callable[[], bool]) -> list[str]:
        """Return the words of a program that leads to a host; a process that has died is started once more."""
        with self._up(target, cancelled):
            return [*self._master(), "-W", _endpoint(target), "--", "jump"]

    @contextlib.contextmanager
    def _up(self, target: SshTarget, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Have the process up in this block, which is of one thread at a time."""
        while not self._lock.acquire(timeout=0.2):
            if cancelled():
                raise Cancelled
        try:
            self._ensure(target, cancelled)
            yield
        finally:
            self._lock.release()

    def expect(self, target: SshTarget) -> None:
        """Hear of a host that will soon be asked for."""
        key = (target.hostname, target.port)
        if key not in self._forwards:
            self._wanted[key] = target

    def lost(self, target: SshTarget) -> None:
        """Forget a socket that is dead. Its process is ending, as after a reboot of the jump host, or will be asked."""
        # Without the lock, which whoever starts a process holds for long. At worst a good one is made once more.
        self._forwards.pop((target.hostname, target.port), None)

    def why_closed(self, target: SshTarget, seconds: float) -> str:
        """Open one channel to the host. Where that is refused, the process writes the reason into its log."""
        argv = [*self._master(), "-W", _endpoint(target), "--", "jump"]
        # A host that says a lot is one that is reached.
        with self._asking, swallowed(_log, f"asking a jump host for {target}", HiveError, OSError):
            written = self._log.stat().st_size
            if not process.run(argv, timeout=seconds, most=_MOST_WORDS).status:
                return ""
            text = strip_control(read_tail(self._log, start=written))
            # A process that is gone, as after a reboot of the jump host, tells nothing of the host behind.
            if not self._is_connected():
                return ""
            # Another host's channel may fail at the same moment; then it is one of these.
            reasons = dict.fromkeys(re.findall(r"open failed: (.+)", text))
            return one_line(" or ".join(reasons), _MOST_WORDS) or "the channel was refused"
        return ""

    @property
    def _control(self) -> Path:
        return self._folder / "c"

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def close(self) -> None:
        """End the process. Not under the lock: whoever starts it notices."""
        self._closed = True
        for running in (self._process, *self._cut_off):
            if running is not None:
                process.end(running)

    def _ensure(self, target: SshTarget, cancelled: Callable[[], bool]) -> None:
        if self._closed:
            raise Cancelled
        # Without its socket, as after a clean-up of /tmp, it is as good as gone.
        if self._process is not None and self._process.poll() is None and self._control.exists():
            return
        if self._failure is not None and time.monotonic() - self._failed_at < _REMEMBER:
            raise self._for(target)
        self._clear()
        try:
            self._start(cancelled)
            self._failure = None
        except ConnectionFailed as error:
            _log.debug(
                "%s: the jump host cannot be used; it is asked again after %g s",
                self._hops[-1],
                _REMEMBER,
                exc_info=True,
            )
            self._failure, self._failed_at = error, time.monotonic()
            raise self._for(target) from None

    def _for(self, target: SshTarget) -> ConnectionFailed:
        failure = self._failure
        assert failure is not None  # noqa: S101 - for the type checker
        return type(failure)(f"{target.name} is behind a jump host that cannot be used: {failure}", log=failure.log)

    def _clear(self) -> None:
        self._forwards.clear()
        if self._process is not None and self._process.poll() is None and not self._control.exists():
            self._cut_off.append(self._process)
        elif self._process is not None:
            process.end(self._process)
        self._process = None
        if self._folder.name:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = self._place()

    def _start(self, cancelled: Callable[[], bool]) -> None:
        last, earlier = self._hops[-1], self._hops[:-1]
        argv = [
            *("ssh", "-F", str(self._config), "-N", "-M", "-S", str(self._control)),
            # The user's own forwards of this host are not for us; ours must not be open to others.
            *("-o", "ControlPersist=no", "-o", "ClearAllForwardings=yes", "-o", "StreamLocalBindMask=0177"),
            # Why a host behind cannot be reached is said at this level only.
            *("-o", "LogLevel=INFO"),
            *(("-J", ",".join(map(str, earlier))) if earlier else ()),
            *(("-l", last.user) if last.user else ()),
            *(("-p", last.port) if last.port else ()),
            *("--", last.host),
        ]
        with self._log.open("wb") as log:
            running = self._process = process.start(argv, stderr=log)
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._control.exists():
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(timeout=_POLL)
                raise self._failed(running.returncode)
            if self._closed or cancelled():
                process.end(running)
                raise Cancelled
            if time.monotonic() > deadline:
                process.end(running)
                raise ConnectionFailed(f"{last.host}: ssh was not connected within {_START_TIMEOUT:.0f} s.")

    def _failed(self, status: int) -> ConnectionFailed:
        names = " then ".join(str(hop) for hop in self._hops)
        text = strip_control(read_tail(self._log))
        lines = without_chatter(line.strip() for line in text.splitlines() if line.strip(" @"))
        if any(word in text for word in KEY_TROUBLE):
            return HostKeyError(
                f"the host key of a jump host on the way ({names}) is not accepted: {key_lines(lines)} "
                "Nothing was sent. If it is right, add it to the hostKeys of that instance.",
                log=lines,
            )
        telling = [line for line in lines if not line.startswith(_ECHOES)] or [f"ssh ended with status {status}"]
        return ConnectionFailed(f"{names}: {' / '.join(telling)[:_MOST_WORDS]}", log=lines)

    def _add_wanted(self) -> None:
        """Have the process forward to all hosts that are waited for, by one program: each takes as long as many."""
        wanted = [one for one in list(self._wanted.items()) if one[0] not in self._forwards]
        batch = [(key, target, self._folder / str(next(self._numbers))) for key, target in wanted]
        for start in range(0, len(batch) if len(batch) > 1 else 0, _AT_ONCE):
            part = batch[start : start + _AT_ONCE]
            forwards = [word for _, target, path in part for word in ("-L", f"{path}:{_endpoint(target)}")]
            # One that cannot be made ends it: those before it are there then, and the others come one by one.
            with swallowed(_log, "forwarding to several hosts at once", TookTooLong):
                process.run([*self._master(), "-O", "forward", *forwards, "--", "jump"], timeout=_FORWARD_TIMEOUT)
            for key, _, path in part:
                self._wanted.pop(key, None)
                if path.exists():
                    self._forwards[key] = path

    def _add_forward(self, target: SshTarget) -> Path:
        path = self._folder / str(next(self._numbers))
        argv = [*self._master(), "-O", "forward", "-L", f"{path}:{_endpoint(target)}", "--", "jump"]
        try:
            done = process.run(argv, timeout=_FORWARD_TIMEOUT)
        except TookTooLong:
            raise ConnectionFailed(f"{target.name}: the ssh process of {self._hops[-1]} does not answer.") from None
        if done.status and not self._is_connected():
            raise WayLost
        if done.status or not path.exists():
            raise ConnectionFailed(
                f"{target.name}: {self._hops[-1]} cannot be used as a jump host: {strip_control(done.stderr).strip()}"
            )
        return path

    def _is_connected(self) -> bool:
        try:
            return process.run([*self._master(), "-O", "check", "--", "jump"], timeout=_FORWARD_TIMEOUT).status == 0
        except TookTooLong:
            _log.debug("%s: its ssh process does not say whether it is connected", self._hops[-1], exc_info=True)
            return True

    def _master(self) -> list[str]:
        # Where the process is gone, ssh would connect by itself: to whatever is named `jump` here.
        return [
            *("ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ProxyCommand=false"),
            "-S",
            str(self._control),
        ]


def _endpoint(target: SshTarget) -> str:
    return f"[{target.hostname}]:{target.port}" if ":" in target.hostname else f"{target.hostname}:{target.port}"


def key_lines(lines: Sequence[str]) -> str:
    """Return what OpenSSH said of the key of a host that it does not accept."""
    telling = [line for line in lines if "host key is known" in line or "SHA256:" in line or "has changed" in line]
    return " ".join(telling or lines[-1:])
