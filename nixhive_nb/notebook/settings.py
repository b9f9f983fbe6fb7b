"""What a person sets once: `%config Hive.parallel = 4`, or `c.Hive.parallel = 4` in `ipython_config.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

from IPython.core.error import UsageError
from traitlets import Enum, TraitError, TraitType, Unicode
from traitlets.config import Configurable

from nixhive_nb.commands.options import CONFIG, STATE, STATE_DIR
from nixhive_nb.commands.session import Policy
from nixhive_nb.deployment.carrying import CARRIERS
from nixhive_nb.plan.option_kinds import Decimal, OneOf
from nixhive_nb.plan.options import option
from nixhive_nb.run.limits import LIMITS
from nixhive_nb.util.suggest import near

if TYPE_CHECKING:
    from collections.abc import Iterable

    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    from nixhive_nb.plan.option_kinds import Kind
    from nixhive_nb.plan.options import Option

FASTEST = 5.0
"""Updates a second: more of them and a browser falls behind."""
_PARALLEL = next(one for one in LIMITS if one.name == "parallel")
_CARRIER = next(one for one in LIMITS if one.name == "carrier")
_CONFIRM = option("confirm")


class _Setting(TraitType[Any, Any]):
    """A value of a kind that an option may have."""

    def __init__(self, kind: Kind, default: object, *, help: str) -> None:  # noqa: A002 - as in traitlets
        """Have a default; where that is None, None is allowed."""
        super().__init__(default, allow_none=default is None, help=help)
        self.kind = kind
        self.tag(config=True)

    def validate(self, obj: Any, value: Any) -> Any:  # noqa: ANN401, ARG002 - as in traitlets
        """Return the value as options have it. Raises `TraitError`."""
        return checked(f"Hive.{self.name}", self.kind, value)

    def from_string(self, s: str) -> Any:  # noqa: ANN401 - as in traitlets
        """Return what a word of a command line stands for, as in `ipython --Hive.parallel=4`. Raises `ValueError`."""
        return None if self.allow_none and s == "None" else self.kind.read(s)


class Count(_Setting):
    """A whole number."""


class Number(_Setting):
    """A number."""


class Name(_Setting):
    """The name of a file or folder."""


class Choice(Enum):  # type: ignore[type-arg]
    """One of some words."""

    def validate(self, obj: Any, value: Any) -> Any:  # noqa: ANN401, ARG002 - as in traitlets
        """Return the word. Raises `TraitError`."""
        return checked(f"Hive.{self.name}", OneOf(tuple(self.values or ())), value)


def checked(name: str, kind: Kind, value: object) -> object:
    """Return the value of a setting. Raises `TraitError`, which names it as the user wrote it."""
    try:
        return kind.value(value)
    except ValueError as error:
        raise TraitError(f"{name} = {value!r} is not {error}.") from None


def _help(one: Option) -> str:
    """Return the help of an option, with how it is spelt."""
    return f"{one.help.removesuffix('.')}, as {one.spelt[0]}."


class Hive(Configurable):
    """The settings of `%hive`. An option of a command goes before them."""

    # `config` would be the better name, but every Configurable has that already: all values that were configured.
    deployment = Name(CONFIG.kind, CONFIG.default, help=_help(CONFIG))
    state = Name(STATE.kind, STATE.default, help=_help(STATE))
    state_dir = Name(STATE_DIR.kind, None, help=f"{_help(STATE_DIR)} None: {STATE_DIR.usually}.")
    parallel = Count(_PARALLEL.kind, _PARALLEL.default, help=_help(_PARALLEL))
    confirm = Number(
        _CONFIRM.kind, None, help=f"{_help(_CONFIRM)} In seconds; None is {_CONFIRM.kind.word(_CONFIRM.default)}."
    )
    refresh = Number(
        Decimal(least=0.1, most=FASTEST),
        4.0,
        help=f"How often a second the view of a run is updated, at most {FASTEST:g} times.",
    )
    widgets = Choice(
        ("auto", "own", "none"),
        "auto",
        help="How to choose targets and follow runs. own: by widgets. none: by tables. auto: own where a person "
        "is there, none elsewhere. Pages that cannot show them have tables.",
    ).tag(config=True)
    carrier = Choice(CARRIERS, "auto", help=_help(_CARRIER)).tag(config=True)
    policy = Choice(
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
                hint = near(name, known)
                meant = f" Did you mean {' or '.join(hint)}?" if hint else ""
                raise TraitError(f"Hive has no setting '{name}'.{meant} There are {', '.join(known)}.")


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
