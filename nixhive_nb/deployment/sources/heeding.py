"""What becomes of each thing that a deployment in another format says, collected node by node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.deployment.inventory import Heeded

if TYPE_CHECKING:
    from typing import Literal

    How = Literal["honoured", "honoured differently", "not honoured"]


class Heeding:
    """Collects what is said of attributes; nodes of which the same is said share a line."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, How, str], dict[str, None]] = {}

    def honoured(self, attribute: str, node: str = "", what: str = "") -> None:
        """Note that an attribute means here what it means there. No `node`: it is of all at once."""
        self._note(attribute, "honoured", what, node)

    def differently(self, attribute: str, what: str, node: str = "") -> None:
        """Note that something else is done for an attribute: `what`."""
        self._note(attribute, "honoured differently", what, node)

    def ignored(self, attribute: str, what: str, node: str = "") -> None:
        """Note that an attribute has no effect, and what there is in place of it."""
        self._note(attribute, "not honoured", what, node)

    def _note(self, attribute: str, how: How, what: str, node: str) -> None:
        nodes = self._nodes.setdefault((attribute, how, what), {})
        if node:
            nodes[node] = None

    @property
    def heeded(self) -> tuple[Heeded, ...]:
        """All that was noted, in the order in which it was first noted."""
        return tuple(
            Heeded(attribute=attribute, how=how, what=what, of=tuple(nodes))
            for (attribute, how, what), nodes in self._nodes.items()
        )
