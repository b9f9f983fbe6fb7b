"""`Hive`: what it remembers, when it evaluates anew, and what it builds, with real Nix and no host."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import threading
import time

import pytest

from nixhive_nb import Hive
from nixhive_nb.deployment.places import places_of
from nixhive_nb.deployment.state import read_state
from nixhive_nb.errors import OptionError, RunFailed, TargetError
from nixhive_nb.lab.fleet import _NIXPKGS as STAND_IN
from nixhive_nb.plan.events import StepEnded, StepStarted
from nixhive_nb.plan.plan import Plan, Target
from nixhive_nb.plan.step import Step
from nixhive_nb.run import history
from nixhive_nb.run.journal import Journal
from nixhive_nb.util import process
from tests.run.test_journal import HEADER

FLAGS = '[ "--option" "sandbox" "false" "--option" "substituters" "" ]'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A deployment of two systems that no test before has built; `www` has a file that says so."""
    marker = secrets.token_hex(8)
    (tmp_path / "hosts.json").write_text(json.dumps(["www-1"]))
    (tmp_path / "hive.nix").write_text(f"""{{
      paths.nixpkgs = "{STAND_IN}";
      nix.build.flags = {FLAGS};
      systems.www.configuration = {{ ... }}: {{ environment.etc.marker.text = "{marker}"; }};
      systems.odd.configuration = {{ ... }}: {{ environment.etc.marker.text = "odd {marker}"; }};
      instances = builtins.listToAttrs (map (name: {{
        inherit name;
        value = {{ system = "www"; }};
      }}) (builtins.fromJSON (builtins.readFile ./hosts.json)));
    }}""")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_valid(path):
    return process.run(["nix-store", "--check-validity", path]).status == 0


def test_a_second_look_does_not_evaluate_again(folder):
    with Hive.load() as hive:
        assert hive.inventory is hive.inventory


@pytest.mark.parametrize("name", ["hosts.json", "hive.nix"])
def test_a_changed_file_is_seen_at_the_next_command(folder, name):
    with Hive.load() as hive:
        assert list(hive.instances().index) == ["www-1"]
        path = folder / name
        path.write_text(
            path.read_text().replace("www-1", "www-7").replace("(builtins.fromJSON", '(["www-7"] ++ builtins.fromJSON')
        )
        assert "www-7" in hive.instances().index


def test_it_stays_the_same_deployment_when_the_current_folder_is_another(folder, monkeypatch):
    other = folder / "other"
    other.mkdir()
    (other / "hive.nix").write_text('{ systems.www.configuration = { }; instances.other.system = "www"; }')
    with Hive.load() as hive:
        monkeypatch.chdir(other)
        (folder / "hosts.json").write_text(json.dumps(["www-9"]))
        assert list(hive.instances().index) == ["www-9"]


def test_a_build_gives_results_roots_and_state(folder):
    with Hive.load() as hive:
        frame = hive.build().frame
    assert list(frame.index) == ["odd", "www"]
    assert set(frame["outcome"]) == {"done"}
    assert set(frame["how"]) == {"built"}
    for system, result in frame["result"].items():
        assert is_valid(result)
        assert (hive.state_dir / "gcroots" / system).resolve().as_posix() == result
    assert {path.name for path in folder.iterdir()} == {"hive.nix", "hosts.json", ".hive.state", ".hive.state.lock"}
    assert read_state(folder / ".hive.state").results == dict(frame["result"])


def test_certificates_without_a_scheduler_are_refused(folder):
    with pytest.raises(OptionError, match="name the scheduler as well"):
        Hive.load(tls="certs")


def test_what_is_built_already_is_present_the_second_time(folder):
    with Hive.load() as hive:
        hive.build("www")
        frame = hive.build("www").frame
    assert list(frame["how"]) == ["present"]
    assert list(frame["outcome"]) == ["unchanged"]


def test_without_realise_a_result_is_known_and_not_built(folder):
    with Hive.load() as hive:
        frame = hive.build("www", no=["realise"]).frame
    (result,) = frame["result"]
    assert list(frame["how"]) == ["instantiated"]
    assert frame.loc["www", "derivation"].endswith(".drv")
    assert is_valid(frame.loc["www", "derivation"])
    assert not is_valid(result)
    assert not (folder / ".hive.state").exists()


def test_without_build_a_known_result_is_taken_and_an_unknown_one_is_built(folder):
    with Hive.load() as hive:
        known = hive.build("www").frame.loc["www", "result"]
        (folder / "hive.nix").write_text(
            (folder / "hive.nix").read_text().replace('marker.text = "', 'marker.text = "new ')
        )
        frame = hive.build("*", no=["build"]).frame
    assert frame.loc["www", ["how", "result"]].tolist() == ["kept", known]
    assert frame.loc["odd", "how"] == "built"


