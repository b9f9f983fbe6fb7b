"""Pipes and sockets of many commands, which one thread watches."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nixhive_nb.ssh.ears import Ears

_log = logging.getLogger(__name__)

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class Pipes:
    """Wakes whoever waits for something to read, or for room to write. Its thread starts when it is needed first.

    Each wish counts once: whoever was woken says anew what to wait for. The owner calls `close`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._selector: selectors.BaseSelector | None = None
        self._waker: socket.socket | None = None
        self._closed = False

    def watch(self, handle: int, events: int, ears: Ears) -> None:
        """Wake `ears` when one of the events has come of a handle, at once where that was before.

        `forget` it before it is closed: its number may become another's.
        """
        with self._lock:
            if self._closed:
                ears.set()
                return
            selector = self._begun()
            if handle not in selector.get_map():
                selector.register(handle, events, ears)

    def forget(self, handle: int) -> None:
        """Wait for a handle no longer."""
        with self._lock:
            if self._selector is not None and handle in self._selector.get_map():
                self._selector.unregister(handle)

    def close(self) -> None:
        """End the thread. Whoever waits is woken."""
        with self._lock:
            self._closed = True
            if self._waker is not None:
                self._waker.close()

    def _begun(self) -> selectors.BaseSelector:
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
            ours, self._waker = socket.socketpair()
            self._selector.register(ours, READ, None)
            threading.Thread(target=self._watch, args=(self._selector, ours), name="hive-pipes", daemon=True).start()
        return self._selector

    def _watch(self, selector: selectors.BaseSelector, ours: socket.socket) -> None:
        with ours, selector:
            while not self._closed:
                for ears in self._came(selector):
                    ears.set()
            with self._lock:
                waiting = [key.data for key in selector.get_map().values() if key.data is not None]
                self._selector = None
            for ears in waiting:
                ears.set()

    def _came(self, selector: selectors.BaseSelector) -> list[Ears]:
        """Wait until something has come, and return whom to wake."""
        # Others add handles meanwhile: both epoll and kqueue, which this is, take notice.
        ready = selector.select()
        woken = []
        with self._lock:
            for key, _ in ready:
                # One that was forgotten just now may be another's already.
                if key.data is not None and selector.get_map().get(key.fd) is key:
                    selector.unregister(key.fd)
                    woken.append(key.data)
        return woken
