"""The errors that a person may see. Each message says what is wrong, where, and what to do.

    HiveError
    ├── DeploymentError    the deployment expression is wrong (file, instance, attribute)
    ├── TargetError        a pattern is malformed or hits nothing
    ├── OptionError        an option or a value of one makes no sense
    ├── StateError         the state file cannot be read or written
    ├── MissingProgram     a program that we start is not installed
    ├── TookTooLong        a program that we started did not end in its time
    ├── OwnLimit           this machine allows us no more of something: no host is at fault
    ├── NixError           a Nix command failed; carries its last lines
    ├── ConnectionFailed   a host cannot be reached, or refuses the login
    │   ├── HostKeyError   the key of a host is unknown or not the expected one
    │   └── NoAnswer       a host lets us in, and runs something else than what it is asked
    ├── PasswordRefused    a host refuses the password by which a login was to become root
    ├── LinkLost           an open connection broke: what ran there has an unknown end
    │   └── WorkerLost     so did that to the worker that carries a host's commands
    ├── StepFailed         a step of a plan failed; carries its log lines
    │   ├── ChecksFailed   a check of an instance does not hold
    │   ├── RolledBack     an activation failed, and the host went back to what it ran before
    │   ├── Refused        a check on the host keeps it from switching
    │   └── Locked         somebody else is activating on the host
    ├── PlanStale          what a plan was made from has changed since
    ├── PlanRefused        the deployment, or a command, refuses to have that carried out
    └── RunFailed          a run ended with instances that are not done

A `HiveError` shows itself in a notebook as its message, without a stack of Python frames; it is still a real error,
so that *Run All*, nbclient and papermill stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from nixhive_nb.run.report import Report


class HiveError(Exception):
    """Something that a person can act on. `str(error)` is the whole message; `log` holds lines for the curious.

    Neither has a secret: what Nix or a host says may repeat the URL of a store.
    """

    log: tuple[str, ...]

    def __init__(self, message: str, *, log: Sequence[str] = ()) -> None:
        from nixhive_nb.util.redaction import redact  # noqa: PLC0415 - its patterns are most of what an import costs

        super().__init__(redact(message))
        self.log = tuple(map(redact, log))

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows in place of a traceback, without terminal control."""
        text = f"{type(self).__name__}: {self}"
        return ["".join(one for one in text if one.isprintable() or one in "\n\t\xa0")]


def of_system(error: OSError) -> HiveError:
    """Return what the operating system refuses (a folder that cannot be written, a full disk) in words for a person."""
    what = error.strerror or str(error)
    return HiveError(f"{error.filename}: {what}." if error.filename else f"{what}.")


class DeploymentError(HiveError):
    """The deployment expression is wrong."""


class TargetError(HiveError):
    """A pattern is malformed, or hits nothing."""


class OptionError(HiveError):
    """An option, or the value of one, makes no sense."""


class StateError(HiveError):
    """The state file cannot be read or written."""


class MissingProgram(HiveError):  # noqa: N818 - named for what is wrong, as in the messages
    """A program that we start is not installed."""


class TookTooLong(HiveError):  # noqa: N818 - see above
    """A program that we started did not end in its time."""


class OwnLimit(HiveError):  # noqa: N818 - see above
    """The machine that we run on allows us no more files: no host is at fault."""


class NixError(HiveError):
    """A Nix command failed."""


class ConnectionFailed(HiveError):  # noqa: N818 - see above
    """A host cannot be reached, or refuses the login."""


class HostKeyError(ConnectionFailed):
    """The key that a host shows is unknown, or is not the one that the deployment names."""


class NoAnswer(ConnectionFailed):
    """A host lets us in, and runs something else than what it is asked: a forced command, `nologin`, an rc file."""


class PasswordRefused(HiveError):  # noqa: N818 - see above
    """A host refuses the password by which a login was to become root; nothing was changed."""


class LinkLost(HiveError):  # noqa: N818 - see above
    """An open connection broke, so that the end of what ran there is unknown."""


class WorkerLost(LinkLost):
    """The worker that carries the commands of a host is gone: another one goes on, when the host was asked anew."""


class StepFailed(HiveError):  # noqa: N818 - see above
    """A step of a plan failed.

    `result` is the `nixhive_nb.plan.events.Result` of what was found out all the same, such as how checks went.
    """

    def __init__(self, message: str, *, log: Sequence[str] = (), result: object = None) -> None:
        super().__init__(message, log=log)
        self.result = result


class ChecksFailed(StepFailed):
    """A check of an instance does not hold."""


class RolledBack(StepFailed):
    """An activation failed, or was not confirmed, and the host went back to what it ran before."""


class Refused(StepFailed):
    """A check on the host, before the switch, keeps it from switching; nothing was changed."""


class Locked(StepFailed):
    """Somebody else is activating on the host; nothing was changed."""


class PlanStale(HiveError):  # noqa: N818 - see above
    """What a plan was made from has changed since. The message has a line for each difference."""


class PlanRefused(HiveError):  # noqa: N818 - see above
    """What a deployment has refused, such as all instances at once, or what is not committed; nothing was changed."""


class RunFailed(HiveError):  # noqa: N818 - see above
    """A run ended, and not every instance is as wanted."""

    report: Report | None
    """It tells which, and why; None where a `run`, `ssh` or `scp` failed."""

    def __init__(self, message: str, report: Report | None = None, *, frame: pd.DataFrame | None = None) -> None:
        super().__init__(message)
        self.report = report
        self._frame = frame

    @property
    def frame(self) -> pd.DataFrame | None:
        """The table that the command would have given: of its report, or of a `run`; None where it gives none."""
        return self._frame if self.report is None else self.report.frame