def test_one_system_that_does_not_evaluate_fails_and_the_other_is_built(folder):
    text = (folder / "hive.nix").read_text()
    (folder / "hive.nix").write_text(text.replace('environment.etc.marker.text = "odd', 'foo.bar = "odd'))
    with Hive.load() as hive, pytest.raises(RunFailed) as caught:
        hive.build()
    systems = {record.system: record for record in caught.value.report.systems()}
    assert systems["www"].outcome == "done"
    assert systems["odd"].outcome == "failed"
    assert "The option `foo' does not exist" in systems["odd"].reason
    assert "\n" not in systems["odd"].reason


def test_one_system_that_does_not_build_fails_with_its_builders_last_lines(folder):
    text = (folder / "hive.nix").read_text()
    script = 'args = [ "-c" "echo something is wrong >&2; exit 3" ];'
    derivation = f'derivation {{ name = "broken"; system = builtins.currentSystem; builder = "/bin/sh"; {script} }}'
    broken = f'environment.etc.broken.source = {derivation}; environment.etc.marker.text = "odd'
    (folder / "hive.nix").write_text(text.replace('environment.etc.marker.text = "odd', broken))
    with Hive.load() as hive, pytest.raises(RunFailed) as caught:
        hive.build()
    systems = {record.system: record for record in caught.value.report.systems()}
    assert systems["www"].outcome == "done"
    assert "broken.drv' failed with exit code 3" in systems["odd"].reason
    assert systems["odd"].log == ("something is wrong",)
    assert read_state(folder / ".hive.state").results.keys() == {"www"}


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda hive: hive.deploy("wwww-1"), TargetError, "Near: www-1"),
        (lambda hive: hive.deploy("*", type="swich"), OptionError, "type='swich' is not one of switch, boot"),
        (lambda hive: hive.build(no=["bild"]), OptionError, "no=.'bild'. is not a list of steps"),
        (lambda hive: hive.push("*", no=["realise"]), OptionError, "goes with build alone"),
        (lambda hive: hive.push("*", canary=1), OptionError, "canary: push does not take it; it is for deploy"),
        (lambda hive: hive.plan("rollback", type="boot"), OptionError, "type: rollback does not take it"),
        (lambda hive: hive.run("*", "true", timeout="x"), OptionError, "--timeout x: it must be more than 0 seconds"),
        (lambda hive: hive.using(limits={"parallel": 3}), OptionError, r"limits is \{'parallel': 3\}, and no Limits"),
        (lambda hive: hive.plan("deplyo", "*"), OptionError, "There is no plan of 'deplyo': .* Near: deploy"),
        (lambda hive: hive.plan("www", canary=1), OptionError, "There is no plan of 'www': the first word is one of"),
        (lambda hive: hive.rollback("*", to="x"), OptionError, "to='x' is not the number of a generation"),
        (lambda hive: hive.deploy(None), TargetError, r"None \(NoneType\) is no pattern"),
        (lambda hive: hive.build(5), TargetError, r"5 \(int\) is no pattern"),
        (lambda hive: hive.status(no=["bild"]), OptionError, "no=.'bild'. is not a list of steps"),
        (lambda hive: hive.survey(no="checks,bild"), OptionError, "no='checks,bild' is not a list of steps"),
    ],
)
def test_a_mistake_is_told_before_anything_is_done(folder, call, error, said):
    with Hive.load() as hive, pytest.raises(error, match=said):
        call(hive)
    assert not hive.state_dir.exists()


def noted(folder, verb, *instances):
    """The journal of a run: its instances were begun with; who ends it says how they came out."""
    steps = tuple(Step(id=f"fetch:{one}", kind="fetch", instance=one) for one in instances)
    targets = tuple(Target(instance=one, system="www", wave=1, store="") for one in instances)
    plan = Plan(verb=verb, source="hive.nix", systems=("www",), targets=targets, steps=steps)
    journal = Journal.begin(places_of(folder / "hive.nix", folder / ".hive.state").make(), HEADER, plan)
    for step in steps:
        journal.heard(StepStarted(time=time.time(), step=step.id))
    return journal


def ended(journal, **outcomes):
    for instance, outcome in outcomes.items():
        step = f"fetch:{instance.replace('_', '-')}"
        journal.heard(StepEnded(time=time.time(), step=step, outcome=outcome, reason="no luck"))
    (entry,) = [one for one in history.runs(journal.path.parents[1]) if one.run == journal.run]
    journal.end(history.report_of(entry), interrupted=False)


