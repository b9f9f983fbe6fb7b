"""Commands of the grammar, called up to where a plan would be made."""

from __future__ import annotations

import pytest

from nixhive_nb.commands import hive_group
from nixhive_nb.commands.session import Session
from nixhive_nb.hive import Hive

HIVE = """{
  systems.www.configuration = { ... }: { };
  instances.www-1 = { system = "www"; ssh.hostName = "192.0.2.1"; };
}
"""


class ReachedError(Exception):
    """A command came to where it makes its plan: of `verb`, in the way of `how`."""

    def __init__(self, verb, how):
        super().__init__(verb)
        self.how = how


class Invoke:
    """Calls commands of one session, with somebody there or not."""

    Reached = ReachedError

    def __init__(self, session):
        self.session = session

    def __call__(self, *words, attended=False, policy="attended"):
        self.session.attended, self.session.policy = (lambda: attended), policy
        with hive_group.make_context(self.session.program, list(words), obj=self.session) as ctx:
            return hive_group.invoke(ctx)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a deployment `hive.nix`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hive.nix").write_text(HIVE)
    return tmp_path


@pytest.fixture
def sessions(folder, monkeypatch):
    """Make sessions whose plans are not made."""
    made = []

    def plan(self, verb, *patterns, **how):
        raise ReachedError(verb, how)

    def make(**kinds):
        made.append(Session(follow=None, warn=print, **kinds))
        return Invoke(made[-1])

    monkeypatch.setattr(Hive, "plan", plan)
    yield make
    for session in made:
        session.close()


@pytest.fixture
def invoke(sessions):
    """Call commands in a terminal."""
    return sessions(program="nix-hive")


@pytest.fixture
def in_notebook(sessions):
    """Call commands in a notebook."""
    return sessions(program="%hive", has_terminal=False)
