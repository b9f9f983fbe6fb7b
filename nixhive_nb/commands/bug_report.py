"""A bug report: what is known of this program, of its settings and of one run, in one text file to be read and sent.

It is plain text, so that whoever sends it can read all of it before. It is made also where the deployment does not
evaluate, and of a run that was killed: each part that cannot be had says why. Secrets are cut, and it has a limit.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import HiveError, OptionError
from nixhive_nb.plan.events import GOOD
from nixhive_nb.run import history
from nixhive_nb.run.logs import log_file
from nixhive_nb.ssh.config import render_batch, render_config
from nixhive_nb.util import log, process
from nixhive_nb.util.files import write_whole
from nixhive_nb.util.text import count_text, size_text
from nixhive_nb.view.report import report_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.run.history import RunEntry

_log = logging.getLogger(__name__)
_PACKAGES = (
    "paramiko", "fabric", "invoke", "cryptography", "pandas", "numpy", "msgspec", "click", "rich", "filelock",
    "ipython", "ipykernel", "ipywidgets", "anywidget", "traitlets", "jupyterlab", "jupyter_server", "jupyter_client",
    "jupyter_core", "notebook", "nbclient", "nbformat", "papermill",
)  # fmt: skip
_PROGRAMS = (("nix", "--version"), ("nix-store", "--version"), ("ssh", "-V"), ("systemctl", "--version"))
_VARIABLES = ("NIX_", "NIXHIVE_", "XDG_", "LC_")
_ALSO = ("PATH", "HOME", "SHELL", "TERM", "LANG", "TMPDIR", "SSH_AUTH_SOCK", "TZ", "http_proxy", "https_proxy", "CI")
_NIX_SETTINGS = (
    "allowed-users", "auto-optimise-store", "builders", "builders-use-substitutes", "connect-timeout", "cores",
    "experimental-features", "fallback", "http-connections", "max-jobs", "max-silent-time", "require-sigs",
    "restrict-eval", "sandbox", "store", "stalled-download-timeout", "substitute", "substituters", "system",
    "extra-platforms", "timeout", "trusted-public-keys", "trusted-substituters", "trusted-users",
)  # fmt: skip
_PART = 200_000
"""Characters of one file (a log, a journal) that it holds: its end; of a journal its begin as well."""
_LOGS = 2_000_000
"""Characters of the logs of a run that it holds, those of hosts that failed first."""
_RUNS = 15
_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class BugContext:
    """What the caller knows."""

    settings: Mapping[str, str]
    """By name: of the command and of the notebook."""
    folder: Path
    """Where the runs are noted (`.hive`)."""
    inventory: Inventory | None = None
    """The deployment; None where it cannot be evaluated."""
    failure: str = ""
    """Why it cannot be evaluated."""


@dataclass(frozen=True, kw_only=True)
class ReportPart:
    """One part of the file."""

    title: str
    about: str
    """What is in it, for the list at the top."""
    text: str


def write_report(known: BugContext, run: str, file: Path | None) -> tuple[Path, str]:
    """Write a bug report, and return where it is, and what is in it.

    `run` is the id of a run, or an end of one; empty for the last one, if there is any. Without `file` it goes beside
    the runs, or where that cannot be into the folder for temporary files. Raises `OptionError` for a run that is not
    there, and `OSError`.
    """
    parts = [_versions(), _settings(known), _nix(), _deployment(known), _ssh(known), *_of_runs(known, run), _own_log()]
    contents = "\n".join(f"  {part.title}: {part.about}" for part in parts)
    head = (
        f"Bug report of nixhive_nb, {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n\n{contents}\n\n"
        "Passwords, tokens and values of variables are cut as far as they can be known as such. Names of hosts, users\n"
        "and files are not: read it before you give it away.\n"
    )
    body = "".join(f"\n{'=' * 78}\n{part.title}\n{'=' * 78}\n{part.text.rstrip()}\n" for part in parts)
    text = log.without_secrets(head + body)
    place = _write(text.encode("utf-8", "backslashreplace"), known.folder, file)
    return place, log.without_secrets(contents)


def _write(content: bytes, folder: Path, file: Path | None) -> Path:
    if file is not None:
        write_whole(file.absolute(), content)
        return file.absolute()
    name = f"bug-report-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.txt"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(folder / name, content)
    except OSError:
        _log.debug("the report cannot be in %s", folder, exc_info=True)
        place = Path(tempfile.mkdtemp(prefix="hive-"))
        write_whole(place / name, content)
        return place / name
    return folder / name


def _versions() -> ReportPart:
    lines = [f"nixhive_nb {_version('nixhive_nb')}", f"Python {sys.version.split()[0]} ({sys.executable})"]
    lines += [f"{platform.system()} {platform.release()} {platform.machine()}", *_release()]
    lines += [f"{program}: {_said(program, option)}" for program, option in _PROGRAMS]
    lines += [f"{name} {_version(name)}" for name in _PACKAGES]
    return ReportPart(
        title="Versions", about="nixhive_nb, Python, Nix, OpenSSH, systemd, libraries", text="\n".join(lines)
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"


def _release() -> list[str]:
    try:
        return [platform.freedesktop_os_release().get("PRETTY_NAME", "")]
    except OSError:
        _log.debug("this system does not tell its name", exc_info=True)
        return []


def _said(program: str, *words: str) -> str:
    """Return the first line that a program says, or why it says none."""
    ended = _ended(program, *words)
    if isinstance(ended, str):
        return ended
    return next((line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()), "it says nothing")


def _ended(program: str, *words: str) -> process.Finished | str:
    if shutil.which(program) is None:
        return "is not installed"
    try:
        return process.run([program, *words], timeout=_SECONDS)
    except (HiveError, OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {error}"


def _settings(known: BugContext) -> ReportPart:
    chosen = {
        name: value for name, value in os.environ.items() if name.startswith(_VARIABLES) or name.upper() in _UPPER
    }
    lines = [*(f"{name} = {value}" for name, value in known.settings.items()), f"working folder = {_here()}"]
    lines += [f"limit of open files = {_limit()}", f"encoding = {sys.getfilesystemencoding()}", "", "Environment:"]
    lines += [f"{name}={value}" for name, value in sorted(chosen.items())]
    return ReportPart(
        title="Settings", about="of the command and the notebook, and of the environment", text="\n".join(lines)
    )


_UPPER = frozenset(name.upper() for name in _ALSO)


def _here() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - also where it is gone
    except OSError as error:
        return f"cannot be told: {error.strerror}"


def _limit() -> str:
    import resource  # noqa: PLC0415 - not on every system

    return "{} of {}".format(*resource.getrlimit(resource.RLIMIT_NOFILE))


def _nix() -> ReportPart:
    title = "Settings of Nix"
    said = ""
    for words in (("show-config",), ("config", "show")):  # every version so far; should the old name be gone
        ended = _ended("nix", "--extra-experimental-features", "nix-command", *words)
        if isinstance(ended, str):
            return ReportPart(title=title, about="nix does not tell", text=ended)
        lines = [line for line in ended.stdout.splitlines() if line.partition(" = ")[0] in _NIX_SETTINGS]
        if lines:
            return ReportPart(title=title, about="those that matter here", text="\n".join(lines))
        said = ended.stderr
    return ReportPart(title=title, about="nix does not tell", text=said)


def _deployment(known: BugContext) -> ReportPart:
    inventory = known.inventory
    if inventory is None:
        return ReportPart(title="Deployment", about="why it cannot be evaluated", text=known.failure)
    counts = f"{count_text(len(inventory.systems), 'system')}, {count_text(len(inventory.instances), 'instance')}"
    document = msgspec.json.format(msgspec.json.encode(inventory.to_json({})), indent=2).decode()
    return ReportPart(title="Deployment", about=counts, text=_bounded("\n".join([*inventory.warnings, document])))


def _ssh(known: BugContext) -> ReportPart:
    title = "SSH configuration"
    if known.inventory is None:
        return ReportPart(title=title, about="none, as the deployment cannot be evaluated", text="")
    text = render_batch(render_config(known.inventory, known.folder / "ssh" / "known_hosts"))
    return ReportPart(
        title=title, about="what is generated for programs; what it includes is not here", text=_bounded(text)
    )


def _of_runs(known: BugContext, wanted: str) -> Iterable[ReportPart]:
    entries = history.runs(known.folder)
    if not entries and not wanted:
        yield ReportPart(title="Run", about=f"none is noted in {known.folder}", text="")
        return
    entry = history.find(known.folder, wanted)
    lines = [f"{one.run}  {one.verb}  {one.state}  {one.counts}  {one.program}" for one in entries[:_RUNS]]
    yield ReportPart(title="Runs", about=f"the last {len(lines)}", text="\n".join(lines))
    about = f"{entry.verb}, {entry.state}"
    yield ReportPart(title=f"Run {entry.run}", about=about, text=_report(entry))
    yield ReportPart(title="Journal", about=entry.path, text=_content(Path(entry.path), begin=True))
    yield from _logs(entry)


def _report(entry: RunEntry) -> str:
    try:
        report = report_text(history.report_of(entry))
    except OptionError as error:
        report = str(error)
    facts = (
        f"by {entry.who}, with {entry.program}: {' '.join(entry.words)}\nreason: {entry.reason or 'none given'}\n"
        f"deployment: {entry.source}\nplan: {entry.digest}\ninterrupted: {entry.interrupted}\n\n"
    )
    return _bounded(facts + report)


def _logs(entry: RunEntry) -> Iterable[ReportPart]:
    """Return the logs of a run up to a limit: those of hosts that failed first, and of each its end."""
    folder = Path(entry.path).with_suffix("")
    first = {log_file(Path(entry.path), instance) for instance in ("", *_failed(entry))}
    files = sorted(folder.glob("*.log"), key=lambda file: (file not in first, file))
    rest = _LOGS
    for at, file in enumerate(files):
        if rest <= 0:
            left = len(files) - at
            yield ReportPart(title="More logs", about=f"{count_text(left, 'log')} left out", text=str(folder))
            return
        text = _content(file)
        rest -= len(text)
        yield ReportPart(title=f"Log {file.name}", about=str(file), text=text)


def _failed(entry: RunEntry) -> Sequence[str]:
    try:
        report = history.report_of(entry)
    except OptionError:
        _log.debug("no report of run %s", entry.run, exc_info=True)
        return ()
    return [record.instance for record in report.instances() if record.outcome not in GOOD]


def _own_log() -> ReportPart:
    file = log.log_file()
    if file is None:
        return ReportPart(title="Log", about="none: set NIXHIVE_LOG=FILE, and do again what fails", text="")
    return ReportPart(title="Log", about=f"the end of {file}", text=_content(file))


def _content(file: Path, *, begin: bool = False) -> str:
    """Return what is in a file, of a long one the end; with `begin` also the begin. Where it cannot be read: why."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size <= _PART:
                stream.seek(0)
                return stream.read().decode("utf-8", "replace")
            stream.seek(0)
            first = stream.read(_PART // 2) if begin else b""
            stream.seek(size - (_PART // 2 if begin else _PART))
            # From the begin of a line: a half of one could be a half of a secret.
            last = stream.read().partition(b"\n")[2]
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    left = size_text(size - len(first) - len(last))
    return f"{first.decode('utf-8', 'replace')}\n... {left} left out ...\n{last.decode('utf-8', 'replace')}"


def _bounded(text: str) -> str:
    return text if len(text) <= _PART else f"{text[:_PART]}\n... the rest is left out ..."
