"""Plans that look at hosts, and the ways back: on real hosts."""

from __future__ import annotations

import pickle
import secrets

import pytest

from nixhive_nb import Hive
from nixhive_nb.errors import OptionError, PlanStale, RunFailed
from nixhive_nb.hosts import closures
from tests.fleet.faults import line_of, saw
from tests.practice import start

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    one = start(tmp_path_factory.mktemp("fleet"), web=2)
    ended = one.nix_hive("deploy", "-c", "example", "portico", "*")
    assert ended.returncode == 0, ended.stderr
    yield one
    one.lab.down()


@pytest.fixture
def hive(fleet, monkeypatch):
    monkeypatch.chdir(fleet.folder)
    with Hive.load("example") as one:
        yield one


@pytest.fixture
def changed(fleet):
    """Return www another text; afterwards all is deployed as it was."""
    page = fleet.example / "www.nix"
    original = page.read_text()

    def change(text, options=""):
        new = original.replace("This is a web server.", text)
        page.write_text(new.replace("networking.hostName", f"{options}\n  networking.hostName", 1))

    yield change
    page.write_text(original)
    ended = fleet.nix_hive("deploy", "-c", "example", "*")
    assert ended.returncode == 0, ended.stderr


def test_a_plan_tells_what_runs_what_is_wanted_and_what_must_move(fleet, hive, changed):
    same = hive.plan("deploy", "*", measure=True).frame
    assert set(same["action"]) == {"nothing: it runs and boots this system"}
    assert set(same["moves"]) == {0}
    changed(f"Nobody has built this: {secrets.token_hex(8)}.")
    new = hive.plan("deploy", "web", measure=True).frame
    assert set(new["current"]) == {fleet.runs("www-1")}
    assert (new["wanted"] != new["current"]).all()
    assert new["moves"].isna().all()  # it is not built yet
    hive.build("www")
    built = hive.plan("deploy", "web", measure=True).frame
    assert (built["moves"] > 0).all()


def test_a_host_is_not_asked_for_what_it_runs_already(hive, changed, monkeypatch):
    """Its Nix would start for that, which takes as long as all else that it says: what runs is there as a whole."""
    asked, lacking = [], closures.lacking

    def noted(links, instance, sizes):
        asked.append(instance)
        return lacking(links, instance, sizes)

    monkeypatch.setattr(closures, "lacking", noted)
    assert set(hive.plan("deploy", "*", measure=True).frame["moves"]) == {0}
    assert asked == []
    changed(f"Nobody has this yet: {secrets.token_hex(8)}.")
    hive.build("www")
    assert (hive.plan("deploy", "www-1", measure=True).frame["moves"] > 0).all()
    assert asked == ["www-1"]


def test_the_bytes_that_a_run_tells_are_those_that_move(fleet, hive, changed):
    changed(f"A change that is small: {secrets.token_hex(8)}.")
    report = hive.execute(hive.plan("deploy", "portico", "www-1"))
    lacked = None
    for name in ("push:www>ssh://portico", "fetch:www-1"):
        step = report.steps[name]
        assert step.outcome == "done"
        assert 0 < step.moved == step.expected < step.result.size
        # The host lacks what its relay lacked.
        lacked = lacked or step.expected
        assert step.expected == lacked


def test_another_kernel_needs_a_reboot(fleet, hive, changed):
    hive.reboot("web")  # so that there is something that was booted
    changed("Another kernel.", "boot.kernelPackages = pkgs.linuxPackages_latest;")
    page = fleet.example / "www.nix"
    page.write_text(page.read_text().replace("{ lib, ... }:", "{ lib, pkgs, ... }:", 1))
    hive.build("www")
    assert hive.plan("deploy", "www-1", measure=True).frame["reboot"].tolist() == [True]
    hive.deploy("www-1")
    assert hive.status("www-1")["state"].tolist() == ["reboot needed"]
    boot = fleet.lab.exec("www-1", ["cat", "/proc/sys/kernel/random/boot_id"])
    assert hive.reboot("web", reboot="if needed").frame["outcome"].tolist() == ["done", "unchanged"]
    assert fleet.lab.exec("www-1", ["cat", "/proc/sys/kernel/random/boot_id"]) != boot
    assert hive.status("www-1")["state"].tolist() == ["in sync"]


