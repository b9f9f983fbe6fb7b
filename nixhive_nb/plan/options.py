"""How a verb is to be carried out, in the words of a user → the options of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, cast, get_args

from nixhive_nb.errors import OptionError
from nixhive_nb.plan.plan import ACTIVATION_SECONDS, CONFIRM, REBOOT_SECONDS, STALL_SECONDS, Options, Reboot, SwitchType

if TYPE_CHECKING:
    from collections.abc import Collection

    from nixhive_nb.plan.plan import Verb

TYPES: tuple[SwitchType, ...] = get_args(SwitchType)
REBOOTS: tuple[Reboot, ...] = get_args(Reboot)
STEPS = ("build", "realise", "confirm", "checks")
"""What `--no` can leave out."""


class How(TypedDict, total=False):
    """The keywords of `plan`, `deploy` and their like. Durations are seconds."""

    type: str
    """switch, boot, test or dry-activate."""
    force: bool
    """Activate also where the wanted system runs already."""
    no: Collection[str]
    """Steps to leave out: build (take known results), realise (with build: instantiate only), confirm, checks."""
    confirm: float
    """How long a host waits for our word before it goes back to what it ran."""
    wait: float
    """How long to wait for another activation on the same host."""
    activation_timeout: float
    """How long one switch-to-configuration may take."""
    stall_timeout: float
    """How long a transfer may move no byte before it is given up."""
    canary: int
    """How many instances of each wave go first."""
    batch: int | str
    """How many instances of a wave are activated together: N or "P%"."""
    max_failures: int | str
    """With more failed instances nothing more is activated: N or "P%"."""
    pause: float
    """Seconds between two waves or batches."""
    reboot: str
    """never, if needed, or always."""
    reboot_timeout: float
    """How long a host may take to come back."""


_NUMBERS = ("confirm", "wait", "activation_timeout", "stall_timeout", "canary", "pause", "reboot_timeout")


def options_of(how: How, verb: Verb) -> Options:
    """Return the options of a plan. Raises `OptionError` for a value that makes no sense."""
    unknown = sorted(set(how) - set(How.__annotations__))
    if unknown:
        raise OptionError(f"{unknown[0]}: there is no such option. There are {', '.join(How.__annotations__)}.")
    for name in _NUMBERS:
        if name in how:
            _check_number(name, how[name])  # type: ignore[literal-required] # they are all of them keywords of `How`
    no = tuple(how.get("no", ()))
    return Options(
        type=cast("SwitchType", _one_of("-t", how.get("type", "switch"), TYPES)),
        force=how.get("force", False),
        realise="realise" not in _left_out(no, verb),
        confirm=0.0 if "confirm" in no else _seconds("--confirm", how.get("confirm", CONFIRM), least=1.0),
        checks="checks" not in no,
        wait=_seconds("--wait", how.get("wait", 0.0)),
        activation=_seconds("--activation-timeout", how.get("activation_timeout", ACTIVATION_SECONDS), least=1.0),
        stall=_seconds("--stall-timeout", how.get("stall_timeout", STALL_SECONDS), least=1.0),
        reboot=cast("Reboot", _one_of("reboot", how.get("reboot", "never"), REBOOTS)),
        reboot_timeout=_seconds("--reboot-timeout", how.get("reboot_timeout", REBOOT_SECONDS), least=1.0),
        canary=_canary(how.get("canary", 0)),
        batch=str(how.get("batch", "")),
        max_failures=str(how.get("max_failures", "")),
        pause=_seconds("--pause", how.get("pause", 0.0)),
    )


def _check_number(name: str, value: object) -> None:
    """Raise `OptionError` for what is no number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise OptionError(f"{name}={value!r}: it must be a number.")


def _left_out(no: Collection[str], verb: Verb) -> Collection[str]:
    unknown = sorted(set(no) - set(STEPS))
    if unknown:
        raise OptionError(f"--no {unknown[0]}: no such step can be left out. It is one of {', '.join(STEPS)}.")
    if "realise" in no and verb != "build":
        raise OptionError(f"--no realise goes with build alone: {verb} needs results that exist.")
    return no


def _one_of(option: str, value: str, known: Collection[str]) -> str:
    if value not in known:
        raise OptionError(f"{option} {value}: there is no such value. It is one of {', '.join(known)}.")
    return value


def _seconds(option: str, value: float, *, least: float = 0.0) -> float:
    if not least <= value < float("inf"):
        raise OptionError(f"{option} {value:g}: it must be at least {least:g} seconds.")
    return float(value)


def _canary(value: int) -> int:
    if value < 0:
        raise OptionError(f"--canary {value}: it must be at least 0.")
    return value


def command_words(options: Options, no: Collection[str], verb: Verb) -> list[str]:
    """Return the words of a command line that lead to these options; what is as usual is left out."""
    usual = words_of(Options(), ())
    words: list[str] = []
    for name, value in words_of(options, no).items():
        if value == usual.get(name) or (verb == "reboot" and name == "reboot" and value == "always"):
            continue
        words.append(f"--{name.replace('_', '-')}")
        if name == "reboot":
            if_needed = "--if-needed" if verb == "reboot" else "--reboot-if-needed"
            words[-1] = if_needed if value == "if needed" else "--reboot"
        elif name == "no":
            words.append(",".join(no))
        elif not isinstance(value, bool):
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return words


def words_of(options: Options, no: Collection[str]) -> How:
    """Return the keywords that lead to these options; `no` are the steps that were left out."""
    return How(
        type=options.type,
        force=options.force,
        no=tuple(no),
        confirm=options.confirm or CONFIRM,
        wait=options.wait,
        activation_timeout=options.activation,
        stall_timeout=options.stall,
        canary=options.canary,
        batch=options.batch,
        max_failures=options.max_failures,
        pause=options.pause,
        reboot=options.reboot,
        reboot_timeout=options.reboot_timeout,
    )
