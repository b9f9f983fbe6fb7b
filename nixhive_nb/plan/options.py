"""The options of a plan, each declared once; and from what a user wrote to `Options`, and back.

An option is a row of `OPTIONS`: its keyword, what it may be, its default, its help, which commands take it, and how it
is spelt there. What else there is of it is made from the row: the option of `click` (`commands/options.py`), what
Python takes and refuses (`options_of`), the setting of a notebook where it has one (`notebook/settings.py`), the words
that do a run again (`command_words`), and the table in `docs/reference/options.md` (`tools/options_page.py`).

To add one: a row here, and the field of `Options` that the engine reads. `How` is its type for a checker; a test tells
where it is missing there. The limits (`--parallel` and its like) are rows of the same kind, in `run/limits.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, cast, get_args

import msgspec

from nixhive_nb.deployment.refused import NOTHING, REFUSED
from nixhive_nb.errors import OptionError
from nixhive_nb.plan.option_kinds import Decimal, Kind, OneOf, Share, SomeOf, Where, WholeNumber, YesNo
from nixhive_nb.plan.plan import PLANNED, Options, Reboot, SwitchType
from nixhive_nb.util.suggest import near

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixhive_nb.plan.plan import Verb

TYPES: tuple[SwitchType, ...] = get_args(SwitchType)
STEPS = ("build", "realise", "confirm", "checks")
"""What `--no` can leave out."""
_SECONDS = Decimal(least=0.0, unit="seconds")
_SOME_SECONDS = Decimal(least=1.0, unit="seconds")
_USUAL = Options()


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """A flag that stands for one value of an option."""

    word: str
    value: str
    verbs: tuple[str, ...]
    help: str

    @property
    def name(self) -> str:
        """How the flag is called in Python."""
        return self.word.removeprefix("--").replace("-", "_")


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One option: all that there is to know of it."""

    name: str
    """The keyword in Python."""
    kind: Any
    """What it may be: a `Kind`."""
    default: object
    help: str
    verbs: tuple[str, ...] = ()
    """The commands that take it; none means every command. `plan` takes those of each verb."""
    words: tuple[str, ...] = ()
    """How it is spelt, the long word last; where that is not its name with dashes."""
    metavar: str = ""
    """What stands for the value in a help."""
    field: str = ""
    """The field of `Options` or `Limits`, where it has another name; `-` where it is not one field."""
    flags: tuple[Flag, ...] = ()
    """Where each value has a flag of its own; the first that is given counts."""
    implied: Mapping[str, str] = {}
    """The default of a verb that has another one."""
    usually: str = ""
    """The default in words, where it is no value."""
    only_python: bool = False
    """Whether no command takes it."""

    @property
    def spelt(self) -> tuple[str, ...]:
        """The words for it, the long one last."""
        return self.words or (f"--{self.name.replace('_', '-')}",)

    @property
    def long(self) -> str:
        """The long word for it."""
        return self.spelt[-1]

    def default_for(self, verb: str) -> object:
        """Return what it is where nothing is said."""
        return self.implied.get(verb, self.default)

    def checked(self, given: object, written: str = "") -> Any:  # noqa: ANN401 - each has a type of its own
        """Return a value as options have it. Raises `OptionError`; `written` is what the user wrote."""
        kind: Kind = self.kind
        try:
            return kind.value(given)
        except ValueError as error:
            raise OptionError(f"{written or f'{self.name}={given!r}'} is not {error}.") from None

    def words_for(self, value: object, verb: str) -> list[str]:
        """Return the words of a command line that give it a value; none where that is what it is anyway."""
        if value == self.default_for(verb):
            return []
        if self.flags:
            return [flag.word for flag in self.flags if flag.value == value and verb in flag.verbs]
        return [self.long] if isinstance(value, bool) else [self.long, self.kind.word(value)]


class How(TypedDict, total=False):
    """The keywords of `plan`, `deploy` and their like: those of `OPTIONS`."""

    type: str
    force: bool
    no: Collection[str]
    canary: int
    batch: int | str
    max_failures: int | str
    pause: float
    stall_timeout: float
    confirm: float
    wait: float
    activation_timeout: float
    reboot: str
    reboot_timeout: float
    refuse: Collection[str]
    build_on: str
    reroute: bool


