"""Flakes: where one is, evaluating one of its outputs, and what Nix says of that in words for its files.

Sources: the manuals of `nix flake` (references) and `nix eval`. Evaluation is pure unless that is asked otherwise, a
lock file is never written, and a flake's own settings (`nixConfig`) are never taken.
"""

from __future__ import annotations

import filecmp
import functools
import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nixhive_nb.deployment.nix_errors import explain
from nixhive_nb.deployment.repository import is_unknown_to_git
from nixhive_nb.deployment.sources.counting import run_counting
from nixhive_nb.deployment.sources.source import said_lines
from nixhive_nb.deployment.sources.where import FLAKE
from nixhive_nb.errors import DeploymentError
from nixhive_nb.util import process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nixhive_nb.deployment.sources.source import Evaluation
    from nixhive_nb.deployment.sources.where import FlakePlace

_log = logging.getLogger(__name__)

_LOCK = "flake.lock"
_NIX = ("nix", "--extra-experimental-features", "nix-command flakes")
_MISSING = re.compile(r"error: (?:flake '.*' does not provide attribute |'.*' is not an attribute set)")
"""What Nix says of an output that is not there, or below one that is no set."""
_IN_STORE = re.compile(r"(?P<tree>/nix/store/[0-9a-z]{32}-[^/\s']+)/(?P<file>[^\s':\"`,]+)")
_NOT_THERE = re.compile(r"'(/[^']+)'(?:: No such file| does not exist)|Path '([^']+)' .*not tracked by Git")
_NO_URL = re.compile(r"'(.*)' is not a valid URL")
_UNLISTED = re.compile(r"does not contain a '/?(?:[^']*/)?flake\.nix' file|flake\.nix' .*not tracked by Git")


class OutputMissing(Exception):  # noqa: N818 - named for what is found
    """A flake has no such output."""


def evaluated(place: FlakePlace, output: str, function: str, how: Evaluation) -> tuple[Any, str]:
    """Return what a function (Nix text) gives of an output of a flake, and what Nix said beside.

    Raises `OutputMissing`, and `DeploymentError` where it cannot be evaluated.
    """
    # Nix looks for `packages.SYSTEM.OUTPUT` first; a package that is called so is none of ours.
    is_package = 'builtins.isAttrs value && value.type or null == "derivation"'
    guarded = f'value: if {is_package} then "" else [ (({function}) value) ]'
    for attribute in (output, f".{output}"):
        finished = run_counting(eval_command(place, attribute, guarded, how))
        if finished.status:
            if _MISSING.search(finished.stderr):
                if attribute != output:  # Nix before 2.19 does not know a leading dot
                    raise DeploymentError(
                        f"The flake has a package {output}, and this Nix takes that for its output {output}. Name the "
                        "output otherwise, or the package; from Nix 2.19 on both may stand."
                    )
                raise OutputMissing(output)
            raise DeploymentError(
                explained(finished.stderr, place), log=said_lines(with_own_places(finished.stderr, place))
            )
        answer = json.loads(finished.stdout)
        if answer:
            return answer[0], with_own_places(finished.stderr, place)
    raise OutputMissing(output)


def explained(said: str, place: FlakePlace, *, show_trace: bool = False) -> str:
    """Return what Nix wrote when an evaluation failed, in short, with the flake's own files where they are."""
    own = with_own_places(said, place)
    named = _named_elsewhere(place)
    return "\n".join([explain(own, show_trace=show_trace), *_hints(own, place), *([named] if named else [])])


def _named_elsewhere(place: FlakePlace) -> str:
    """Return what a reference without a slash stands for, where that is no folder here; empty for all others."""
    if place.directory is not None or re.search(r"[:/]", place.reference):
        return ""
    return f"({place.reference} is no folder here with a flake.nix, and so a name in the registry of flakes.)"


def eval_command(place: FlakePlace, output: str, function: str, how: Evaluation) -> list[str]:
    """Return the command that prints, as JSON, what a function gives of an output. What it instantiates is written."""
    installable = f"{place.reference}#{output}"
    return [*_NIX, "eval", "--json", installable, "--apply", function, "--show-trace", *how.flake_words()]


def jobs(place: FlakePlace, output: str, function: str, systems: Sequence[str], how: Evaluation) -> list[str]:
    """Return the words with which `nix-eval-jobs` instantiates what a function gives of an output."""
    numbered = f"value: {expression('jobs')} {nix_names(systems)} (({function}) value)"
    return ["--flake", f"{place.reference}#{output}", "--select", numbered, "--show-trace", *how.flake_job_words()]


