"""A worker that hangs: it is given up, it keeps no other one waiting, and it is one again when it goes on."""

from __future__ import annotations

import signal

import pytest

from nixhive_nb.errors import ConnectionFailed, WorkerLost
from nixhive_nb.workers import cluster as clusters
from nixhive_nb.workers import serving
from tests.sshd import eventually
from tests.workers.cluster import Cluster

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

SILENCE = 2


@pytest.fixture
def real(tmp_path, monkeypatch):
    """Two workers for one place."""
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "3s")  # of the scheduler, which it has as 30 s
    one = Cluster(tmp_path)
    try:
        for name in ("one", "two"):
            one.start_worker(name, "--for", "place")
        yield one
    finally:
        one.close()


@pytest.fixture
def operator(real, monkeypatch):
    """Who tells workers often that he is there."""
    monkeypatch.setattr(clusters, "_BEAT", 0.1)
    monkeypatch.setattr(clusters, "_SILENCE", SILENCE)
    one = clusters.Cluster(real.address)
    yield one
    one.close()


def near(operator):
    return {one.name: one for one in operator.submit(operator.near(["place"], "an instance")).result(30)}


def on(operator, worker, function):
    """Have a worker call a function, which goes there as it is, and return what that gives."""

    async def run():
        return await operator._client.run(function, workers=[worker.address])

    return operator.submit(run()).result(30)[worker.address]


async def waits():
    """What a worker is asked that takes long."""


def test_what_a_worker_that_hangs_was_asked_is_lost_and_it_is_there_again_when_it_goes_on(real, operator, monkeypatch):
    monkeypatch.setitem(serving.BATCHED, "waits", waits)

    def have_it_wait():
        import asyncio

        from nixhive_nb.workers import serving

        async def waits():
            serving.begun = True
            await asyncio.sleep(3600)

        serving.BATCHED["waits"] = waits

    async def alone():
        import asyncio

        await asyncio.sleep(3600)

    one = near(operator)["one"]
    on(operator, one, have_it_wait)
    asked = [operator.submit(operator.ask(one, function)) for function in (waits, alone)]
    eventually(
        lambda: on(operator, one, lambda: hasattr(__import__("nixhive_nb").workers.serving, "begun")), "its call"
    )
    real.workers["one"].send_signal(signal.SIGSTOP)
    for future in asked:
        with pytest.raises(WorkerLost, match=f"worker one has not answered in {SILENCE} s"):
            future.result(30)
    assert list(near(operator)) == ["two"]
    real.workers["one"].send_signal(signal.SIGCONT)

    def is_back():
        operator.submit(operator._again()).result(30)
        return set(near(operator)) == {"one", "two"}

    eventually(is_back, "the worker that goes on", 30)
    assert on(operator, near(operator)["one"], lambda: 1) == 1


def test_a_scheduler_that_hangs_is_waited_for_as_one_that_is_gone(real, operator, monkeypatch):
    monkeypatch.setattr(clusters, "PATIENCE", 1)
    monkeypatch.setattr(clusters, "_CONNECT", 1)

    async def alone():
        pass

    one = near(operator)["one"]
    real.scheduler.send_signal(signal.SIGSTOP)
    with pytest.raises(WorkerLost, match=f"worker one has not answered in {SILENCE} s"):
        operator.submit(operator.ask(one, alone)).result(30)
    eventually(lambda: not operator._workers, "that the other one is given up")
    with pytest.raises(ConnectionFailed, match=f"an instance: no worker that is for place is at {real.address}"):
        near(operator)
    real.scheduler.send_signal(signal.SIGCONT)
    monkeypatch.setattr(clusters, "PATIENCE", 30)
    assert set(near(operator)) == {"one", "two"}


def test_one_that_hangs_keeps_nobody_from_the_others(real, monkeypatch):
    """Neither who comes anew, nor who waits for a worker of a place."""
    monkeypatch.setattr(clusters, "_ANSWER", 1)
    clusters.Cluster(real.address).close()  # the scheduler keeps its connections to both from here on
    real.workers["one"].send_signal(signal.SIGSTOP)
    newcomer = clusters.Cluster(real.address)
    try:
        assert list(near(newcomer)) == ["two"]
        real.start_worker("three", "--for", "elsewhere")
        (three,) = newcomer.submit(newcomer.near(["elsewhere"], "an instance")).result(30)
        assert three.name == "three"
    finally:
        newcomer.close()


def test_the_others_hear_of_the_operator_while_one_hangs(real, operator):
    def last():
        from nixhive_nb.workers import serving

        return max(serving._SERVING[0].beats.values(), default=0.0)

    two = near(operator)["two"]
    real.workers["one"].send_signal(signal.SIGSTOP)
    signs = set()

    def is_given_up():
        signs.add(on(operator, two, last))
        return "one" not in {worker.name for worker in operator._workers.values()}

    eventually(is_given_up, "that one is given up", 30)
    assert len(signs) > 3
