"""What a face keeps between commands, and the values that commands give it to show."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from nixhive_nb.deployment.places import DEFAULT_STATE, places_of, trusted_mark
from nixhive_nb.deployment.programs import programs_of
from nixhive_nb.deployment.sources.where import deployment_path, usual_config
from nixhive_nb.errors import OptionError
from nixhive_nb.run.limits import LIMITS, Limits
from nixhive_nb.util.files import make_folder
from nixhive_nb.util.log import log_as_environment_says, log_to, trouble, verbosely
from nixhive_nb.util.said import one_line
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from nixhive_nb.deployment.carrying import Wanted
    from nixhive_nb.deployment.targets import Pattern
    from nixhive_nb.handle import RunHandle
    from nixhive_nb.hive import Hive
    from nixhive_nb.hosts.password import Password
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.plan.status import Standing
    from nixhive_nb.run.carry import Follow, Note
    from nixhive_nb.run.everywhere import Listener
    from nixhive_nb.run.report import Report
    from nixhive_nb.view.listing import Table

_log = logging.getLogger(__name__)

EVALUATION = ("format", "impure", "override_inputs", "options")
"""The options that say how a deployment is evaluated: keywords of `Hive.load`."""
Policy = Literal["attended", "always", "free"]
"""Which commands that change hosts need --yes, or --plan DIGEST: those that nobody is there to see; all; none."""
Form = Literal["table", "wide", "json", "csv"]
"""How a listing is wanted: for a person, with all columns, or for a program."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A listing: as a person reads it, and as a DataFrame. `form` says in which form it is wanted."""

    frame: pd.DataFrame
    table: Table
    form: Form = "table"
    ok: bool = True
    """False where the table tells of something that is not as it should be: a terminal then leaves with status 1."""
    most: int = 0
    """How many rows of it a terminal shows, the others counted below; 0 for all."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """Its rows as JSON objects."""
        return records_of(self.frame)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known without a build: as a table, and as the inventory object that a terminal prints."""

    frame: pd.DataFrame
    table: Table
    document: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A build, push or deploy that ran. `document` is what a terminal prints of a build, and of others for `--json`."""

    report: Report
    document: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run that is running in the background."""

    run: RunHandle


