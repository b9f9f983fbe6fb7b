"""Leaving a host as it is: by what it said while that is fresh, and else by asking it again."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from nixhive_nb.errors import Locked, StepFailed
from nixhive_nb.hosts import settled
from nixhive_nb.hosts.settled import see_settled, seen_text
from nixhive_nb.plan.facts import HostFacts, Seen
from nixhive_nb.plan.plan import Options

NEW, OLD = (f"/nix/store/{letter * 32}-nixos-system-web" for letter in "ba")
FACTS = HostFacts(current=NEW, profile=NEW, booted=NEW, failed_units=("a.service",))


class Host:
    """One that says what it is told to, one answer after the other."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.lines = []

    async def ask(self, _instance):
        return self.answers.pop(0)

    def line(self, text):
        self.lines.append(text)


def seen(age):
    return Seen(instance="web", facts=FACTS, asked=time.time() - age)


def look(host, before, **options):
    asking = see_settled("web", NEW, before, Options(**options), ask=host.ask, fresh=60, tell=host)
    return asyncio.run(asking)


def other(**facts):
    return msgspec.structs.replace(FACTS, **facts)


def test_a_fresh_answer_decides_without_a_question():
    before = seen(1)
    result = look(Host(), before)
    assert (result.outcome, result.path, result.previous) == ("unchanged", NEW, NEW)
    assert result.how == seen_text(before.asked)
    assert result.warning == "1 unit failed: a.service"


@pytest.mark.parametrize(
    "before", [lambda: seen(61), lambda: seen(-3600), lambda: Seen(instance="web", facts=FACTS), None]
)
def test_an_answer_that_is_old_or_of_no_time_is_asked_for_again(before):
    host = Host(FACTS)
    assert look(host, before and before()).outcome == "unchanged"
    assert host.answers == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"current": OLD}, f"web runs {OLD} now, and {NEW} when the plan was made"),
        ({"profile": OLD}, f"web boots {OLD} now, and {NEW} when the plan was made"),
        ({"unclean": OLD}, f"an activation of {OLD} did not end well there: what it runs is a mixture"),
        ({"loader": OLD}, f"its boot loader starts {OLD} now, and not {NEW}"),
    ],
)
def test_a_host_that_was_changed_since_fails_and_is_told_by_what(facts, said):
    with pytest.raises(StepFailed) as error:
        look(Host(other(**facts)), seen(61))
    assert said in str(error.value)
    assert str(error.value).endswith("Nothing was changed. Make a new plan.")


def test_a_host_where_somebody_is_at_work_is_locked_or_waited_for(monkeypatch):
    monkeypatch.setattr(settled, "_PAUSE", 0.001)
    with pytest.raises(Locked):
        look(Host(other(holder="bob")), seen(61))
    host = Host(other(holder="bob"), other(holder="bob"), FACTS)
    assert look(host, seen(61), wait=60).outcome == "unchanged"
    assert host.lines == ["waiting for bob, at most 60 s"]
