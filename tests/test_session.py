"""What a face keeps between commands: which deployment is in use."""

from __future__ import annotations

import pytest

from nixhive_nb.errors import OptionError
from nixhive_nb.session import Session

HIVE = '{ systems.www.configuration = { ... }: { }; instances.NAME = { system = "www"; }; }'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a deployment, and another one with another."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "hive.nix").write_text(HIVE.replace("NAME", "here"))
    (tmp_path / "sub" / "hive.nix").write_text(HIVE.replace("NAME", "there"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def session():
    one = Session(program="%hive", follow=None, warn=print)
    yield one
    one.close()


def names(session, **options):
    return list(session.hive(options).inventory.instances)


@pytest.mark.parametrize("state", [".hive.state", "STATE"], ids=["relative", "absolute"])
def test_a_relative_deployment_is_that_of_the_current_folder(session, folder, monkeypatch, state):
    session.state = state.replace("STATE", str(folder / "my.state"))
    assert names(session) == ["here"]
    monkeypatch.chdir(folder / "sub")
    assert names(session) == ["there"]
    monkeypatch.chdir(folder)
    assert names(session) == ["here"]


def test_an_absolute_deployment_stays_in_use(session, folder, monkeypatch):
    state = str(folder / "my.state")
    one = session.hive({"config": str(folder / "hive.nix"), "state": state})
    monkeypatch.chdir(folder / "sub")
    assert session.hive({}) is one


def test_a_tilde_is_the_home_folder(session, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "sub"))
    session.config, session.state = "~/hive.nix", "~/my.state"  # as a setting has it
    one = session.hive({})
    assert list(one.inventory.instances) == ["there"]
    assert one.state_file == folder / "sub" / "my.state"
    assert session.hive({}) is one


@pytest.mark.parametrize("option", ["config", "state"])
def test_the_home_folder_of_nobody_is_a_mistake(session, folder, option):
    with pytest.raises(OptionError, match="~nobody-here/x: nobody of that name has a home folder"):
        session.hive({option: "~nobody-here/x"})


def test_a_deployment_and_a_state_file_hold_until_others_are_named(session, folder):
    (folder / "other.nix").write_text(HIVE.replace("NAME", "other"))
    assert names(session, config="other.nix", state="other.state") == ["other"]
    assert names(session) == ["other"]
    assert names(session, config="hive.nix") == ["here"]
    assert session.current.state_file == folder / "other.state"
