"""`%hive` and `%%hive`: the commands in a notebook.

What `%load_ext` waits for is imported here; what a command needs, when there is one.
"""

from __future__ import annotations

import atexit
import functools
import logging
import sys
import weakref
from typing import TYPE_CHECKING, Any

import click
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand

from nixhive_nb.commands import hive_group
from nixhive_nb.commands.options import options_of
from nixhive_nb.commands.session import Session
from nixhive_nb.deployment.places import DEFAULT_CONFIG
from nixhive_nb.errors import HiveError, OptionError, TargetError, of_system
from nixhive_nb.notebook.hello import Greeting
from nixhive_nb.notebook.private import in_kernel, is_attended, stands_alone
from nixhive_nb.notebook.secret import ask_secret
from nixhive_nb.notebook.settings import settings_of
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from IPython.core.interactiveshell import InteractiveShell

    from nixhive_nb.commands.session import Value
    from nixhive_nb.notebook.answer import Answer
    from nixhive_nb.notebook.line import HiveLine
    from nixhive_nb.notebook.picker import Picker
    from nixhive_nb.notebook.run_watch import RunWatch
    from nixhive_nb.run.engine import Run

_log = logging.getLogger(__name__)

PROGRAM = "%hive"
_LISTED = 100
"""Columns of the help."""
FOR_SESSION = {
    "deployment": "config",
    "state": "state",
    "state_dir": "state_dir",
    "parallel": "parallel",
    "carrier": "carrier",
    "confirm": "confirm",
    "policy": "policy",
}
"""Which attribute of the session a setting is."""


