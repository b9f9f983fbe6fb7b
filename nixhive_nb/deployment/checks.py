"""`checks` of systems and instances: how to see that an instance does its work."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from nixhive_nb.deployment.inventory import Check
from nixhive_nb.deployment.node import KINDS, Node
from nixhive_nb.util.suggest import near

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Problem = Callable[[Node, str], None]
"""Notes what is wrong with the value at a node."""

_FORMS = ("command", "http", "tcp", "units")
_OTHERS = ("expect", "from", "period", "timeout", "for", "description")
_PLACES = ("instance", "here")
_LAST_PORT = 65535
_STATUSES = range(100, 600)
_NONE = Node("missing")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_URLS = re.compile(r"[\s\x00-\x1f\x7f]")


def read_checks(checks: Node, of: str, problem: Problem, taken: Collection[str] = ()) -> tuple[Check, ...]:
    """Return the checks of a system or an instance, in order of name; what is wrong with them goes to `problem`.

    Those of a list are named `KIND-NUMBER`, with the first number that is free, in the list and in `taken`.
    """
    if checks.type not in ("missing", "set", "list"):
        problem(checks, f"`checks`{of} is {KINDS[checks.type]}; write a set of checks, such as {{ ssh.tcp = 22; }}")
    by_name = _numbered(checks, taken) if checks.type == "list" else checks.members
    found = [_CheckReader(name, node, of, problem).check() for name, node in sorted(by_name.items())]
    return tuple(check for check in found if check is not None)


def merged(system: tuple[Check, ...], own: Node, of: str, problem: Problem) -> tuple[Check, ...]:
    """Return the checks of an instance, in order of name: those of its system and its own, which win by name.

    Own ones that stand in a list have no name to win by, and are added.
    """
    by_name = {check.name: check for check in system}
    by_name |= {check.name: check for check in read_checks(own, of, problem, taken=by_name)}
    return tuple(by_name[name] for name in sorted(by_name))


def _numbered(checks: Node, taken: Collection[str]) -> Mapping[str, Node]:
    found: dict[str, Node] = {}
    for item in checks.items:
        kind = next((form for form in _FORMS if form in item.members), "check")
        names = (f"{kind}-{number}" for number in itertools.count(1))
        name = next(name for name in names if name not in found and name not in taken)
        # Nix knows no places of items, but those of what stands in them.
        at = next((member.at for member in item.members.values() if member.at), checks.at)
        found[name] = msgspec.structs.replace(item, at=at)
    return found


class _CheckReader:
    """One check."""

    def __init__(self, name: str, node: Node, of: str, problem: Problem) -> None:
        self.name = name
        self.node = node
        self.members = node.members
        self.of = of
        self.note = problem
        self.wrong = False

    def check(self) -> Check | None:
        """Return the check, None for one that has a mistake."""
        if self.node.type != "set":
            self.problem(self.node, f"{self.what()} is {KINDS[self.node.type]}; write {{ tcp = 22; }}, for example")
            return None
        self.look_at_names()
        kind = self.kind()
        period = self.seconds("period", 2.0)
        timeout = self.seconds("timeout", 10.0)
        hold = self.seconds("for", 0.0)
        description = self.description()
        if kind is None:
            return None
        here = self.here(kind)
        check = Check(
            name=self.name,
            kind=kind,
            command=self.command() if kind == "command" else (),
            url=self.url() if kind == "http" else "",
            expect=self.status(kind),
            port=self.port() if kind == "tcp" else 0,
            here=here,
            period=period,
            timeout=timeout,
            hold=hold,
            description=description,
        )
        if kind == "units" and self.members["units"].value is not True:
            self.problem(self.members["units"], f"{self.what('units')} is not true; leave the check out instead")
        return None if self.wrong else check

    def look_at_names(self) -> None:
        if not self.name or _CONTROL.search(self.name):
            self.problem(self.node, f"a check{self.of} cannot be named {self.name!r}")
        known = (*_FORMS, *_OTHERS)
        for name, node in self.members.items():
            if name not in known:
                alike = near(name, known)
                hint = f"did you mean `{alike[0]}`?" if alike else f"a check has {', '.join(known)}"
                self.problem(node, f"{self.what(name)} is not known: {hint}")

    def kind(self) -> Literal["command", "http", "tcp", "units"] | None:
        forms = [name for name in _FORMS if name in self.members]
        if len(forms) != 1:
            said = f"has {' and '.join(forms)} at once" if forms else "has none of its forms"
            self.problem(self.node, f"{self.what()} {said}; give it one of {', '.join(_FORMS)}")
            return None
        return forms[0]  # type: ignore[return-value] # one of the four

    def command(self) -> tuple[str, ...]:
        node = self.members["command"]
        if node.type != "list" or not node.items or any(item.type != "string" for item in node.items):
            self.problem(node, f'{self.what("command")} is not a list of strings; write [ "systemctl" "is-active" … ]')
        elif not node.items[0].value:
            self.problem(node, f"{self.what('command')} begins with an empty word; write the name of a program")
        return tuple(str(item.value) for item in node.items)

    def url(self) -> str:
        node = self.members["http"]
        text = str(node.value) if node.type == "string" else ""
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or _NOT_IN_URLS.search(text):
            self.problem(node, f'{self.what("http")} is not a URL of http or https; write "http://localhost/"')
        return text

    def status(self, kind: str) -> int:
        node = self.members.get("expect", Node("int", 200))
        if "expect" in self.members and kind != "http":
            self.problem(node, f"{self.what('expect')} goes with http alone")
        elif node.type != "int" or node.value not in _STATUSES:
            self.problem(node, f"{self.what('expect')} is not a status of http, such as 200")
            return 200
        return int(str(node.value))

    def port(self) -> int:
        node = self.members["tcp"]
        value = node.value if node.type == "int" and not isinstance(node.value, bool) else 0
        if not isinstance(value, int) or not 0 < value <= _LAST_PORT:
            self.problem(node, f"{self.what('tcp')} is not a port, from 1 to {_LAST_PORT}")
            return 0
        return value

    def here(self, kind: str) -> bool:
        node = self.members.get("from")
        if node is None:
            return False
        if kind not in ("http", "tcp"):
            self.problem(node, f"{self.what('from')} goes with http and tcp alone")
        elif node.type != "string" or node.value not in _PLACES:
            self.problem(node, f'{self.what("from")} is neither "instance" nor "here"')
        return node.value == "here"

    def seconds(self, name: str, default: float) -> float:
        node = self.members.get(name)
        if node is None:
            return default
        value = node.value if node.type in ("int", "float") else None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            self.problem(node, f"{self.what(name)} is not a number of seconds, above 0")
            return default
        return float(value)

    def description(self) -> str:
        node = self.members.get("description", _NONE)
        if node.type not in ("missing", "string"):
            self.problem(node, f"{self.what('description')} is {KINDS[node.type]}, not a string")
        return " ".join(str(node.value or "").split())

    def what(self, attribute: str = "") -> str:
        path = f"checks.{self.name}{f'.{attribute}' if attribute else ''}"
        return f"`{path}`{self.of}"

    def problem(self, node: Node, text: str) -> None:
        self.wrong = True
        self.note(node, text)