def test_a_plan_is_applied_as_it_was_shown_also_from_a_pickle(fleet, hive, changed):
    changed("From a plan.")
    plan = pickle.loads(pickle.dumps(hive.plan("deploy", "web")))
    frame = hive.apply(plan).frame
    assert set(frame["outcome"]) == {"done"}
    assert fleet.runs("www-1") == fleet.boots("www-1") == {one.system: one.path for one in plan.wanted}["www"]


@pytest.mark.parametrize("what", ["the deployment", "a host"])
def test_a_plan_is_refused_when_something_has_changed(fleet, hive, changed, what):
    changed("Planned.")
    plan = hive.plan("deploy", "web")
    if what == "the deployment":
        changed("Changed since.")
        said = "system www: it evaluates to"
    else:
        hive.deploy("www-1")
        said = "www-1: it runs "
    before = fleet.runs("www-2")
    with pytest.raises(PlanStale, match=said):
        hive.apply(plan)
    assert fleet.runs("www-2") == before
    assert set(hive.apply(plan, force=True).frame["outcome"]) <= {"done", "unchanged"}


def test_a_plan_of_a_build_is_refused_when_a_derivation_has_changed(hive, changed):
    changed("To be built.")
    plan = hive.plan("build", "www")
    changed("Changed since.")
    with pytest.raises(PlanStale, match="system www: it evaluates to"):
        hive.apply(plan)


def test_a_plan_may_wait_in_a_file(fleet, changed):
    changed("From a file.")
    planned = fleet.nix_hive("plan", "-c", "example", "--out", "plan.json", "www-1")
    assert planned.returncode == 0, planned.stderr
    assert "1 to activate" in planned.stdout
    applied = fleet.nix_hive("apply", "plan.json")
    assert applied.returncode == 0, applied.stderr
    assert "activate:www-1: done" in applied.stderr
    again = fleet.nix_hive("apply", "plan.json")
    assert again.returncode == 1
    assert "does not fit any more" in again.stderr
    (fleet.folder / "plan.json").write_text("{}")
    broken = fleet.nix_hive("apply", "plan.json")
    assert (broken.returncode, "holds no plan" in broken.stderr) == (1, True)


def test_a_plan_of_another_deployment_is_refused_also_with_force(fleet, hive):
    plan = hive.plan("deploy", "web")
    (fleet.folder / "other.nix").write_text("import ./example")
    with Hive.load("other.nix") as other, pytest.raises(PlanStale, match="and not for"):
        other.apply(plan, force=True)


def test_a_diff_names_the_packages_though_the_old_system_is_on_the_host_alone(fleet, hive, changed):
    changed("With a package.", "environment.systemPackages = [ pkgs.nfs-utils ];")
    page = fleet.example / "www.nix"
    page.write_text(page.read_text().replace("{ lib, ... }:", "{ lib, pkgs, ... }:", 1))
    frame = hive.diff("web")
    added = frame[frame["change"] == "added"]
    assert "nfs-utils" in set(added["package"])
    assert set(frame.index) == {"www-1", "www-2"}


def test_a_rollback_goes_to_the_generation_before_and_to_one_that_is_named(fleet, hive, changed):
    first = fleet.runs("www-1")
    start_at = hive.generations("www-1").query("current")["number"].iloc[0]
    changed("Second.")
    hive.deploy("www-1")
    second = fleet.runs("www-1")
    assert second != first
    frame = hive.rollback("www-1").frame
    assert frame["outcome"].tolist() == ["done"]
    assert fleet.runs("www-1") == fleet.boots("www-1") == first
    assert hive.generations("www-1").query("current")["number"].iloc[0] == start_at
    assert hive.status("@outdated").index.tolist() == ["www-1", "www-2"]
    hive.rollback("www-1", to=int(start_at) + 1)
    assert fleet.runs("www-1") == fleet.boots("www-1") == second
    with pytest.raises(OptionError, match="There is no generation 999 on"):
        hive.rollback("www-1", to=999)