def file_jobs(own: Path, systems: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return the words with which `nix-eval-jobs` instantiates what one of our expressions does of a file."""
    given = ["--arg", "expression", nix_path(own), "--argstr", "names", json.dumps(list(systems))]
    return ["--impure", "--show-trace", *words, *given, str(own_file("jobs_file"))]


def nix_path(path: Path) -> str:
    """Return a path as an expression of Nix's language, whatever is in its name."""
    return f"/. + {nix_string(str(path))}"


def nix_string(text: str) -> str:
    """Return a text as a string of Nix's language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{escaped}"'


def nix_names(names: Sequence[str]) -> str:
    """Return names as a list of Nix's language."""
    return f"[ {' '.join(map(nix_string, names))} ]"


def expression(name: str, **arguments: str) -> str:
    """Return one of our expressions as text, called with arguments, which are Nix text.

    A pure evaluation reads no file of ours. `name` is that of a file beside this one.
    """
    text = own_file(name).read_text(encoding="utf-8")
    given = " ".join(f"{argument} = {value};" for argument, value in arguments.items())
    return f"(({text}) {{ {given} }})" if arguments else f"({text})"


def own_file(name: str) -> Path:
    """Return one of our expressions that lies beside this file, by its name without `.nix`."""
    return Path(__file__).with_name(f"{name}.nix")


def locks(place: FlakePlace, how: Evaluation) -> dict[str, Any]:
    """Return the locks of a flake that count, as `nix flake metadata` tells them. Raises `DeploymentError`."""
    found: dict[str, Any] = metadata(place, how).get("locks", {})
    return found


def metadata(place: FlakePlace, how: Evaluation) -> dict[str, Any]:
    """Return what `nix flake metadata` tells of a flake. Raises `DeploymentError`."""
    words = [word for word in how.flake_words() if word != "--impure"]
    finished = process.run([*_NIX, "flake", "metadata", "--json", place.reference, *words])
    if finished.status:
        raise DeploymentError(explained(finished.stderr, place))
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def with_own_places(said: str, place: FlakePlace) -> str:
    """Return what Nix said with the flake's own files where they are, in place of their copies in the store."""
    if place.directory is None:
        return said
    roots = list(_roots(place.directory))

    def own(found: re.Match[str]) -> str:
        here = (root / found["file"] for root in roots)
        return next((str(file) for file in here if _is_its_copy(Path(found["tree"]), found["file"], file)), found[0])

    return _IN_STORE.sub(own, said)


def _is_its_copy(tree: Path, name: str, own: Path) -> bool:
    """Return whether a file of a tree in the store is the copy of one of ours: an input's tree may have that name too.

    Of a file that the tree lacks, only one that Git does not know can be meant.
    """
    copy = tree / name
    try:
        if not own.exists() or not tree.exists():  # the store may be elsewhere
            return own.exists()
        if not copy.exists():
            return is_unknown_to_git(own)
        return own.is_dir() == copy.is_dir() and (own.is_dir() or filecmp.cmp(own, copy, shallow=False))
    except OSError:
        _log.debug("whether %s is the copy of %s", copy, own, exc_info=True)
        return False


def find_places(answer: Any, place: FlakePlace) -> None:  # noqa: ANN401 - of any depth
    """Have each place (`at`) in what `inventory.nix` gave name a file of the flake where it is, not its copy."""
    # Thousands of places are in a few files.
    own = functools.cache(lambda file: with_own_places(file, place))

    def find(answer: Any) -> None:  # noqa: ANN401 - of any depth
        if isinstance(answer, list):
            for item in answer:
                find(item)
        elif isinstance(answer, dict):
            for name, value in answer.items():
                if name == "at" and isinstance(value, list) and value and isinstance(value[0], str):
                    value[0] = own(value[0])
                else:
                    find(value)

    find(answer)


def _roots(directory: Path) -> Iterator[Path]:
    """Yield the folders that the tree of a flake may begin at: its own, and that of its repository."""
    yield directory
    for folder in directory.parents:
        if (folder / ".git").exists():
            yield folder
            return


def _hints(said: str, place: FlakePlace) -> list[str]:
    """Return what to do where Nix misses a file that Git does not know yet, or does not take the path of the folder."""
    if place.directory is None:
        return []
    wrong = _NO_URL.search(said)
    if wrong and str(place.directory) in wrong[1]:
        advice = "Rename the folder: letters without accents, digits and . _ - are taken by each."
        return [f"This Nix cannot read a flake in {place.directory}; newer ones can (2.26 was seen to). {advice}"]
    found = _NOT_THERE.search(said)
    file = Path(place.directory, found[1] or found[2]) if found else None
    if file is None and _UNLISTED.search(said):
        file = place.directory / FLAKE
    if file is None or not file.exists() or not is_unknown_to_git(file):
        return []
    named = file.relative_to(place.directory) if file.is_relative_to(place.directory) else file
    return [f"The file is there, but Git does not know it, and so Nix does not see it: git add {named}"]


def path_inputs(place: FlakePlace) -> list[str]:
    """Return the files of inputs that are folders on this machine, as the lock file has them; they may change."""
    if place.directory is None:
        return []
    try:
        nodes = json.loads((place.directory / _LOCK).read_bytes())["nodes"].values()
        folders = [Path(node["locked"]["path"]) for node in nodes if node.get("locked", {}).get("type") == "path"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        _log.debug("the lock file of %s", place.directory, exc_info=True)
        return []  # there is none yet; Nix says what is wrong with one that is there
    return [str(folder / FLAKE) for folder in folders if folder.is_absolute()]
