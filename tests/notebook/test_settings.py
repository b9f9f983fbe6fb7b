"""`%config Hive.…`, and `c.Hive.…` in a configuration file."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets import TraitError
from traitlets.config import Config
from traitlets.config.loader import DeferredConfigString

from nixhive_nb import lab
from nixhive_nb.commands.options import CONFIG, STATE, STATE_DIR
from nixhive_nb.notebook.settings import Hive, settings_of
from nixhive_nb.plan.options import option
from nixhive_nb.run.limits import LIMITS
from tests.notebook.conftest import Shell


@pytest.fixture
def configured(folder):
    """Return a shell with settings of its own."""
    shells = []

    def make(**settings):
        shells.append(Shell(**settings))
        shells[-1].run("%load_ext nixhive_nb")
        return shells[-1]

    yield make
    for one in shells:
        one.run("%unload_ext nixhive_nb")


def session_of(shell):
    return shell.ip.magics_manager.registry["HiveMagics"].session


def test_a_setting_holds_from_the_next_command(shell, folder):
    (folder / "hive.nix").rename(folder / "mine.nix")
    shell.run("%config Hive.deployment = 'mine.nix'\n%config Hive.parallel = 3")
    assert list(shell.run("%hive systems").index) == ["db", "www"]
    assert session_of(shell).current.limits.parallel == 3


def test_an_option_goes_before_a_setting(shell):
    shell.run("%config Hive.parallel = 3")
    shell.run("%hive systems --parallel 5")
    assert session_of(shell).current.limits.parallel == 5
    shell.run("%hive systems")
    assert session_of(shell).current.limits.parallel == 3


def test_the_usual_deployment_is_not_taken_for_one_that_was_named(shell, monkeypatch):
    asked = []

    def fail(*, deployment="", **_kinds):
        asked.append(str(deployment))
        raise lab.LabError("no fleet today")

    def absent():
        raise lab.NoFleet("no fleet")

    monkeypatch.setattr(lab.Lab, "open", absent)
    monkeypatch.setattr(lab.Lab, "up", fail)
    for change in ("x = 1", "%config Hive.deployment = 'mine'", "%config Hive.deployment = 'hive.nix'"):
        shell.run(change)
        shell.error("%hive lab up")
    assert [one for one in asked if one] == ["example", "mine", "example"]
    assert shell.run("%config Hive.deployment") == "hive.nix"


def test_settings_come_from_a_configuration_file(configured, folder):
    (folder / "hive.nix").rename(folder / "mine.nix")
    one = configured(deployment="mine.nix", state="other.state", confirm=90, policy="always")
    one.run("%hive build www")
    assert (folder / "other.state").exists()
    assert (session_of(one).confirm, session_of(one).policy) == (90, "always")


def test_a_deployment_in_use_stays_when_another_setting_changes(shell, folder):
    (folder / "other.nix").write_text("{ systems = { }; }")
    shell.run("%hive load -c other.nix")
    shell.run("%config Hive.parallel = 3\n%config Hive.confirm = 60")
    assert list(shell.run("%hive systems").index) == []


def test_the_settings_explain_themselves(shell):
    shell.run("%config Hive")
    for name, trait in Hive.class_traits(config=True).items():
        assert f"Hive.{name}=" in shell.out
        assert trait.help
    assert shell.run("%config Hive.parallel") == 32


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("parallel = 0", "Hive.parallel = 0 is not a whole number of at least 1."),
        ("parallel = 'many'", "Hive.parallel = 'many' is not a whole number of at least 1."),
        ("parallel = 2.5", "Hive.parallel = 2.5 is not a whole number of at least 1."),
        ("refresh = 50", "Hive.refresh = 50 is not a number, from 0.1 to 5."),
        ("parallel = True", "Hive.parallel = True is not a whole number"),
        ("parallel = None", "Hive.parallel = None is not a whole number"),
        ("refresh = float('nan')", "Hive.refresh = nan is not a number, from 0.1 to 5."),
        ("confirm = 0.1", "Hive.confirm = 0.1 is not a number of seconds, at least 1."),
        ("confirm = float('nan')", "Hive.confirm = nan is not a number of seconds, at least 1."),
        ("confirm = float('inf')", "Hive.confirm = inf is not a number of seconds, at least 1."),
        ("deployment = ''", "Hive.deployment = '' is not a file, a folder or a flake: it must not be empty."),
        ("deployment = 3", "Hive.deployment = 3 is not a file, a folder or a flake."),
        ("state = ''", "Hive.state = '' is not a file: it must not be empty."),
        ("state_dir = ''", "Hive.state_dir = '' is not a folder: it must not be empty."),
        ("widgets = 'nice'", "Hive.widgets = 'nice' is not one of auto, own, none."),
        ("policy = 'never'", "Hive.policy = 'never' is not one of attended, always, free."),
        (
            "paralel = 4",
            "Hive has no setting 'paralel'. Did you mean parallel? There are carrier, confirm, deployment,",
        ),
    ],
)
def test_a_bad_value_is_one_line_and_changes_nothing(shell, caplog, setting, said):
    name = setting.split()[0]
    before = shell.run(f"%config Hive.{name}") if name != "paralel" else None
    shell.run(f"%config Hive.{setting}")
    [record] = caplog.records
    assert said in record.getMessage()
    assert "\n" not in record.getMessage()
    assert "Traceback" not in shell.out
    # Nor does it come back with the next load.
    shell.run("%reload_ext nixhive_nb")
    if name != "paralel":
        assert shell.run(f"%config Hive.{name}") == before


def test_a_bad_value_in_a_configuration_file_is_one_line_at_the_load(folder):
    one = Shell(parallel=0)
    error = one.error("%load_ext nixhive_nb")
    assert type(error) is UsageError
    assert str(error).startswith("Configuration of Hive: ")
    assert "parallel" in str(error)
    assert "\n" not in str(error)
    assert "HiveMagics" not in one.ip.magics_manager.registry


def test_a_setting_that_is_an_option_has_its_default_and_its_help():
    """Each option once: what it is and may be stands in the table of options."""
    for name, one in {
        "deployment": CONFIG,
        "state": STATE,
        "state_dir": STATE_DIR,
        "parallel": next(one for one in LIMITS if one.name == "parallel"),
        "confirm": option("confirm"),
    }.items():
        trait = Hive.class_traits()[name]
        assert trait.kind == one.kind
        assert trait.default_value in (one.default, None)
        assert one.help.rstrip(".") in trait.help
        assert f"as {one.spelt[0]}." in trait.help
    assert "30" in Hive.confirm.help


@pytest.mark.parametrize(
    ("name", "word", "value"), [("parallel", "7", 7), ("confirm", "60", 60.0), ("confirm", "None", None)]
)
def test_a_setting_may_be_a_word_of_a_command_line(name, word, value):
    """As in `ipython --Hive.parallel=7`."""
    words = DeferredConfigString(word)
    assert getattr(Hive(config=Config({"Hive": {name: words}})), name) == value


def test_a_word_of_a_command_line_that_is_wrong_is_told_as_any_value():
    with pytest.raises(TraitError, match=r"Hive\.parallel = 'x' is not a whole number of at least 1\."):
        Hive(config=Config({"Hive": {"parallel": DeferredConfigString("x")}}))


def test_settings_hold_over_a_reload(configured):
    one = configured(parallel=7)
    one.run("%config Hive.confirm = 60\n%reload_ext nixhive_nb")
    assert (one.run("%config Hive.parallel"), one.run("%config Hive.confirm")) == (7, 60)
    assert session_of(one).parallel == 7


def test_there_are_settings_where_nothing_is_loaded():
    plain = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    assert settings_of(plain).widgets == settings_of(None).widgets == "auto"