def test_failed_is_of_the_last_run_that_ended_and_never_who_is_worked_on(folder):
    (folder / "hosts.json").write_text(json.dumps(["www-1", "www-2", "www-3"]))
    ended(noted(folder, "deploy", "www-1", "www-2"), www_1="failed", www_2="done")
    with Hive.load() as hive, contextlib.closing(noted(folder, "deploy", "www-2", "www-3")) as going:
        assert hive.targets("@failed").instances == ("www-1",)
        with pytest.raises(OptionError, match=f"Run {going.run} is still running"):
            hive.resume()
        ended(going, www_2="done", www_3="cancelled")
        assert hive.targets("@failed").instances == ("www-3",)


def test_a_run_that_cannot_begin_does_not_seem_to_go_on(folder, monkeypatch):
    with Hive.load() as hive:
        plan = hive.plan("build", "www")
        monkeypatch.setattr("nixhive_nb.workspace.Access", None)  # nothing can be reached
        hive.close()
        held = []
        for begin in (hive.execute, hive.begin):
            with pytest.raises(TypeError) as caught:
                begin(plan)
            held.append(caught)  # with the traceback, as a notebook holds it
        assert [entry.state for entry in history.runs(hive.state_dir)] == ["killed", "killed"]


def test_an_interrupt_as_a_run_begins_in_the_background_leaves_it_and_its_key_whole(folder):
    runs = []

    @contextlib.contextmanager
    def follow(run):
        runs.append(run)
        signal.raise_signal(signal.SIGINT)
        yield

    with Hive.load() as hive:
        plan, claim = hive.plan("build", "www"), hive.claim("nightly")
        with pytest.raises(KeyboardInterrupt):
            hive.begin(plan, follow=follow, claim=claim)
        claim.close()  # as whoever held it does; it is the run's by now
        assert runs[0].wait(60)
        assert runs[0].report().ok
        for thread in threading.enumerate():
            if thread.name.startswith("hive-background"):
                thread.join(60)
        with contextlib.closing(hive.claim("nightly")) as again:
            assert again.done is not None
        assert [entry.state for entry in history.runs(hive.state_dir)] == ["ended"]


def test_an_error_shows_no_terminal_control():
    (shown,) = TargetError("'\x1b[31mred\u202e\x07' matches\nnothing")._render_traceback_()
    assert shown == "TargetError: '[31mred' matches\nnothing"


STATES = (
    "(r0|www|--option)",
    "(r0|www|/etc/passwd)",
    "(r0|www|/nix/store/../../etc/passwd)",
    "(r0|www|/nix/store/no-hash)",
    "(r0|www|{store}/{name}\x1b[2J)",
    "(r0|www|{store}/{name})\n(d0|www|--extra)",
    "(r0|www|{store}/{name})\n(d0|www|{store}/{name})",
)


@pytest.mark.parametrize("text", STATES)
def test_what_a_state_file_says_is_not_believed_as_it_is(folder, text):
    """E6: it may come with a repository, and goes to Nix and to hosts: what is no path counts as not there."""
    (folder / ".hive.state").write_text(text.format(store="/nix/store", name="a" * 32 + "-nixos") + "\n")
    warned = []
    with Hive.load(warn=warned.append) as hive:
        assert hive.systems().loc["www", ["result", "derivation"]].tolist() == ["", ""]
        frame = hive.build("www", no=["build"]).frame
    assert list(frame["how"]) == ["built"]
    warned = [text for text in warned if text.startswith("The state file")]
    assert len(warned) == 1
    assert "holds what is no path of the Nix store, which counts as not there" in warned[0]
    assert "of system www. Build it anew, or take it out." in warned[0]
    assert "\x1b" not in warned[0]


def test_a_state_of_a_store_that_lies_elsewhere_is_believed(folder, monkeypatch):
    """E6: where the store is, `NIX_STORE_DIR` says, to Nix and to us."""
    path = "/elsewhere/store/" + "a" * 32 + "-nixos"
    (folder / ".hive.state").write_text(f"(r0|www|{path})\n(d0|www|{path}.drv)\n")
    with Hive.load() as hive:
        monkeypatch.setenv("NIX_STORE_DIR", "/elsewhere/store")
        assert hive.systems().loc["www", ["result", "derivation"]].tolist() == [path, f"{path}.drv"]


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../x", "\u00e9" * 150])
def test_the_root_of_a_system_stays_in_its_folder_whatever_its_name(folder, name):
    """E7: the root of a system `..` was the link `.hive/gcroots/..`, which is the folder above."""
    text = (folder / "hive.nix").read_text().replace("systems.odd", f'systems."{name}"')
    (folder / "hive.nix").write_text(text)
    with Hive.load() as hive:
        (result,) = hive.build(f"{name}").frame["result"]
        roots = hive.state_dir / "gcroots"
    (link,) = roots.iterdir()
    assert link.is_symlink()
    assert str(link.readlink()) == result
    assert link.parent.resolve() == roots.resolve()
