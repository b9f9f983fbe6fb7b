"""What a face keeps between commands: which deployment is in use."""

from __future__ import annotations

import pytest

from nixhive_nb.commands.session import Session
from nixhive_nb.deployment.inventory import Instance, Inventory
from nixhive_nb.deployment.programs import programs_of
from nixhive_nb.errors import OptionError

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


STARTS = '{ systems.www.configuration = { ... }: { }; instances.www = { system = "www"; ssh.ProxyCommand = "CMD"; }; }'


@pytest.fixture
def starting(folder, tmp_path_factory, monkeypatch):
    """A deployment that starts a program here, and a user's home."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    (folder / "hive.nix").write_text(STARTS.replace("CMD", "nc %h 22"))
    return folder


def attended(asked, *, answer=True, **more):
    return Session(
        program="nix-hive",
        follow=None,
        warn=print,
        attended=lambda: True,
        ask=lambda text: asked.append(text) or answer,
        **more,
    )


def test_a_person_is_asked_once_about_a_deployment_that_starts_programs_here(starting):
    """E5: `status` on a repository that was downloaded is not read-only: ssh starts what the deployment says."""
    asked = []
    for _ in range(2):
        one = attended(asked)
        assert names(one) == ["www"]
        assert names(one) == ["www"]
        one.close()
    assert len(asked) == 1
    assert "hive.nix starts programs on this machine, as you: ssh.ProxyCommand of instance www (nc %h 22)." in asked[0]
    (starting / "hive.nix").write_text(STARTS.replace("CMD", "nc other 22"))
    one = attended(asked)
    assert names(one) == ["www"]
    one.close()
    assert len(asked) == 2


def test_what_a_person_does_not_trust_is_not_used(starting):
    """E5."""
    asked = []
    for _ in range(2):
        one = attended(asked, answer=False)
        with pytest.raises(OptionError, match=r"hive\.nix is not trusted\. Nothing was started"):
            one.hive({})
        one.close()
    assert len(asked) == 2


def test_the_mark_of_trust_does_not_lie_where_the_deployment_could_bring_it_along(starting):
    """E5."""
    before = set(starting.rglob("*"))
    one = attended([])
    one.hive({})
    one.close()
    assert set(starting.rglob("*")) == before


def test_where_nobody_is_there_nobody_is_asked_and_a_notebook_is_warned_once(starting, capsys):
    """E5: who lets a script or CI use a deployment trusts it."""
    one = Session(program="nix-hive", follow=None, warn=print)
    assert names(one) == ["www"]
    one.close()
    assert capsys.readouterr().out == ""
    for _ in range(2):
        one = Session(program="%hive", follow=None, warn=print, attended=lambda: True)
        assert names(one) == ["www"]
        one.close()
    assert capsys.readouterr().out.count("Go on only if you trust who writes it") == 1


@pytest.mark.parametrize(
    ("options", "flags", "found"),
    [
        ({"ProxyCommand": ("x",)}, (), ["ssh.ProxyCommand"]),
        ({"proxycommand": ("none",)}, (), []),
        ({"KnownHostsCommand": ("x",), "LocalCommand": ("y",)}, (), ["ssh.KnownHostsCommand", "ssh.LocalCommand"]),
        ({"PKCS11Provider": ("/x.so",), "Include": ("/x",)}, (), ["ssh.PKCS11Provider", "ssh.Include"]),
        ({"Hostname": ("x",), "ProxyJump": ("y",), "RemoteCommand": ("z",)}, (), []),
        ({}, ("--option", "post-build-hook", "/x"), ["nix.build.flags"]),
        ({}, ("--post-build-hook", "/x"), ["nix.build.flags"]),
        ({}, ("--option extra-plugin-files /x",), ["nix.build.flags"]),
        ({}, ("--builders", "ssh://builder", "--option", "sandbox", "false"), []),
    ],
)  # fmt: skip
def test_what_a_deployment_starts_here_is_found(options, flags, found):
    """E5."""
    instance = Instance(name="www", system="s", ssh=tuple(options.items()))
    programs = programs_of(Inventory(source="x", instances={"www": instance}, build_flags=flags))
    assert [name.removesuffix(" of instance www") for name in programs] == found
