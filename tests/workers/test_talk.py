"""Calls to a worker go in batches, and what comes of them comes back in batches; none is lost, or made twice."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import msgspec
import pytest

from nixhive_nb.deployment.inventory import Instance, Inventory
from nixhive_nb.errors import ConnectionFailed, WorkerLost
from nixhive_nb.ssh.link import RemoteResult
from nixhive_nb.workers import serving
from nixhive_nb.workers.talk import Talk

NAMES = [f"www-{number}" for number in range(50)]
SITE = "site"


class Link:
    """A host that says its words as lines, and ends at once, or when it is let."""

    def __init__(self, ran, held):
        self.ran, self.held = ran, held

    async def run(self, command, *, seconds, on_line=None, stdin=None):
        self.ran.append(command)
        for word in command.split():
            if on_line:
                on_line(word)
        if command == "fail":
            raise ConnectionFailed("it does not answer")
        if command == "hold":
            try:
                await self.held.wait()
            except asyncio.CancelledError:
                self.ran.append("let go of")
                raise
        return RemoteResult(exited=0, stdout=f"{command}\n", stderr="", seconds=0.0)


class Setting:
    """A worker in this process, and what is sent to it."""

    def __init__(self, monkeypatch):
        self.ran, self.sent, self.held = [], [], asyncio.Event()
        links = SimpleNamespace(kept=lambda _: Link(self.ran, self.held))
        site = SimpleNamespace(operator="me", links=links, close=lambda: None)
        monkeypatch.setattr(serving, "_OperatorsHosts", lambda *_: site)
        self.start()
        self.talk = Talk("me", self.ask)

    def start(self):
        self.serving = serving.Serving("one", ["one"])
        serving.take_up(self.serving)

    async def ask(self, function, *args):
        self.sent.append(function.__name__)
        answer = await function(*args)
        if answer is None or answer is False:
            raise WorkerLost("worker one was started again")
        return answer

    async def settle(self):
        part = Inventory(source="x", instances={name: Instance(name=name, system="s") for name in NAMES})
        await serving.settle("me", SITE, msgspec.json.encode(part))

    def command(self, words, on_line=None):
        more = {"seconds": 60.0, "stdin": None, "heard": on_line is not None}
        return self.talk.call("command", (SITE, "www-0", "", words), more, on_line)


async def until(holds):
    """Let others go on until something holds."""
    while not holds():  # noqa: ASYNC110 - of what is looked at nothing tells
        await asyncio.sleep(0)


@pytest.fixture
def within(monkeypatch):
    """Run a test in a loop, with a worker that is told of the hosts."""

    def run(test):
        async def inside():
            setting = Setting(monkeypatch)
            await setting.settle()
            async with asyncio.timeout(60):
                await test(setting)

        try:
            asyncio.run(inside())
        finally:
            serving.take_up(None)

    return run


def test_what_is_called_at_once_goes_in_one_batch_and_each_call_is_made_once(within):
    async def test(one):
        answers = await asyncio.gather(*(one.command(name) for name in NAMES))
        assert [answer["stdout"] for answer in answers] == [f"{name}\n" for name in NAMES]
        assert sorted(one.ran) == sorted(NAMES)
        assert one.sent.count("post") == 1
        assert one.sent.count("hear") < len(NAMES) / 2

    within(test)


def test_lines_come_in_order_and_before_the_answer(within):
    async def test(one):
        heard = []
        task = asyncio.create_task(one.command("hold", heard.append))
        await until(lambda: heard == ["hold"])  # while it runs
        one.held.set()
        await task
        await one.command("a b c d", heard.append)
        assert heard == ["hold", "a", "b", "c", "d"]

    within(test)


def test_what_a_host_does_not_do_is_an_answer_of_its_call_alone(within):
    async def test(one):
        bad, good = await asyncio.gather(one.command("fail"), one.command("well"))
        assert (bad["error"], bad["text"]) == ("ConnectionFailed", "it does not answer")
        assert good["stdout"] == "well\n"

    within(test)


def test_a_call_that_is_cancelled_is_let_go_of_there_and_one_that_was_not_sent_is_not_made(within):
    async def test(one):
        task = asyncio.create_task(one.command("hold"))
        await until(lambda: "hold" in one.ran)
        task.cancel()
        unsent = asyncio.create_task(one.command("never"))
        await asyncio.sleep(0)
        unsent.cancel()
        for each in (task, unsent):
            with contextlib.suppress(asyncio.CancelledError):
                await each
        await one.command("after")
        await until(lambda: "let go of" in one.ran)
        assert "never" not in one.ran
        await until(lambda: not one.serving.calls)  # nothing is kept of them

    within(test)


@pytest.mark.parametrize("end", ["message", "worker", "lease"])
def test_with_a_worker_all_that_waits_is_lost_and_a_later_talk_hears_nothing_of_it(within, end):
    async def test(one):
        waiting = asyncio.gather(*(one.command("hold") for _ in range(3)), return_exceptions=True)
        await until(lambda: one.ran.count("hold") == 3)
        if end == "worker":
            one.start()
            await one.settle()
        elif end == "lease":
            await one.serving.end("me")
            await one.settle()
        else:

            async def lost(*_):
                raise WorkerLost("the link was lost")

            one.talk._ask = lost
        with contextlib.suppress(WorkerLost):
            await one.command("once more")
        if end == "message":
            one.held.set()
        found = await waiting
        assert all(isinstance(each, WorkerLost) or "error" in each for each in found)
        one.talk = Talk("me", one.ask)
        assert (await one.command("again"))["stdout"] == "again\n"

    within(test)


def test_a_worker_that_does_not_know_the_hosts_says_so(within):
    async def test(one):
        one.serving.sites.clear()
        assert serving.UNKNOWN in await one.command("x")

    within(test)
