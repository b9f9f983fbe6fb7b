"""What every verb works with."""

from __future__ import annotations

from types import SimpleNamespace

from nixhive_nb.run.limits import Limits
from nixhive_nb.workspace import Workspace


def test_as_many_connections_are_kept_as_the_limits_of_now_say():
    kept = []
    access = SimpleNamespace(connections=SimpleNamespace(keep=kept.append))
    for limits in (Limits(), Limits(connections=7)):
        made = Workspace.connections.fget(SimpleNamespace(access=access, limits=limits))
        assert made is access.connections
    assert kept == [1000, 7]
