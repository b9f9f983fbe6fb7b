"""Plans as journals and plan files hold them, and how those of older versions are read: as what they mean now.

Format 1, whose files have no number, had other words for some kinds of steps, and put names into ids as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from nixhive_nb.plan.plan import Plan, digest_of
from nixhive_nb.plan.step import Kind, step_id

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 2
"""The number that journals and plan files have now."""

_KINDS = {"look": "probe", "measure": "missing", "realise": "build", "build": "register", "wave": "gate"}
"""What kinds were called in format 1."""
_P = TypeVar("_P", bound=Plan)


class _OldStep(msgspec.Struct, frozen=True):
    """What format 1 says of a step, as far as it is put in other words now."""

    id: str
    kind: str
    systems: tuple[str, ...] = ()
    instance: str = ""
    store: str = ""
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class _OldPlan(msgspec.Struct, frozen=True):
    steps: tuple[_OldStep, ...]


def noted_plan(document: bytes | msgspec.Raw, number: int, type_: type[_P]) -> tuple[_P, dict[str, str]]:
    """Return a plan that was noted in a format, and the new id of each step that was called otherwise there.

    Its digest is what is noted now: whoever knows the one that it had then compares that, and puts it in `noted`.
    Raises what `msgspec` raises for what is none.
    """
    if number == FORMAT:
        return msgspec.structs.replace(msgspec.json.decode(document, type=type_), noted=""), {}
    if number != 1:
        raise msgspec.ValidationError(f"it has format {number}, and this version knows those up to {FORMAT}")
    found: dict[str, Any] = msgspec.json.decode(document, type=dict[str, Any])
    steps = msgspec.convert(found, _OldPlan).steps
    ids = {step.id: _new_id(step) for step in steps}
    new = [{**one, **_new_words(step, ids)} for one, step in zip(found["steps"], steps, strict=True)]
    plan = msgspec.convert({**found, "steps": new}, type_)
    return msgspec.structs.replace(plan, noted=digest_of(plan, found["steps"])), ids


def _new_words(step: _OldStep, ids: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": ids[step.id],
        "kind": _kind(step),
        "needs": [ids.get(name, name) for name in step.needs],
        "after": [ids.get(name, name) for name in step.after],
    }


def _kind(step: _OldStep) -> Kind:
    kind: Kind = msgspec.convert(_KINDS.get(step.kind, step.kind), Kind)
    return kind


def _new_id(step: _OldStep) -> str:
    """Return the id of a step from what it is about; only parts of a plan have a name in their ids alone."""
    kind = _kind(step)
    spelt, _, part = step.id.partition(":")
    match kind:
        case "build":
            return step_id(kind)
        case "instantiate" | "register" | "sign":
            return step_id(kind, *step.systems)
        case "push":
            return step_id(kind, *step.systems, step.store)
        case "gate" | "pause":
            return step_id(kind, f"{part} before its checks" if spelt == "settled" else part)
        case _:
            return step_id(kind, step.instance)
