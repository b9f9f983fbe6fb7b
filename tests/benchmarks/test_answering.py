"""Hosts that are not there answer what a deploy asks in the words that are read of real ones."""

from __future__ import annotations

import asyncio

from benchmarks.answering import OLD, AnsweringHosts
from nixhive_nb.hosts import activation, scripts
from nixhive_nb.nix import fetching
from nixhive_nb.ssh.link import FarLinks

NEW = "/nix/store/11111111111111111111111111111111-nixos-system-new"


def test_a_host_says_how_it_is_what_it_has_and_what_comes_in():
    async def asked():
        hosts = AnsweringHosts(latency=0, activation=0)
        link = hosts.kept("www-1")

        async def look():
            return activation.read_look((await link.run(activation.look(NEW), seconds=30)).stdout)

        before, heard = await look(), []
        await link.run(fetching.fetch(NEW, "root", stall=60), seconds=30, on_line=heard.append)
        return await scripts.ask(hosts, "www-1", {}), before, await look(), heard

    facts, before, after, heard = asyncio.run(asked())
    assert (facts.current, facts.profile, facts.root) == (OLD, OLD, True)
    assert (before.is_there, after.is_there, after.is_system) == (False, True, True)
    assert [said for line in heard if isinstance(said := fetching.read(line), fetching.Moves)]


def test_they_have_all_that_links_over_workers_have():
    """A deployment takes them for such."""
    asked = {name for name in vars(FarLinks) if not name.startswith("_")} | {"files", "close"}
    assert asked - {"run"} <= set(dir(AnsweringHosts))  # nothing of a user's is run there
