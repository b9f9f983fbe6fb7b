"""A command of a user's that a worker runs."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from nixhive_nb.errors import ConnectionFailed
from nixhive_nb.workers.running import UsersCommand


@pytest.mark.parametrize(
    ("error", "told"), [(ConnectionFailed("no way"), "no way"), (KeyError("a bug"), "A bug in nixhive_nb")]
)
def test_whatever_keeps_it_from_running_is_told_to_who_fetches(error, told):
    def run(*_, **__):
        raise error

    async def fetched():
        with ThreadPoolExecutor(1) as workers:
            one = UsersCommand("me", SimpleNamespace(run=run, workers=workers), "web")
            one.begin("true", stdin=b"", seconds=None, ending=b"")
            return await one.fetch()

    assert told in asyncio.run(asyncio.wait_for(fetched(), 5))["ended"]["text"]