@dataclass(frozen=True, kw_only=True)
class Already:
    """What `--once` found done: nothing was done now. `report` is of the run that did it, if that is still known."""

    text: str
    report: Report | None
    document: dict[str, Any] | None = None
    """What `--json` prints in place of the text."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """The report of an earlier run. `document` is the same for `--json`."""

    report: Report
    document: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Choosing(Listing):
    """The instances to choose from: columns as in `frames.instances_frame`, and how they stood when last asked."""

    standings: dict[str, Standing]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan that was not run."""

    plan: Plan
    form: Form = "table"

    @property
    def frame(self) -> pd.DataFrame:
        """Its rows, each with the whole digest."""
        return self.plan.frame.assign(digest=self.plan.whole_digest)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The same as JSON objects."""
        return records_of(self.frame)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that ran on instances; columns as in `frames.run_frame`."""

    frame: pd.DataFrame
    records: list[dict[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class Message:
    """Text for a person. `document` is what `--json` prints in place of it."""

    text: str
    document: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Exited:
    """A program that ran on our terminal, or whose output was caught."""

    status: int
    stdout: str = ""
    stderr: str = ""


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame as JSON objects in its order, the index as a field of its own, None for what is missing."""
    plain = frame.reset_index().astype(object)
    rows = plain.where(plain.notna(), None).to_dict("records")
    return [{str(name): _plain(cell) for name, cell in row.items()} for row in rows]


def place_of(path: str) -> Path:
    """Return where a path leads, `~` being the home folder. Raises `OptionError` where that is nobody's."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise OptionError(f"{path}: nobody of that name has a home folder here.") from None


def deployment_place(path: str) -> Path:
    """Return the path that stands for a deployment, as it is named. Raises `OptionError` and `DeploymentError`."""
    try:
        return deployment_path(path)
    except RuntimeError:
        raise OptionError(f"{path}: nobody of that name has a home folder here.") from None


def _plain(cell: object) -> object:
    if isinstance(cell, tuple):
        return list(cell)
    # A moment, which JSON has no form for.
    return cell.isoformat() if hasattr(cell, "isoformat") else cell


Value = Listing | Known | Ended | Begun | Already | Told | Choosing | Planned | Ran | Message | Exited | None


class Session:
    """What a face keeps between commands: the deployment in use, and how it wants to be told."""

    def __init__(
        self,
        *,
        program: str,
        follow: Follow,
        warn: Callable[[str], None],
        tell: Callable[[str], None] = lambda _: None,
        listen: Callable[[bool], Listener | None] = lambda _: None,
        has_terminal: bool = True,
        attended: Callable[[], bool] = lambda: False,
        ask: Callable[[str], bool] | None = None,
        secret: Callable[[str], str] | None = None,
        can_ask: Callable[[], bool] = lambda: False,
        follow_background: Follow | None = None,
    ) -> None:
        """`program` is `nix-hive` or `%hive`.

        `attended` tells whether a person is there, `ask` puts a question to that person; without it a warning must do.
        Where runs can go on in the background, `follow_background` shows
        them.

        `secret` asks a person for a password, without showing it, where it `can_ask`.

        `warn` shows a warning, `tell` a word of progress. `listen` gives what shows a `run`: plainly, where it is
        given True.
        """
        self.program = program
        self.follow = follow
        self.warn = warn
        self.tell = tell
        self.listen = listen
        self.has_terminal = has_terminal
        self.attended = attended
        self.ask = ask
        self.secret = secret
        self.can_ask = can_ask
        self.password: Password | None = None
        """What a descriptor held: see `passwords`."""
        self.follow_background = follow_background
        self.policy: Policy = "attended"
        self.confirm: float | None = None
        """The default of `--confirm`, in seconds; None for that of the toolkit."""
        self.picked: Callable[[], Sequence[str]] = tuple
        """Gives the instances of `@picked`."""
        self.more_settings: Callable[[], dict[str, str]] = dict
        """Gives by name what else the face has for settings."""
        self.background: list[RunHandle] = []
        """The runs that were begun in the background, the oldest first."""
        self.script: str | None = None
        """The body of a `%%hive run` cell."""
        self.groups: dict[str, tuple[str, ...]] = {}
        """What a word stands for, when it was a notebook's variable that holds several."""
        self.parallel = Limits().parallel
        self.carrier: Wanted = Limits().carrier
        self.plan: Plan | None = None
        """The plan that was shown last."""
        self.words: tuple[str, ...] = ()
        """The words of the command that runs."""
        self.place = ""
        """Where it was given: a notebook's name, as far as that is known."""
        self.config: str | None = None
        """The deployment that was named last, None for the usual one."""
        self.state = DEFAULT_STATE
        self.state_dir: str | None = None
        """The folder that was named for journals, outputs, keys and roots; None for the usual one."""
        self.evaluation: dict[str, Any] = {}
        """How the deployment in use is evaluated, as keywords of `Hive.load`."""
        # The scheduler whose workers reach the hosts of the deployment in use, and its certificates: from `load`.
        self.workers: tuple[str, str | None] = ("", None)
        self._told_of: set[str] = set()  # schedulers
        self._hive: Hive | None = None
        self._places: tuple[Path, Path, Path | None] | None = None
        self._warned: tuple[str, ...] = ()
        self._log = contextlib.ExitStack()
        self._verbose = False
        self._warn_of(log_as_environment_says())

    @property
    def current(self) -> Hive | None:
        """The deployment in use, None before the first command."""
        return self._hive

    def hive(self, options: dict[str, Any], *, anew: bool = False) -> Hive:
        """Return the deployment that a command is about; it is loaded when it is another one, or `anew`."""
        named = options.get("config") or self.config
        config = named or usual_config()
        state = options.get("state") or self.state
        state_dir = options.get("state_dir") or self.state_dir
        # Where they are by now: the current folder may be another one.
        folder = place_of(state_dir).absolute() if state_dir else None
        places = (deployment_place(config).absolute(), place_of(state).absolute(), folder)
        known = self._hive
        evaluation = self._evaluation(options)
        is_other = known is None or known.path != config or self._places != places
        if known is None or is_other or self.evaluation != evaluation or anew:
            from nixhive_nb.hive import Hive  # noqa: PLC0415 - what a help or a completion does not need

            fresh = Hive.load(
                config,
                state=places[1],
                state_dir=folder,
                show_trace=bool(options.get("show_trace")),
                warn=self.warn,
                picked=self._now_picked,
                anew=anew,
                **evaluation,
            )
            self._leave()
            known = fresh
            self.config, self.state, self.state_dir, self._places = named, state, state_dir, places
            self.evaluation = evaluation
            self.workers = ("", None)
        on = options.get("on") or self.workers[0]
        tls = options.get("tls") or self.workers[1]
        if on and on not in self._told_of:
            self._told_of.add(on)
            self.tell(f"connecting to the workers at {on}")
        limits = msgspec.structs.replace(
            Limits(parallel=self.parallel, carrier=self.carrier),
            **{one.name: options[one.name] for one in LIMITS if options.get(one.name)},
        )
        self._hive = known.using(
            limits=limits,
            show_trace=bool(options.get("show_trace")),
            on=on,
            tls=tls,
        )
        if anew:
            self.workers = (on, tls)
        self._see_what_it_starts(self._hive)
        return self._hive

    def _evaluation(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return how a deployment is to be evaluated: as was said now, or with the one that is in use.

        What was said with it once counts until another deployment is named.
        """
        said = {name: options[name] for name in EVALUATION if options.get(name)}
        return said or ({} if options.get("config") not in (None, self.config) else self.evaluation)

    def _now_picked(self) -> Sequence[str]:
        return self.picked()

    def _see_what_it_starts(self, hive: Hive) -> None:
        """Ask a person, once, whether a deployment may start programs of its own here. Raises `OptionError`."""
        if not self.attended():
            return
        found = programs_of(hive.inventory)
        if not found:
            return
        mark = trusted_mark(hive.file, found)
        if mark is not None and mark.exists():
            return
        name, words = next(iter(found.items()))
        more = f" and {len(found) - 1} more" if found.keys() - {name} else ""
        what = f"{hive.path} starts programs on this machine, as you: {name} ({one_line(words, 100)}){more}."
        if self.ask is None:
            self.warn(f"{what} Go on only if you trust who writes it: docs/deployment.md, Trust.")
        elif not self.ask(strip_control(f"{what} Do you trust who writes it?")):
            raise OptionError(f"{hive.path} is not trusted. Nothing was started.")
        if mark is not None:
            with swallowed(_log, "noting that a deployment is trusted", OSError):
                make_folder(mark.parent)
                mark.touch(mode=0o600)

    def settings(self, options: dict[str, Any]) -> dict[str, str]:
        """Return by name how the commands are set, for a bug report."""
        own = ("program", "place", "config", "state", "state_dir", "parallel", "confirm", "policy")
        found = {name: str(getattr(self, name)) for name in own} | {
            f"option {name}": str(options[name]) for name in options
        }
        return {**found, "a person is there": str(self.attended()), **self.more_settings()}

    def folder(self, options: dict[str, Any]) -> Path:
        """Return where the journals of the deployment are that a command is about. Raises `OptionError`."""
        config, state = options.get("config") or self.config or usual_config(), options.get("state") or self.state
        state_dir = options.get("state_dir") or self.state_dir
        return places_of(deployment_place(config), place_of(state), place_of(state_dir) if state_dir else None).folder

    def past(self, options: dict[str, Any]) -> Path:
        """Return the folder of journals, for a command about earlier runs.

        Nothing is evaluated, and what is named is kept. Raises `DeploymentError` for a deployment that is not there and
        has left nothing behind.
        """
        folder = self.folder(options)
        config = options.get("config") or self.config or usual_config()
        if not folder.is_dir() and not deployment_place(config).exists():
            self.hive(options)  # which says what is missing
        for name in ("config", "state", "state_dir"):
            setattr(self, name, options.get(name) or getattr(self, name))
        return folder

    def note(self, reason: str) -> Note:
        """Return who asks for a run and why, for the journal."""
        from nixhive_nb.run.carry import Note  # noqa: PLC0415 - the engine, which only a run needs

        return Note(program=f"{self.program} {self.place}".rstrip(), words=self.words, reason=strip_control(reason))

    def patterns(self, words: Sequence[str]) -> list[Pattern]:
        """Return the words of a command as patterns; one that stood for several makes one wave of them."""
        return [self.groups.get(word, word) for word in words]

    def flat(self, words: Sequence[str]) -> list[str]:
        """Return the words of a command, those that stood for several one by one."""
        return [one for word in words for one in self.groups.get(word, (word,))]

    def be_verbose(self) -> None:
        """Have the log on standard error up to the end of the command."""
        if not self._verbose:
            self._verbose = True
            self._log.enter_context(verbosely())

    def end_command(self) -> None:
        """See to the log at the end of a command: what went wrong with it is told."""
        self._verbose = False
        self._log.close()
        self._warn_of(trouble())

    def log_to(self, file: str) -> None:
        """Have the log in a file; an empty name is none. What cannot be is told, and nothing more."""
        self._warn_of(log_to(file))

    def _warn_of(self, why: str) -> None:
        if why:
            self.warn(why)

    def close(self) -> None:
        """Stop what runs in the background, wait for that, and close the connections of the deployment in use.

        Activations that run come to their end; a host on trial rolls back if it is not confirmed.
        An interrupt leaves them at once.
        """
        try:
            for run in self.background:
                run.cancel()
            for run in self.background:
                with swallowed(_log, f"waiting for run {run.run}", Exception):  # that it failed was told in its place
                    run.wait()
        except KeyboardInterrupt:
            for run in self.background:
                run.cancel(now=True)
            raise
        finally:
            self.background.clear()
            if self.password is not None:
                self.password.wipe()
            self._leave()

    def warn_once(self, warnings: tuple[str, ...]) -> None:
        """Show the warnings of a deployment, if they are others than the last time."""
        if warnings != self._warned:
            for text in warnings:
                self.warn(text)
        self._warned = warnings

    def _leave(self) -> None:
        if self._hive is not None:
            self._hive.close()
            self._hive = None
