"""A plan as a file: `plan --out FILE`, `apply FILE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import OptionError
from nixhive_nb.plan.formats import FORMAT, noted_plan
from nixhive_nb.plan.plan import DIGITS, Plan
from nixhive_nb.plan.sound import flaw_of, unusual_options
from nixhive_nb.util.files import write_whole
from nixhive_nb.util.said import Whole

if TYPE_CHECKING:
    from pathlib import Path


class _Written(msgspec.Struct, frozen=True, kw_only=True):
    """What such a file holds. The digest is there for people, and against changes by hand."""

    digest: str
    plan: msgspec.Raw
    format: Whole = 1
    """See `plan.formats`. Files of the first format have no number."""


def write_plan(plan: Plan, file: Path) -> None:
    """Write a plan, readable by us alone. Raises `OSError`."""
    written = msgspec.json.encode(
        _Written(format=FORMAT, digest=plan.whole_digest, plan=msgspec.Raw(msgspec.json.encode(plan)))
    )
    write_whole(file, msgspec.json.format(written) + b"\n")


def read_plan(file: Path) -> Plan:
    """Read a plan. Raises `OptionError` for a file that is none, or that was changed, and `OSError`."""
    try:
        written = msgspec.json.decode(file.read_bytes(), type=_Written)
        plan, _ = noted_plan(written.plan, written.format, Plan)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise OptionError(f"{file} holds no plan that this version can read: {error}. Make one: plan --out.") from None
    if plan.whole_digest != written.digest:
        raise OptionError(
            f"{file} was changed, or written by another version: it says plan {written.digest[:DIGITS]}, and holds "
            f"{plan.digest}. Make a new one: plan --out."
        )
    flaw = flaw_of(plan) or unusual_options(plan)
    if flaw:
        raise OptionError(
            f"{file} holds no plan that this program would make: {flaw.rstrip('.')}. Make one: plan --out."
        )
    return plan
