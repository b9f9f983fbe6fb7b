"""What becomes of things that a deployment says: nodes of which the same is said share a line."""

from __future__ import annotations

from nixhive_nb.deployment.inventory import Heeded
from nixhive_nb.deployment.sources.heeding import Heeding
from nixhive_nb.view.deployment import heeded_lines


def test_nodes_of_which_the_same_is_said_share_a_line():
    heeding = Heeding()
    heeding.honoured("deployment.tags", "www")
    heeding.ignored("deployment.buildOnTarget", "it is built here", "www")
    for node in ("a", "b", "c", "db"):
        heeding.ignored("deployment.buildOnTarget", "it is built here", node)
    heeding.differently("meta.allowApplyAll", "`deploy` without a pattern is refused")
    assert heeding.heeded[0] == Heeded(attribute="deployment.tags", how="honoured", of=("www",))
    assert heeded_lines(heeding.heeded) == [
        "  deployment.tags of www: honoured",
        "  deployment.buildOnTarget of www, a, b and 2 more: not honoured (it is built here)",
        "  meta.allowApplyAll: honoured differently (`deploy` without a pattern is refused)",
    ]
