"""What every verb works with."""

from __future__ import annotations

from types import SimpleNamespace

from nixhive_nb.run.limits import Limits
from nixhive_nb.workspace import Workspace


def test_as_many_connections_are_kept_and_carried_as_the_limits_of_now_say():
    kept, carried = [], []
    carry = lambda carrier, _: carried.append(carrier)  # noqa: E731
    access = SimpleNamespace(connections=SimpleNamespace(keep=kept.append, carry=carry))
    for limits in (Limits(), Limits(connections=7, carrier="openssh")):
        made = Workspace.connections.fget(SimpleNamespace(access=access, limits=limits, warn=None, cluster=None))
        assert made is access.connections
    assert kept == [1000, 7]
    assert carried == ["auto", "openssh"]
