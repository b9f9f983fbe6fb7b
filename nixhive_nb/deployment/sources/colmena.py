"""Hives of colmena: a file, evaluated by our `colmena.nix`, or an output of a flake, by colmena itself where it can."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nixhive_nb.deployment.nix_errors import explain
from nixhive_nb.deployment.sources import flakes
from nixhive_nb.deployment.sources.colmena_nodes import hive_inventory
from nixhive_nb.deployment.sources.counting import run_counting
from nixhive_nb.deployment.sources.hive import readable_paths
from nixhive_nb.deployment.sources.kinds import OfFile, OfFlake
from nixhive_nb.deployment.sources.source import Evaluation, Read, said_lines
from nixhive_nb.errors import DeploymentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.deployment.sources.formats import Format
    from nixhive_nb.deployment.sources.where import FlakePlace

_log = logging.getLogger(__name__)
_EVALUATED = "colmenaHive"
_RAW = "colmena"
_NO_EVALUATOR = "(hive: hive)"
_INPUT = "colmena"
"""What a flake calls its input that has colmena's own evaluator."""


class ColmenaSource(OfFile):
    """A file, or a folder with `default.nix`, that is a hive of colmena."""

    format: Format = "colmena"

    def inventory(self, name: str, *, show_trace: bool) -> Read:
        """Evaluate the options below `deployment` of all nodes. Raises `DeploymentError`."""
        finished = run_counting(self._command("", "-vv"))
        if finished.status:
            raise DeploymentError(explain(finished.stderr, show_trace=show_trace), log=said_lines(finished.stderr))
        return Read(inventory=hive_inventory(json.loads(finished.stdout), name), said=finished.stderr)

    def toplevels(self, inventory: Inventory, systems: Sequence[str]) -> list[str]:
        """Return the command that instantiates nodes."""
        del inventory
        return self._command(json.dumps(list(systems)))

    def jobs(self, systems: Sequence[str]) -> list[str]:
        """Return the words with which `nix-eval-jobs` instantiates nodes."""
        includes = [word for path in readable_paths(self.path) for word in ("-I", path)]
        words = [*self._how.option_words(), *includes, "-I", f"deployment={self.path}"]
        return flakes.file_jobs(flakes.own_file("colmena_file"), systems, words)

    def _command(self, names: str, *more: str) -> list[str]:
        includes = [word for path in readable_paths(self.path) for word in ("-I", path)]
        return [
            "nix-instantiate",
            *["--eval", "--strict", "--json", "--read-write-mode", "--show-trace", *more],
            *self._how.option_words(),
            *includes,
            *["-I", f"deployment={self.path}"],
            str(flakes.own_file("colmena_file")),
            *["--argstr", "names", names],
        ]