def test_a_reboot_comes_back_with_what_it_boots(fleet, hive):
    before = fleet.lab.exec("depot", ["cat", "/proc/sys/kernel/random/boot_id"])
    frame = hive.reboot("depot").frame
    assert frame["outcome"].tolist() == ["done"]
    assert fleet.lab.exec("depot", ["cat", "/proc/sys/kernel/random/boot_id"]) != before
    assert fleet.runs("depot") == fleet.boots("depot")


def test_a_switch_that_takes_effect_at_the_next_reboot_says_so(fleet, hive, changed):
    """A8, A9."""
    page = fleet.example / "www.nix"
    original = page.read_text()
    changed("Another init.", "systemd.package = pkgs.systemd // { interfaceVersion = 3; };")
    page.write_text(page.read_text().replace("{ lib, ... }:", "{ lib, pkgs, ... }:", 1))
    before = fleet.runs("www-1")
    with pytest.raises(RunFailed, match="by a reboot only"):
        hive.deploy("www-1", type="test")
    frame = hive.deploy("www-1").frame
    assert frame["outcome"].tolist() == ["warned"]
    assert "takes effect at the next reboot" in frame["reason"].iloc[0]
    assert fleet.runs("www-1") == before != fleet.boots("www-1")
    assert hive.status("www-1")["state"].tolist() == ["boots it next"]
    assert hive.plan("reboot", "www-1", reboot="if needed").frame["action"].tolist() == ["reboot"]
    assert hive.reboot("www-1", reboot="if needed").frame["outcome"].tolist() == ["done"]
    assert fleet.runs("www-1") == fleet.boots("www-1") != before
    # The way back is of the same kind.
    page.write_text(original)
    frame = hive.deploy("www-1", reboot="if needed").frame
    assert (frame["outcome"].tolist(), frame["reason"].tolist()) == (["done"], [""])
    assert fleet.runs("www-1") == before


def test_other_kernel_parameters_need_a_reboot(fleet, hive, changed):
    """A8."""
    hive.reboot("www-1")
    changed("Other parameters.", 'boot.kernelParams = [ "quiet" ];')
    hive.deploy("www-1")
    assert hive.status("www-1")["state"].tolist() == ["reboot needed"]
    assert hive.reboot("www-1", reboot="if needed").frame["outcome"].tolist() == ["done"]
    assert hive.status("www-1")["state"].tolist() == ["in sync"]


def test_a_host_that_comes_back_from_a_reboot_and_does_not_work_is_told_so(fleet, hive, changed):
    """Case 21: also where the system was activated by the reboot alone."""
    whole = fleet.example / "default.nix"
    original = whole.read_text()
    check = 'checks.here = { command = [ "test" "-e" "/run/works" ]; timeout = 1; };'
    whole.write_text(original.replace("www.configuration = import", f"www.{check} www.configuration = import", 1))
    fleet.lab.exec("www-1", ["touch", "/run/works"])
    said = []
    try:
        for words in (("deploy", "-t", "boot", "--force", "--reboot"), ("reboot",)):
            ended = fleet.nix_hive(words[0], "-c", "example", *words[1:], "www-1")
            said.append((ended.returncode, line_of(ended.stderr, "www-1")))
    finally:
        whole.write_text(original)
    assert said[0] == said[1]
    assert said[0][0] == 1
    saw("a host that comes back from a reboot without working", said[0][1])


def test_a_specialisation_that_runs_is_named_and_left_only_for_another_system(fleet, hive, changed):
    """Case 24."""
    special = fleet.runs("www-1")
    changed("The system that it is one of.")
    hive.deploy("www-1")
    base = fleet.runs("www-1")
    folder = f"{base}/specialisation"
    fleet.lab.exec("www-1", ["sh", "-c", f"chmod u+w {folder} && ln -s {special} {folder}/calm"])
    fleet.lab.exec("www-1", [f"{folder}/calm/bin/switch-to-configuration", "test"])
    try:
        assert hive.status("www-1")["state"].tolist() == ["in sync"]
        assert hive.status("www-1")["specialisation"].tolist() == ["calm"]
        assert hive.deploy("www-1").frame["outcome"].tolist() == ["unchanged"]
        assert fleet.runs("www-1") == special
        changed("Another system.")
        plan = hive.plan("deploy", "www-1")
        assert plan.frame["action"].tolist() == ["activate, leave specialisation calm"]
        hive.apply(plan)
    finally:
        fleet.lab.exec("www-1", ["sh", "-c", f"rm -f {folder}/calm; chmod u-w {folder}"])
    assert special != fleet.runs("www-1") == fleet.boots("www-1") != base


