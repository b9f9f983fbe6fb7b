"""Commands that change hosts need a person, or a word given beforehand."""

from __future__ import annotations

import pytest

from nixhive_nb.commands import hive_group
from nixhive_nb.hive import Hive
from nixhive_nb.session import Session

HIVE = """{
  systems.www.configuration = { ... }: { };
  instances.www-1 = { system = "www"; ssh.hostName = "192.0.2.1"; };
}
"""
CHANGING = (["deploy", "*"], ["push", "*"], ["rollback", "*"], ["reboot", "*"])


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Call a command with somebody there or not; what it would carry out is given back."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hive.nix").write_text(HIVE)
    session = Session(program="nix-hive", follow=None, warn=print, attended=lambda: session.is_attended)
    session.is_attended = False

    class ReachedError(Exception):
        pass

    def plan(self, verb, *patterns, **how):
        raise ReachedError(verb)

    monkeypatch.setattr(Hive, "plan", plan)

    def call(*words, attended=False, policy="attended"):
        session.is_attended, session.policy = attended, policy
        with hive_group.make_context("nix-hive", list(words), obj=session) as ctx:
            hive_group.invoke(ctx)

    call.Reached = ReachedError
    yield call
    session.close()


@pytest.mark.parametrize("words", CHANGING, ids=lambda words: words[0])
def test_without_a_person_nothing_is_done_and_the_way_is_told(invoke, words):
    with pytest.raises(Exception, match=f"Nobody is here .* --yes, or --plan DIGEST .*nix-hive plan {words[0]}"):
        invoke(*words)


@pytest.mark.parametrize("words", CHANGING, ids=lambda words: words[0])
def test_a_person_or_yes_or_a_digest_is_leave(invoke, words):
    for leave, attended in (((), True), (("--yes",), False), (("--plan", "7f3a91c"), False)):
        with pytest.raises(invoke.Reached, match=words[0]):
            invoke(*words, *leave, attended=attended)


def test_the_policy_may_ask_always_or_never(invoke):
    with pytest.raises(Exception, match="The policy asks for a clear word"):
        invoke("deploy", "*", attended=True, policy="always")
    with pytest.raises(invoke.Reached):
        invoke("deploy", "*", policy="free")


@pytest.mark.parametrize("digest", ["abc", "plan-a", "7F3A91C", "7f3a 91c"])
def test_a_digest_that_is_none_is_named(invoke, digest):
    with pytest.raises(Exception, match=f"'{digest}' is not the digest of a plan"):
        invoke("deploy", "*", "--plan", digest)


@pytest.mark.parametrize("words", [["plan", "*"], ["build"]])
def test_what_changes_no_host_needs_no_leave(invoke, words):
    with pytest.raises(invoke.Reached):
        invoke(*words)