class ColmenaFlakeSource(OfFlake):
    """An output of a flake: `colmenaHive`, which is evaluated already, or a raw hive such as `colmena`."""

    format: Format = "colmena"

    def __init__(self, place: FlakePlace, how: Evaluation) -> None:
        super().__init__(place, how)
        self._output = place.attribute or _EVALUATED
        self._evaluator = _NO_EVALUATOR
        """Nix text of what makes an evaluated hive of the output."""

    @property
    def chosen(self) -> tuple[str, ...]:
        """What `inventory` found out and `toplevels` needs: the output, and what evaluates it."""
        return (self._output, self._evaluator)

    @chosen.setter
    def chosen(self, chosen: tuple[str, ...]) -> None:
        self._output, self._evaluator = chosen

    def inventory(self, name: str, *, show_trace: bool) -> Read:
        """Evaluate the options below `deployment` of all nodes. Raises `DeploymentError`."""
        del show_trace
        outputs = [self.place.attribute] if self.place.attribute else [_EVALUATED, _RAW]
        for output in outputs:
            try:
                answer, said = self._read(output)
            except flakes.OutputMissing:
                _log.debug("%s has no output %s", name, output)
                continue
            return Read(inventory=hive_inventory(answer, name), said=said)
        raise DeploymentError(f"The flake {name} has no output {' or '.join(outputs)}.")

    def _read(self, output: str) -> tuple[Any, str]:
        """Return what an output says, evaluated by what there is for it. Raises `OutputMissing`."""
        read = flakes.expression("colmena_read")
        self._output, self._evaluator = output, _NO_EVALUATOR
        function = f"hive: if builtins.isAttrs hive && hive ? __schema then {read} hive else null"
        answer, said = flakes.evaluated(self.place, output, function, self._how)
        if answer is None:
            self._evaluator = self._evaluator_of_raw()
            answer, said = flakes.evaluated(self.place, output, f"hive: {read} ({self._evaluator} hive)", self._how)
        return answer, said

    def toplevels(self, inventory: Inventory, systems: Sequence[str]) -> list[str]:
        """Return the command that instantiates nodes."""
        del inventory
        return flakes.eval_command(self.place, self._output, self._instantiating(systems), self._how)

    def jobs(self, systems: Sequence[str]) -> list[str]:
        """Return the words with which `nix-eval-jobs` instantiates nodes."""
        return flakes.jobs(self.place, self._output, self._instantiating(systems), systems, self._how)

    def _instantiating(self, systems: Sequence[str]) -> str:
        selected = flakes.expression("colmena_toplevels", names=flakes.nix_names(systems))
        return f"hive: {selected} ({self._evaluator} hive)"

    def _evaluator_of_raw(self) -> str:
        """Return what evaluates a raw hive: that of the flake's own input, or else ours, with no `<nixpkgs>`."""
        ours = flakes.expression("colmena", hermetic="true", kindOf=flakes.expression("kind_of"))
        reference = locked_reference(_locked_input(self.place, self._how))
        if not reference:
            return ours
        theirs = f"builtins.getFlake {flakes.nix_string(reference)}"
        return f"(let theirs = {theirs}; in if theirs ? lib.makeHive then theirs.lib.makeHive else {ours})"


def _locked_input(place: FlakePlace, how: Evaluation) -> Mapping[str, Any]:
    """Return where the input with colmena's evaluator is, as the lock file has it; empty where there is none."""
    locks = flakes.locks(place, how)
    nodes = locks.get("nodes", {})
    node = nodes.get(locks.get("root", ""), {}).get("inputs", {}).get(_INPUT)
    if isinstance(node, list):  # the same as an input of an input
        node = _followed(nodes, locks["root"], node)
    found: Mapping[str, Any] = nodes.get(node, {}).get("locked", {})
    return found


def _followed(nodes: Mapping[str, Any], root: str, path: Sequence[str]) -> str | None:
    node: Any = root
    for name in path:
        node = nodes.get(node, {}).get("inputs", {}).get(name)
        if isinstance(node, list):
            node = _followed(nodes, root, node)
    return str(node) if node else None


def locked_reference(locked: Mapping[str, Any]) -> str:
    """Return a locked input as the reference of a flake that pure evaluation takes; empty for what has none.

    Source: the manual of `nix flake`, "Types".
    """
    kind = locked.get("type", "")
    words = {name: locked[name] for name in ("narHash", "dir", "host") if name in locked}
    if kind in ("github", "gitlab", "sourcehut"):
        base = f"{kind}:{locked['owner']}/{locked['repo']}/{locked['rev']}"
    elif kind == "git":
        base = f"git+{locked['url']}"
        words |= {name: locked[name] for name in ("ref", "rev") if name in locked}
    elif kind in ("tarball", "file"):
        base = f"{kind}+{locked['url']}"
    elif kind == "path" and str(locked.get("path", "")).startswith("/"):
        base = f"path:{locked['path']}"
        words |= {name: str(locked[name]) for name in ("lastModified",) if name in locked}
    else:
        return ""
    asked = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in words.items())
    return f"{base}{'&' if '?' in base else '?'}{asked}" if asked else base
