"""Results that are in this machine's store already: each is asked about once, however many instances want it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from nixhive_nb.nix.build import Builds
from nixhive_nb.plan.facts import Wanted
from nixhive_nb.util import process

PATH = f"/nix/store/{'a' * 32}-nixos-system-web"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_path_is_asked_about_once_for_all_instances(monkeypatch, is_there):
    commands = []

    async def stream(argv, **_how):
        commands.append(argv)
        said = {"--check-validity": "" if is_there else PATH, "--size": f"{PATH}  5\n"}
        return SimpleNamespace(status=0, stderr="", stdout=next(text for word, text in said.items() if word in argv))

    monkeypatch.setattr(process, "stream", stream)
    wanted = [Wanted(system="web", path=PATH, derivation=f"{PATH}.drv")]
    builds = Builds(None, None, None, places=None, realise=True, show_trace=False, wanted=wanted)

    async def ask():
        return await asyncio.gather(*(builds.known("web") for _ in range(50)))

    found = asyncio.run(ask())
    assert [one.size if one else None for one in found] == [5 if is_there else None] * 50
    assert len(commands) == (2 if is_there else 1)
