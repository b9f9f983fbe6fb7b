"""Which deployment `lab up` writes its `lab.nix` for."""

from __future__ import annotations

import pytest

from nixhive_nb import lab


@pytest.fixture
def up(monkeypatch):
    """Return for which deployments a fleet was to be brought up."""
    asked = []

    def brought(*_args, deployment, **_kinds):
        asked.append(str(deployment))
        raise lab.LabError("no fleet today")

    def none():
        raise lab.NoFleet("there is none")

    monkeypatch.setattr(lab.Lab, "open", none)
    monkeypatch.setattr(lab.Lab, "up", brought)
    return asked


def bring_up(invoke, *words):
    with pytest.raises(Exception, match="no fleet today"):
        invoke("lab", "up", *words)


def test_without_a_word_it_is_the_example(invoke, in_notebook, up):
    for call in (invoke, in_notebook):
        bring_up(call)
        call("instances")  # of hive.nix, which nobody named
        bring_up(call)
    assert up == ["example"] * 4


def test_it_is_the_one_that_was_named(invoke, up, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    bring_up(invoke, "-c", "~/mine")
    (folder / "hive.nix").rename(folder / "default.nix")
    invoke("-c", ".", "instances")
    bring_up(invoke)
    assert up == [str(folder / "mine"), "."]


def test_a_fleet_whose_record_cannot_be_read_is_not_taken_for_none(invoke, tmp_path, monkeypatch):
    """D18: `lab down` said that there was none, and left it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def broken():
        raise lab.LabError("/x/lab.json cannot be read: not JSON")

    monkeypatch.setattr(lab.Lab, "open", broken)
    with pytest.raises(Exception, match=r"lab\.json cannot be read"):
        invoke("lab", "down")
