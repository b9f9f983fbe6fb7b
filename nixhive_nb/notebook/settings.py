"""What a person sets once: `%config Hive.parallel = 4`, or `c.Hive.parallel = 4` in `ipython_config.py`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast, get_args

from IPython.core.error import UsageError
from traitlets import Enum, Float, Int, TraitError, Unicode
from traitlets.config import Configurable

from nixhive_nb.commands.session import DEFAULT_CONFIG, DEFAULT_STATE, Policy
from nixhive_nb.plan.plan import CONFIRM
from nixhive_nb.run.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

FASTEST = 5.0
"""Updates a second: more of them and a browser falls behind."""


class Count(Int):  # type: ignore[type-arg]
    """A whole number; True is none."""

    def validate(self, obj: Any, value: Any) -> Any:  # noqa: ANN401 - as in traitlets
        """Return the number. Raises `TraitError`."""
        if isinstance(value, bool):
            self.error(obj, value)
        return super().validate(obj, value)


class Number(Float):  # type: ignore[type-arg]
    """A number that can be counted with: infinity, nan and True are none."""

    def validate(self, obj: Any, value: Any) -> Any:  # noqa: ANN401 - as in traitlets
        """Return the number. Raises `TraitError`."""
        if isinstance(value, bool):
            self.error(obj, value)
        found = super().validate(obj, value)
        if not math.isfinite(found):
            raise TraitError(f"The value of the '{self.name}' trait of a Hive instance should be a number, not {found}")
        return found


class Name(Unicode):  # type: ignore[type-arg]
    """The name of a file or folder."""

    def validate(self, obj: Any, value: Any) -> Any:  # noqa: ANN401 - as in traitlets
        """Return the name. Raises `TraitError`."""
        found = super().validate(obj, value)
        if not found:
            raise TraitError(f"The value of the '{self.name}' trait of a Hive instance should not be empty")
        return found


class Hive(Configurable):
    """The settings of `%hive`. An option of a command goes before them."""

    # `config` would be the better name, but every Configurable has that already: all values that were configured.
    deployment = Name(DEFAULT_CONFIG, help="The deployment, as -c: a file, or a folder with default.nix.").tag(
        config=True
    )
    state = Name(DEFAULT_STATE, help="The state file, as -s.").tag(config=True)
    state_dir = Name(
        None,
        allow_none=True,
        help="Where journals, outputs, --once keys and roots lie, as --state-dir. None: .hive if there is one, else "
        "below $XDG_STATE_HOME.",
    ).tag(config=True)
    parallel = Count(Limits().parallel, min=1, help="How many hosts to work on at once, as --parallel.").tag(
        config=True
    )
    confirm = Number(
        None,
        allow_none=True,
        min=1,
        help="Seconds after which a host goes back that got no word from us over a new connection, as --confirm. "
        f"None is {CONFIRM:g}.",
    ).tag(config=True)
    refresh = Number(
        4.0, min=0.1, max=FASTEST, help=f"How often a second a run is shown anew, at most {FASTEST:g} times."
    ).tag(config=True)
    widgets = Enum(
        ("auto", "own", "none"),
        "auto",
        help="How to choose targets and follow runs. own: by widgets. none: by tables. auto: own where a person "
        "is there, none elsewhere. Pages that cannot show them have tables.",
    ).tag(config=True)
    policy = Enum(
        get_args(Policy),
        "attended",
        help="When a command that changes hosts needs --yes or --plan DIGEST. attended: where no person is there, as "
        "in a notebook that papermill runs. always: everywhere. free: nowhere.",
    ).tag(config=True)

    log = Unicode(
        "",
        help="The file that the log is appended to, for finding out why something fails. Empty: that of "
        "NIXHIVE_LOG in the environment, if it is set.",
    ).tag(config=True)

    def update_config(self, config: Config) -> None:
        """Take values over, all or none. Raises `TraitError` for a bad one, which `%config` shows in a line."""
        try:
            self._check_names(config.get(type(self).__name__, ()))
            super().update_config(config)
        except TraitError:
            # `%config` gives the same object to the shell next, which would keep the value for the next load.
            config.pop(type(self).__name__, None)
            raise

    def _check_names(self, names: Iterable[str]) -> None:
        known = self.trait_names(config=True)
        for name in names:
            if name not in known:
                raise TraitError(f"Hive has no setting '{name}': {', '.join(known)}.")


def settings_for(shell: InteractiveShell) -> Hive:
    """Make the settings of an IPython from its configuration. Raises `UsageError` for a bad value, in a line."""
    try:
        return Hive(parent=shell)
    except TraitError as error:
        raise UsageError(f"Configuration of Hive: {' '.join(str(error).split())}") from None


def settings_of(shell: InteractiveShell | None) -> Hive:
    """Return the settings of an IPython; where `%hive` is not loaded, the defaults."""
    configurables = cast("list[Configurable]", shell.configurables) if shell is not None else []
    return next((one for one in configurables if isinstance(one, Hive)), None) or Hive()