class Interrupted(KeyboardInterrupt):
    """The user's interrupt on its way up, so that queued cells do not run; shown in one line."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@magics_class
class HiveMagics(Magics):
    """`%hive` and `%%hive`. The deployment in use and its connections stay from cell to cell."""

    def __init__(self, shell: InteractiveShell) -> None:
        """Make the magics of one IPython."""
        super().__init__(shell)
        self._shell = shell
        self._watch: RunWatch | None = None
        self._pickers: list[Picker] = []
        self._passing: Picker | None = None
        self.session = Session(
            program=PROGRAM,
            follow=_follow,
            warn=_warn,
            tell=_tell,
            listen=self._listen,
            has_terminal=False,
            attended=self._attended,
            follow_background=functools.partial(_follow, blocking=False),
            secret=ask_secret,
            can_ask=self._attended,
        )
        self.settings = settings_of(shell)
        for name in FOR_SESSION:
            self._use_setting(name)
        self.settings.observe(lambda change: self._use_setting(change.name), list(FOR_SESSION))
        self.session.more_settings = self._all_settings
        self.session.log_to(self.settings.log)
        self.settings.observe(lambda change: self.session.log_to(change.new), "log")
        # Also when Python ends.
        self.close = weakref.finalize(self, self.session.close)
        self.greeting = Greeting()
        """What has pages say that they can show widgets."""
        # What is registered last comes first: while the kernel can still say what stays in the cells.
        atexit.register(self._end_pickers)

    def leave(self) -> None:
        """Take away what this IPython shows and holds of us: runs in the background, connections, and widgets.

        What was picked stays in the cells, as tables.
        """
        atexit.unregister(self._end_pickers)
        self._end_pickers()
        self.greeting.end()
        self.settings.unobserve_all()
        self.session.log_to("")
        try:
            self.close()
        finally:
            _close_ended()

    def _end_pickers(self) -> None:
        for picker in self._pickers:
            picker.close()

    @needs_local_scope
    @no_var_expand
    @line_cell_magic
    def hive(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> object:
        """NixOS fleets: build a few systems once, move them through Nix stores, activate them over SSH.

        ::

          %hive load -c example              # evaluate a deployment; -c is needed once
          %hive instances web                # what is there, as a DataFrame
          %hive plan deploy portico '*'      # what would happen; nothing is changed
          %hive deploy portico '*'           # build, push, activate; each pattern is a wave
          df = %hive run web uptime          # run a command on hosts, side by side

          %%hive run web --out df            # a shell script, sent as it stands
          uname -a; df -h "$HOME"

        Commands (`%hive COMMAND --help` tells more):

        ::

          load [PATH]                        evaluate the deployment anew
          convert                            write one of another tool in the format of hive.nix
          targets [PATTERN]...               choose instances: those picked are @picked
          systems, instances [PATTERN]...    list them
          status [PATTERN]...                ask hosts what they run, and how that stands to what is wanted
          diff [PATTERN]...                  which packages change
          plan [VERB] [PATTERN]...           show what deploy (or push, build, rollback, reboot) would do
          apply                              carry out the plan that was shown last
          build [PATTERN]...                 build systems
          push [PATTERN]...                  build, and bring them to stores and instances
          deploy [PATTERN]...                build, push, and activate
          doctor [PATTERN]...                say what keeps hosts from being deployed to
          generations [PATTERN]...           list what a rollback can go back to
          rollback PATTERN...                go back to an earlier generation
          reboot PATTERN...                  reboot, and see that hosts come back
          check [PATTERN]...                 run the checks that the deployment has
          history [RUN], runs                earlier runs, and those in progress
          report [RUN]                       the record of a run; its value has timeline() and timings()
          bug-report [RUN]                   write a file that tells why something fails; nothing is sent
          run PATTERN COMMAND...             run a command on each instance
          ssh HOST COMMAND..., scp FROM TO   ssh and scp with the deployment's configuration
          ssh-config                         print that configuration
          lab up|status|down                 a practice fleet on this machine
          worker ADDRESS                     reach hosts for operators elsewhere; in a terminal
          completion bash|zsh|fish           print what makes Tab complete in a shell
          help [COMMAND]                     show the help

        PATTERN is a name of an instance, of a system, or a tag, or a glob of one: '*', "*" and * are the same.
        '@(web and not www-2)' is an expression; @picked, @failed, @unreachable and @outdated are groups.

        `$name` and `{expression}` stand for values of the notebook. One that stands alone may hold several (a list, a
        Series, an Index, or a DataFrame, of which it is the index), which together make one wave. Nothing is expanded
        between single quotes, in the command of `run` and `ssh` (the words after PATTERN or HOST), and in the body of a
        `%%hive run`: there, `$HOME` is the host's.

        `df = %hive build` gives a DataFrame, `p = %hive plan` the Plan; `--out NAME` puts it into a variable, also when
        hosts failed; `--json` gives plain Python lists. Hosts that fail raise RunFailed, so that Run All stops; its
        `report` and `frame` tell all.

        Tab completes commands, options, names, groups, files and variables; `%hive deploy?` is the help of a command.
        Settings: `%config Hive`.
        """
        alone = stands_alone()
        try:
            return self._hive(line, cell, local_ns, alone=alone)
        except BaseException as error:
            _log.info("failed: %s", error, exc_info=True)
            raise
        finally:
            self.session.end_command()

    def _hive(self, line: str, cell: str | None, local_ns: Mapping[str, Any] | None, *, alone: bool) -> object:
        """Run a line, and give its value; raise what IPython shows well."""
        names = {**self._shell.user_ns, **(local_ns or {})}
        used = False
        from nixhive_nb.notebook.line import read_line  # noqa: PLC0415 - see above
        from nixhive_nb.notebook.picker import Picker, settle_taken  # noqa: PLC0415 - see above

        settle_taken(used=True)  # what Python took in between
        try:
            parsed = read_line(line, names, cell=cell is not None)
            answer, out = self._call(parsed, cell)
            used = True
        except click.exceptions.Exit:
            return None
        except click.ClickException as error:
            raise _usage_error(error) from None
        except (TargetError, OptionError, UsageError) as error:
            raise UsageError(_one_line(str(error))) from None
        except KeyboardInterrupt:
            used = True
            # What was under way is in the record; a stack of our waiting would tell nothing.
            raise Interrupted("Interrupted.") from None
        except OSError as error:
            raise of_system(error) from None
        except HiveError as error:
            # A message may repeat what a host said, or a variable that holds it.
            error.args = (strip_control(str(error)),)
            # Out of its context, which could be a group of errors: IPython would show all of that.
            raise error from None
        finally:
            settle_taken(used=used)
        if isinstance(answer.value, Picker):
            self._choose_with(answer.value, only_shown=alone and not out)
        return self._give(answer, out, alone=alone, quiet=parsed.quiet)

    def _call(self, line: HiveLine, cell: str | None) -> tuple[Answer, str]:
        """Run a command; give what it answers, and the name of the variable for it, if any."""
        from nixhive_nb.notebook.answer import answer_to  # noqa: PLC0415 - see above
        from nixhive_nb.notebook.counting import reading_shown  # noqa: PLC0415 - see above

        argv = self._argv(line)
        session = self.session
        _check_cell(argv, cell)
        session.script = cell
        session.words = tuple(argv)
        if _log.isEnabledFor(logging.INFO):
            from nixhive_nb.util.redaction import redact_words  # noqa: PLC0415 - see above

            _log.info("%s %s", PROGRAM, redact_words(argv))
        try:
            with (
                reading_shown(),
                hive_group.make_context(PROGRAM, argv, obj=session, max_content_width=_LISTED) as ctx,
            ):
                return answer_to(self._value(ctx)), str(options_of(ctx).get("out") or "")
        finally:
            session.script, session.groups = None, {}
            if self._watch is not None:
                self._watch.end()

    def _choose_with(self, picker: Picker, *, only_shown: bool) -> None:
        """Make a picker that of `@picked`, and end the one before if it has no name: nothing would hear its clicks."""
        if self._passing is not None and not self._has_name(self._passing):
            self._passing.close()
        self._passing = picker if only_shown else None
        self._pickers = [*(one for one in self._pickers if one.widget is not None), picker]
        self.session.picked = picker.take

    def _has_name(self, picker: Picker) -> bool:
        """Return whether the user has given it a name; `_` and `_3` are IPython's own."""
        return any(value is picker for name, value in self._shell.user_ns.items() if not name.startswith("_"))

    def _listen(self, _names: object) -> RunWatch:
        """Return what hears a command on hosts: the same for each cell."""
        from nixhive_nb.notebook.run_watch import RunWatch  # noqa: PLC0415 - see above

        self._watch = self._watch or RunWatch()
        return self._watch

    def _value(self, ctx: click.Context) -> Value:
        from nixhive_nb.run.everywhere import RunInterrupted  # noqa: PLC0415 - see above

        try:
            value: Value = hive_group.invoke(ctx)
        except RunInterrupted as error:
            out = options_of(ctx).get("out")
            if out:
                self._shell.user_ns[out] = error.frame
            raise
        return value

    def _attended(self) -> bool:
        """Return whether a person is there: somebody who could be asked something."""
        return is_attended() if in_kernel() else sys.stdin is not None and sys.stdin.isatty()

    def _argv(self, line: HiveLine) -> list[str]:
        """Return the arguments for click. What holds several values is one word there, and the session knows them."""
        self.session.groups = {",".join(word): word for word in line.words if len(word) > 1}
        return [",".join(word) for word in line.words] or ["--help"]

    def _give(self, answer: Answer, out: str, *, alone: bool, quiet: bool) -> object:
        """Return the value of a command to where it is wanted, and show what is to be shown."""
        if out:
            self._shell.user_ns[out] = answer.value
        if answer.failure is not None:
            raise answer.failure
        if out or (alone and quiet):
            return None
        if alone and answer.alone is not None:
            return answer.alone
        if not alone or answer.shown is None:
            return answer.value
        answer.show()
        return None

    def _all_settings(self) -> dict[str, str]:
        return {f"Hive.{name}": str(getattr(self.settings, name)) for name in self.settings.trait_names(config=True)}

    def _use_setting(self, name: str) -> None:
        """Return the session one setting. Only that: a `-c` of an earlier command holds on when another one changes."""
        value = getattr(self.settings, name)
        if name == "deployment" and value == DEFAULT_CONFIG:
            value = None  # nobody named one
        setattr(self.session, FOR_SESSION[name], value)