OPTIONS: tuple[Option, ...] = (
    Option(
        name="type",
        kind=OneOf(TYPES),
        default=_USUAL.type,
        verbs=("deploy",),
        words=("-t", "--type"),
        help="switch: now and at the next boot. boot: at the next boot. test: now only. dry-activate: only say what "
        "would happen.",
    ),
    Option(
        name="force",
        kind=YesNo(),
        default=_USUAL.force,
        verbs=("deploy",),
        help="Activate even where the wanted system already runs.",
    ),
    Option(
        name="no",
        kind=SomeOf(STEPS, "steps that can be left out"),
        default=(),
        metavar="STEP[,STEP]",
        field="-",  # it is `realise`, `checks` and `confirm` there, and what is known in place of builds
        help="Skip steps: build (take known results), realise (with build: instantiate only), confirm (set the "
        "profile, then switch), checks.",
    ),
    Option(
        name="canary",
        kind=WholeNumber(),
        default=_USUAL.canary,
        verbs=("deploy", "rollback", "reboot"),
        metavar="N",
        help="Activate N instances of each wave first; stop if one fails.",
    ),
    Option(
        name="batch",
        kind=Share(1),
        default=_USUAL.batch,
        verbs=("deploy", "rollback", "reboot"),
        metavar="N|P%",
        help="Activate each wave in batches of this many.",
    ),
    Option(
        name="max_failures",
        kind=Share(),
        default=_USUAL.max_failures,
        verbs=("deploy", "rollback", "reboot"),
        metavar="N|P%",
        help="Stop when more instances than this have failed.",
    ),
    Option(
        name="pause",
        kind=_SECONDS,
        default=_USUAL.pause,
        verbs=("deploy", "rollback", "reboot"),
        metavar="SECONDS",
        help="Pause between waves and batches.",
    ),
    Option(
        name="stall_timeout",
        kind=_SOME_SECONDS,
        default=_USUAL.stall,
        verbs=("push", "deploy"),
        metavar="SECONDS",
        field="stall",
        help="Give up a transfer that moves no byte for this long.",
    ),
    Option(
        name="confirm",
        kind=_SOME_SECONDS,
        default=_USUAL.confirm,
        verbs=("deploy", "rollback"),
        metavar="SECONDS",
        help="Roll a host back that cannot be confirmed over a new connection within this time.",
    ),
    Option(
        name="wait",
        kind=_SECONDS,
        default=_USUAL.wait,
        verbs=("deploy", "rollback", "reboot"),
        metavar="SECONDS",
        help="Wait this long for somebody else's activation or reboot; without it, refuse.",
    ),
    Option(
        name="activation_timeout",
        kind=_SOME_SECONDS,
        default=_USUAL.activation,
        verbs=("deploy", "rollback"),
        metavar="SECONDS",
        field="activation",
        help="How long one switch-to-configuration may take.",
    ),
    Option(
        name="reboot",
        kind=OneOf(get_args(Reboot)),
        default=_USUAL.reboot,
        verbs=("deploy", "reboot"),
        help="Whether instances are rebooted.",
        implied={"reboot": "always"},
        flags=(
            Flag(word="--reboot", value="always", verbs=("deploy",), help="Reboot each instance afterwards."),
            Flag(
                word="--reboot-if-needed",
                value="if needed",
                verbs=("deploy",),
                help="Reboot where it is needed: another kernel, initrd, modules or kernel parameters, or a system "
                "that takes effect by a reboot only.",
            ),
            Flag(
                word="--if-needed",
                value="if needed",
                verbs=("reboot",),
                help="Only those that would boot another system, kernel, initrd, modules or parameters.",
            ),
        ),
    ),
    Option(
        name="reboot_timeout",
        kind=_SOME_SECONDS,
        default=_USUAL.reboot_timeout,
        verbs=("deploy", "reboot"),
        metavar="SECONDS",
        help="How long a host may take to come back from a reboot.",
    ),
    Option(
        name="refuse",
        kind=SomeOf((*REFUSED, NOTHING), "what can be refused"),
        default=_USUAL.refuse,
        verbs=("deploy",),
        metavar="WHAT[,WHAT]",
        usually="what the deployment says",
        help="Refuse to deploy: all (no instance is named), dirty (something is not committed), older (a host runs "
        "what the history here does not have), or nothing.",
    ),
    Option(
        name="build_on",
        kind=Where(),
        default=_USUAL.build_on,
        verbs=("push", "deploy"),
        metavar="WHERE",
        usually="what the deployment says",
        help="Where systems are built: here, instance (each for itself), relay, or the store of a host such as "
        "ssh-ng://builder.",
    ),
    Option(
        name="reroute",
        kind=YesNo(),
        default=_USUAL.reroute,
        verbs=("push", "deploy"),
        help="Where a relay fails, have what is below it fetch from the relay above it, or else from here; without it, "
        "that is skipped.",
    ),
)
"""Each option once. In this order a help lists them."""