def test_a_canary_that_fails_holds_all_others_back(fleet, hive, changed):
    before = fleet.runs("www-2")
    changed("A bad one.", "practice.switchExit = 2;")
    with pytest.raises(RunFailed) as failed:
        hive.deploy("web", "depot", canary=1)
    outcomes = {one.instance: one.outcome for one in failed.value.report.instances()}
    assert outcomes == {"www-1": "rolled back", "www-2": "skipped", "depot": "skipped"}
    assert fleet.runs("www-2") == before


def test_nothing_is_activated_past_the_failures_that_are_allowed(fleet, hive, changed):
    changed("Another bad one.", "practice.switchExit = 2;")
    with pytest.raises(RunFailed) as failed:
        hive.deploy("www-1", "depot", "www-2", max_failures=0)
    assert [one.outcome for one in failed.value.report.instances()] == ["rolled back", "skipped", "skipped"]


def test_between_waves_the_checks_of_the_wave_before_must_still_hold(fleet, hive, changed):
    """The check holds once, on trial, and never again."""
    whole = fleet.example / "default.nix"
    original = whole.read_text()
    once = 'checks.once = { command = [ "rm" "/var/once" ]; timeout = 1; };'
    whole.write_text(original.replace("www.configuration = import", f"www.{once} www.configuration = import", 1))
    changed("It breaks later.")
    fleet.lab.exec("www-1", ["touch", "/var/once"])
    try:
        with pytest.raises(RunFailed) as failed:
            hive.deploy("www-1", "depot", force=True)
    finally:
        whole.write_text(original)
    first, second = failed.value.report.instances()
    assert (first.outcome, first.failed_step, second.outcome) == ("failed", "check", "skipped")
    assert [(one.name, one.ok) for one in first.checks] == [("once", False)]


def test_history_tells_of_each_run_and_failed_is_a_target(fleet, hive, changed):
    changed("It fails.", "practice.switchExit = 2;")
    with pytest.raises(RunFailed):
        hive.deploy("web")
    newest = hive.history().iloc[0]
    assert (newest["verb"], newest["state"], newest["rolled_back"]) == ("deploy", "ended", 2)
    assert set(hive.history(hive.history().index[0])["outcome"]) == {"rolled back"}
    assert hive.targets("@failed").instances == ("www-1", "www-2")
    assert hive.targets("@(@failed and not www-2)").instances == ("www-1",)


def test_checks_are_a_frame_with_what_is_wrong_and_who_could_not_be_asked(fleet, hive):
    whole = fleet.example / "default.nix"
    original = whole.read_text()
    checks = 'checks = { ssh.tcp = 22; page = { http = "http://localhost:8099/"; timeout = 1; }; };'
    whole.write_text(original.replace("www.configuration = import", f"www.{checks} www.configuration = import", 1))
    fleet.lab.stop_host("www-2")
    try:
        frame = hive.check("*")
    finally:
        fleet.lab.start_host("www-2")
        whole.write_text(original)
    assert frame.loc["www-1"].set_index("check")["ok"].to_dict() == {"page": False, "ssh": True}
    assert "nothing listens there" in frame.loc["www-1"].set_index("check")["reason"]["page"]
    assert "www-2" in frame.loc["www-2"]["error"]
    assert "depot" not in frame.index


def test_a_host_that_is_down_is_unreachable_and_the_others_are_planned(fleet, hive):
    fleet.lab.stop_host("www-2")
    try:
        assert hive.targets("@unreachable").instances == ("www-2",)
        status = hive.status("web")
        assert status["state"].tolist() == ["in sync", "unreachable"]
        action = hive.plan("deploy", "web").frame["action"]
        assert action["www-2"].startswith("unreachable: ")
    finally:
        fleet.lab.start_host("www-2")