def _check_cell(argv: Sequence[str], cell: str | None) -> None:
    if cell is None or {"--help", "-h"} & set(argv):
        return
    from nixhive_nb.notebook.place import command_word  # noqa: PLC0415 - see above

    word = command_word(argv)
    if word != "run":
        raise click.UsageError(f"%%hive goes with run alone; for '{word}' write %hive {word}.")
    if not cell.strip():
        raise click.UsageError("%%hive run takes its script from the cell, which is empty.")


def _usage_error(error: click.ClickException) -> UsageError:
    """Return a mistake in the words of a command as IPython shows it: in one line."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else PROGRAM
    return UsageError(_one_line(f"{error.format_message()} See {path} --help."))


def _one_line(text: str) -> str:
    return " ".join(strip_control(text).split())


def _follow(run: Run, *, blocking: bool = True) -> AbstractContextManager[None]:
    from nixhive_nb.notebook.follow.run import follow  # noqa: PLC0415 - see above

    return follow(run, blocking=blocking)


def _close_ended() -> None:
    """Close the widgets of runs that have ended, where any was shown."""
    shown = sys.modules.get("nixhive_nb.notebook.follow.cell")
    if shown is not None:
        shown.close_ended()


def _warn(text: str) -> None:
    from nixhive_nb.notebook.display import Notice, show  # noqa: PLC0415 - see above

    show(Notice(text))


def _tell(text: str) -> None:
    click.echo(strip_control(text))
