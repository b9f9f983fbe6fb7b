"""How a deployment says that logins become root: of systems and instances, and what is refused."""

from __future__ import annotations

import pytest

from nixhive_nb.deployment import reading
from nixhive_nb.deployment.elevating import elevate_problem
from nixhive_nb.deployment.load import load
from nixhive_nb.errors import DeploymentError

WWW = "systems.www.configuration = { ... }: { };"


def loaded(folder, *lines):
    (folder / "default.nix").write_text("\n".join(["{", WWW, *lines, "}"]))
    return load(folder).inventory


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["sudo", "-H", "-E", "-u", "root", "--"], ""),
        (["sudo", "-uASp"], ""),
        (["sudo", "-HS"], "-S of sudo is refused: leave it out; a password is given"),
        (["/run/wrappers/bin/sudo", "-A"], "-A of sudo is refused: leave it out; a password"),
        (["sudo", "-p", "word"], "-p of sudo is refused: leave it out; a password"),
        (["sudo", "--prompt=x"], "--prompt of sudo is refused: leave it out; a password"),
        (["sudo", "-b"], "-b of sudo is refused: it does not start a program and wait"),
        (["doas", "-L"], "-L of doas is refused"),
        (["run0", "--pty"], "--pty of run0 is refused"),
        (["pfexec", "-S"], ""),
        ([], 'it is empty; write "none"'),
        (["sudo", ""], "it holds an empty word"),
        (["sudo", "a\nb"], "a line break"),
        (["none", "-H"], '"none" goes with no other word'),
    ],
)
def test_words_that_would_ask_or_start_nothing_are_refused(words, wrong):
    assert elevate_problem(words).startswith(wrong) if wrong.startswith("-") else wrong in elevate_problem(words)
    assert bool(elevate_problem(words)) == bool(wrong)


@pytest.mark.nix
def test_an_instance_has_its_own_or_that_of_its_system(tmp_path):
    found = loaded(
        tmp_path,
        'systems.www.elevate = "doas";',
        'instances.a.system = "www";',
        'instances.b = { system = "www"; elevate = [ "sudo" "-H" ]; };',
        'instances.c = { system = "www"; elevate = "none"; checks.x.tcp = 22; };',
    )
    assert {name: one.elevate for name, one in found.instances.items()} == {
        "a": ("doas",),
        "b": ("sudo", "-H"),
        "c": ("none",),
    }
    assert found.to_json()["instances"]["b"]["elevate"] == ["sudo", "-H"]
    assert "elevate" not in loaded(tmp_path, 'instances.a.system = "www";').to_json()["instances"]["a"]


@pytest.mark.nix
def test_it_is_read_as_quickly_as_all_else(tmp_path, monkeypatch):
    """No instance is asked for with its places."""
    monkeypatch.setattr(reading._DeploymentReader, "instance", None)
    found = loaded(tmp_path, *(f'instances.a{n} = {{ system = "www"; elevate = [ "sudo" ]; }};' for n in range(3)))
    assert {one.elevate for one in found.instances.values()} == {("sudo",)}


@pytest.mark.nix
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('elevate = "su";', 'is su: write "none", "sudo", "run0", "doas", or a list of words.'),
        ('elevate = [ "sudo" "-S" ];', "is sudo -S: -S of sudo is refused: leave it out; a password is given"),
        ("elevate = 3;", 'is a number: write "none"'),
        ("elevate = [ 3 ];", "holds a word that is not a string but a number."),
        ("elevate = [ ];", "is a list: it is empty"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, line, told):
    with pytest.raises(DeploymentError) as caught:
        loaded(tmp_path, 'instances.a = { system = "www";', line, "};")
    assert str(caught.value).startswith(f"default.nix:4: `elevate` of instance a {told}")