_BY_NAME = {option.name: option for option in OPTIONS}
_SINGLE = {option.name: option.field or option.name for option in OPTIONS if option.field != "-"}
"""The field of `Options` for each keyword that is one."""


def option(name: str) -> Option:
    """Return an option by its keyword."""
    return _BY_NAME[name]


def options_of(how: How, verb: Verb, *, as_words: bool = False) -> Options:
    """Return the options of a plan. Raises `OptionError` for a value that makes no sense.

    A mistake is named as a keyword, and with `as_words` as the words of a command line.
    """
    unknown = sorted(set(how) - set(_BY_NAME))
    if unknown:
        raise OptionError(_no_option(unknown[0], _BY_NAME))
    given: dict[str, Any] = {name: _checked(_BY_NAME[name], value, as_words=as_words) for name, value in how.items()}
    no = given.pop("no", ())
    if "realise" in no and verb != "build":
        written = "--no realise" if as_words else f"no={how['no']!r}"
        raise OptionError(f"{written} goes with build alone: {verb} needs results that exist.")
    usual = {one.name: one.default_for(verb) for one in OPTIONS if one.implied}
    values = {_SINGLE[name]: value for name, value in (usual | given).items()}
    found = msgspec.structs.replace(_USUAL, **values, realise="realise" not in no, checks="checks" not in no)
    return msgspec.structs.replace(found, confirm=0.0) if "confirm" in no else found


def check_verb(verb: str) -> None:
    """Raise `OptionError` for a verb that there is no plan of."""
    if verb not in PLANNED:
        alike = near(str(verb), PLANNED)
        hint = f" Near: {', '.join(alike)}." if alike else ""
        raise OptionError(f"There is no plan of {verb!r}: the first word is one of {', '.join(PLANNED)}.{hint}")


def check_taken(how: How, verb: Verb) -> None:
    """Raise `OptionError` for an option that there is, and that a verb does not take: it would be without effect."""
    for name in how:
        one = _BY_NAME.get(name)
        if one is not None and one.verbs and verb not in one.verbs:
            raise OptionError(f"{name}: {verb} does not take it; it is for {', '.join(one.verbs)}.")


def steps_left_out(no: Collection[str]) -> tuple[str, ...]:
    """Return the steps that are left out. Raises `OptionError` for a word that is none of them."""
    return cast("tuple[str, ...]", tuple(option("no").checked(no)))


def words_of(options: Options, no: Collection[str]) -> How:
    """Return the keywords that lead to these options; `no` are the steps that were left out."""
    how = {name: getattr(options, field) for name, field in _SINGLE.items()}
    return cast("How", {**how, "confirm": options.confirm or _USUAL.confirm, "no": tuple(no)})


def command_words(options: Options, no: Collection[str], verb: Verb) -> list[str]:
    """Return the words of a command line that lead to these options; what is as usual is left out."""
    how: Mapping[str, object] = words_of(options, no)
    return [word for one in OPTIONS for word in one.words_for(how[one.name], verb)]


def _checked(one: Option, given: object, *, as_words: bool) -> object:
    return one.checked(given, f"{one.long} {one.kind.word(given)}" if as_words else "")


def _no_option(name: str, known: Iterable[str]) -> str:
    hint = near(name, known)
    meant = f" Did you mean {' or '.join(hint)}?" if hint else ""
    return f"{name}: there is no such option.{meant} There are {', '.join(known)}."
