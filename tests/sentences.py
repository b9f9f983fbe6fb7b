"""Commands that stand in the sentences and tables of the docs, as somebody would type them who reads there.

A sentence has PLACEHOLDERS, `[PARTS]` that may be left out and `A|B` to choose from: see `spoken`. What a command needs
is done before it: there is a plan for `apply`, something picked for `@picked`, a run that failed for `@failed`.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from nixhive_nb.commands.plan_file import read_plan
from nixhive_nb.deployment.places import places_of
from nixhive_nb.deployment.state import read_state
from tests.follow import terminal
from tests.pages import ROOT, calls_in_sentences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.follow import Notebook
    from tests.pages import Page

LAST = ("nix-hive lab down", "%hive lab down")
"""They take away what all others need."""
MEANT = {
    "nix-hive ssh": "nix-hive ssh www-1 uptime",
    "nix-hive scp": "nix-hive scp www-1:/etc/passwd passwd",
    "nix-hive convert --to FILE": "nix-hive -c network.nix convert --to own.nix",
    "nix-hive help COMMAND": "nix-hive help deploy",
    "%%hive run": "%%hive run www-1",
    # It needs a scheduler, which tests/fleet/test_workers has.
    "nix-hive worker tls://SCHEDULER:8786 --name NAME": "nix-hive worker --help",
}
"""What is typed where the words alone do not say it: those after `ssh` are ssh's own."""
_WORDS = {
    "SYSTEM-PATTERN": "www",
    "PATTERN": "www-1",
    "COMMAND": "uptime",
    "SECONDS": "5",
    "N": "3",
    "KEY": "docs",
    "NAME": "www-1",
    "FILE": "the.plan",
}
_PLACEHOLDER = re.compile(r"[A-Z][A-Z-]*[A-Z]|\bN\b")
_CHECKED = """
let hive = import ./example; in hive // {{
  instances = hive.instances // {{ www-1 = hive.instances.www-1 // {{ checks.one.command = [ "{}" ]; }}; }};
}}
"""
"""The deployment with a check."""
_NETWORK = f"{{ network.pkgs = import {ROOT}/nixhive_nb/lab/nixpkgs {{ }}; www = {{ }}; }}"
"""A deployment of another tool, morph."""


def spoken(page: Page) -> list[str]:
    """Return the commands in a page's sentences and tables, each once. `[PARTS]` are said, of `A|B` the first."""
    found = [*calls_in_sentences(page), *(_of_the_table() if page.name == "README.md" else [])]
    bare = [" ".join(_bare(word) for word in call.split()).strip() for call in found]
    return list(dict.fromkeys(MEANT.get(call, call) for call in bare))


def commands_of_the_readme() -> list[str]:
    """Return what stands in the first column of its table, without `nix-hive`."""
    table = re.findall(r"^\| (`.*?) \| ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    return [words.replace("\\|", "|") for row in table for words in re.findall(r"`([^`]+)`", row)]


def _of_the_table() -> list[str]:
    return [f"nix-hive {words}" for words in commands_of_the_readme()]


def _bare(word: str) -> str:
    return word if word.startswith("'") else word.strip("[]").removesuffix("…").strip("[]").partition("|")[0]


class Reader:
    """Somebody who reads a page, in a folder where its commands go, and types those of its sentences."""

    def __init__(self, folder: Path, notebook: Notebook) -> None:
        self._folder = folder
        self._notebook = notebook
        self._has_run = False

    def type(self, call: str) -> None:
        """Type a command, with what it needs before it; it must go well."""
        self._prepare(call)
        typed = self._filled(call)
        with self._checked("true") if "hive check" in call else contextlib.nullcontext():
            text, failed = self._typed(typed)
        # Practice hosts without a systemd lack that.
        assert not failed or ("hive doctor" in call and "shortcoming" in text), f"{typed}\n{text}"
        if "rollback" in call:
            # What stands above a generation that was gone back to is the one before the next, for whoever reads after.
            self._do("%hive deploy www-1")

    def _typed(self, command: str) -> tuple[str, bool]:
        if command.startswith("nix-hive"):
            # Without an end of its input, ssh would wait for somebody to type.
            return terminal(command, attended=" ssh " not in command)
        ended = self._notebook.run(f"{command}\ntrue" if command.startswith("%%") else command)
        self._notebook.wait()
        return ended

    def _prepare(self, call: str) -> None:
        # One run is enough for all that only read of it.
        if re.search("--resume|--to GENERATION", call) or (not self._has_run and re.search("RUN|report|history", call)):
            self._do("%hive deploy portico '*'")
            self._has_run = True
        if "convert" in call:
            (self._folder / "network.nix").write_text(_NETWORK)
        elif "--to" in call:
            self._change()
            self._do("%hive deploy www-1")
        if " apply" in call:
            self._do("!nix-hive plan --out the.plan www-1" if "FILE" in call else "%hive plan www-1")
        if "--plan" in call:
            self._do("%hive plan")
        if "@picked" in call:
            self._do("%hive targets www-1")
            self._notebook.pick("www-1")
        if "@outdated" in call:
            self._change()
        if "@failed" in call:
            with self._checked("false"):
                text, failed = self._notebook.run("%hive deploy www-1 --force")
            assert failed, text
        if " scp relay " in call:
            self._do("!ssh-keygen -q -t ed25519 -N '' -f relay")

    def _change(self) -> None:
        # To what no other page has deployed: all of them share the hosts.
        system = self._folder / "example" / "www.nix"
        system.write_text(system.read_text().replace("web server", f"web server of {uuid4().hex}"))

    @contextlib.contextmanager
    def _checked(self, command: str) -> Iterator[None]:
        """Have a check that goes as a command does."""
        deployment = self._folder / "hive.nix"
        before = deployment.read_text()
        deployment.write_text(_CHECKED.format(command))
        yield
        deployment.write_text(before)

    def _filled(self, call: str) -> str:
        """Return a command with something real for each of its PLACEHOLDERS."""
        words = {**_WORDS}
        # The fleet of all pages is up: one that it fits, which is all light.
        call = call.replace("--systemd N", "--systemd 0")
        if "PATH" in call:
            words["PATH"] = "example" if " load " in call else read_state(self._folder / ".hive.state").results["www"]
        # A notebook's deployment is the one that it loaded; a terminal's is named, or that of the folder.
        named = self._folder / ("example" if "-c example" in call else "hive.nix")
        terminal = places_of(named, self._folder / ".hive.state").folder
        own = terminal if call.startswith("nix-hive") else self._notebook.hive().state_dir
        if "RUN" in call:
            # By when it ended: the names of two of the same second tell nothing.
            words["RUN"] = max((own / "runs").glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns).stem
        if "GENERATION" in call:
            words["GENERATION"] = self._earlier_generation()
        if "DIGEST" in call:
            words["DIGEST"] = read_plan(Path("the.plan")).digest if "FILE" in call else self._notebook.digest()
        return _PLACEHOLDER.sub(lambda found: words.get(found[0], found[0]), call)

    def _earlier_generation(self) -> str:
        known = self._notebook.hive().generations("www-1")
        return str(known["number"][~known["current"]].max())

    def _do(self, cell: str) -> None:
        text, failed = self._notebook.run(cell)
        assert not failed, f"{cell}\n{text}"
