"""`nix-hive` in a terminal: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nixhive_nb.util.text import strip_control
from tests import warm

pytestmark = pytest.mark.slow

HIVES = Path(__file__).parent.parent / "hives"


def nix_hive(folder, *words):
    return subprocess.run(
        [*warm.command(), *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with a deployment of two systems and three instances, which needs no nixpkgs to be listed."""
    (tmp_path / "hive.nix").write_text("""{
      systems.jump.configuration = { ... }: { };
      systems.www.configuration = { ... }: { };
      instances.portico = { system = "jump"; ssh.Hostname = "192.0.2.1"; };
      instances.www-1 = { system = "www"; tags = [ "web" ]; ssh.ProxyJump = "portico"; };
      instances.www-2 = { system = "www"; tags = [ "web" ]; ssh.ProxyJump = "portico"; };
    }""")
    return tmp_path


@pytest.mark.parametrize("name", sorted(one.name for one in HIVES.iterdir()))
def test_build_without_building_prints_the_inventory_of_nix_hive(tmp_path, name):
    ended = nix_hive(tmp_path, "build", "--no", "build", "-c", str(HIVES / name))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == json.loads((HIVES / name / "inventory.json").read_text())


def test_instances_as_json_are_an_array_in_the_order_of_the_targets(folder):
    ended = nix_hive(folder, "instances", "web", "*", "--json")
    rows = json.loads(ended.stdout)
    assert [(row["instance"], row["wave"]) for row in rows] == [("www-1", 1), ("www-2", 1), ("portico", 2)]
    assert rows[0].items() >= {"instance": "www-1", "system": "www", "store": "", "tags": ["web"], "wave": 1}.items()


def test_systems_as_json(folder):
    rows = json.loads(nix_hive(folder, "systems", "--json").stdout)
    assert [(row["system"], row["instances"]) for row in rows] == [("jump", 1), ("www", 2)]


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "other.nix", "-s", "st", "--parallel", "3", "--no", "build", "instances", "--json"),
        ("instances", "--json", "-c", "other.nix", "-s", "st", "--parallel", "3", "--no", "build"),
        ("-c", "wrong.nix", "instances", "--json", "-c", "other.nix"),
    ],
    ids=["before", "after", "the one after wins"],
)
def test_options_stand_before_or_after_the_command(folder, words):
    (folder / "hive.nix").rename(folder / "other.nix")
    ended = nix_hive(folder, *words)
    assert ended.returncode == 0, ended.stderr
    assert len(json.loads(ended.stdout)) == 3


def test_a_table_goes_to_standard_output_and_warnings_to_standard_error(folder):
    (folder / "hive.nix").write_text((folder / "hive.nix").read_text().replace("tags", "tgas", 1))
    ended = nix_hive(folder, "instances")
    assert ended.stdout.splitlines()[0] == "3 instances, 2 systems"
    assert ended.stdout.splitlines()[1].split()[:2] == ["instance", "system"]
    assert "did you mean `tags`?" in ended.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (
            ["deploy", "--yes", "wwww-1"],
            1,
            "'wwww-1' matches no instance, system or tag of hive.nix. Near: www-1, www-2",
        ),
        (["deploy", "--yes", "[a"], 1, "[a"),
        (["plan", "depoly", "www-1"], 1, "tag of hive.nix. Or is the verb deploy meant?\n"),
        (["plan", "deploy", "depoly"], 1, "'depoly' matches no instance, system or tag of hive.nix.\n"),
        (["deploy", "-t", "swich", "*"], 2, "'swich' is not one of switch, boot, test, dry-activate"),
        (["build", "--no", "bild"], 2, "'bild' is not a step that can be left out"),
        (["deploy", "--yes", "--no", "realise", "*"], 1, "--no realise goes with build alone"),
        (["depoy", "*"], 2, "No such command 'depoy'"),
        (["instances", "-c", "gone.nix"], 1, "gone.nix"),
        (["deploy", "--parallel", "0", "*"], 2, "'0' is not a whole number of at least 1"),
        (["run", "web"], 2, "run needs a command"),
        (["instances", "--out", "df"], 2, "--out goes with plan"),
    ],
)
def test_a_mistake_is_a_message_and_a_status(folder, words, status, said):
    ended = nix_hive(folder, *words)
    assert ended.returncode == status
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""


def test_the_plan_of_a_deploy_is_shown_and_nothing_is_done(folder):
    ended = nix_hive(folder, "plan", "portico", "*", "--json")
    assert [(row["instance"], row["wave"]) for row in json.loads(ended.stdout)] == [
        ("portico", 1),
        ("www-1", 2),
        ("www-2", 2),
    ]
    assert not (folder / ".hive.state").exists()


def test_the_generated_ssh_config_resolves_as_the_deployment_says(folder):
    config = nix_hive(folder, "ssh-config")
    assert config.returncode == 0, config.stderr
    (folder / "config").write_text(config.stdout)
    resolved = subprocess.run(
        ["ssh", "-F", "config", "-G", "www-1"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "proxyjump portico" in resolved


def test_flags_after_ssh_are_its_own(folder):
    ended = nix_hive(folder, "ssh", "-G", "portico")
    assert ended.returncode == 0, ended.stderr
    assert "hostname 192.0.2.1" in ended.stdout.splitlines()


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["help"], ["deploy", "--help"], ["help", "deploy"], ["lab", "--help"], ["lab"]]
)
def test_help_is_printed(folder, words):
    ended = nix_hive(folder, *words)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Usage: nix-hive")
    assert len(ended.stdout.splitlines()) > 5


def test_instances_can_be_read_in_part(folder):
    ended = subprocess.run(
        f"{sys.executable} -m nixhive_nb instances | true",
        cwd=folder,
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ended.stderr


def test_a_folder_that_cannot_be_written_is_named(folder):
    (folder / "own").write_text("a file where a folder should be")
    ended = nix_hive(folder, "ssh-config", "--state-dir", "own")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert str(folder / "own") in line


def test_the_record_of_an_earlier_run_is_printed(folder):
    assert "No run is noted" in nix_hive(folder, "report").stderr
    nix_hive(folder, "deploy", "--yes", "www-1")
    shown = nix_hive(folder, "report")
    assert shown.returncode == 0, shown.stderr
    assert "0 of 1 deployed" in shown.stdout
    assert shown.stdout.count("www-1") >= 1


@pytest.mark.parametrize("place", [0, 1], ids=["before", "after"])
def test_a_file_for_what_has_none_is_told_before_anything_is_done(folder, place):
    words = ["deploy", "--yes", "www-1"]
    words[place:place] = ["--out", "x"]
    ended = nix_hive(folder, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--out goes with plan" in ended.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["hive.nix"]


def test_what_the_deployment_says_is_told_without_terminal_control(folder):
    evil = '"${builtins.fromJSON "\\"\\\\u001b]0;evil\\\\u0007\\""}tgas"'
    hive = (folder / "hive.nix").read_text()
    (folder / "hive.nix").write_text(hive.replace("tags", evil, 1))
    assert_is_told_tamely(nix_hive(folder, "instances"), 0, "warning: ")
    (folder / "hive.nix").write_text(hive.replace("systems", f"{evil} = throw {evil}; systems", 1))
    assert_is_told_tamely(nix_hive(folder, "instances"), 0, "warning: ")
    (folder / "hive.nix").write_text(hive.replace('"jump"', evil, 1))
    assert_is_told_tamely(nix_hive(folder, "instances"), 1, "nix-hive: ")


def assert_is_told_tamely(ended, status, begin):
    assert ended.returncode == status, ended.stderr
    assert ended.stderr.startswith(begin)
    assert "tgas" in ended.stderr
    assert "\x1b" not in ended.stderr
    assert "\x07" not in ended.stderr


def typed(folder, answer, *words):
    """Run it as a person does, who types an answer; give the status and what the terminal shows."""
    terminal, theirs = pty.openpty()
    argv = [sys.executable, "-m", "nixhive_nb", *words]
    process = subprocess.Popen(argv, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    with process, os.fdopen(terminal, "r+b", buffering=0) as screen:
        while True:
            try:
                said = screen.read(4096)
            except OSError:  # nobody writes to it any more
                break
            if b"[y/N]" in shown + said and b"[y/N]" not in shown:
                screen.write(answer.encode() + b"\n")
            shown += said
    return process.returncode, shown.decode()


def test_a_person_at_a_terminal_is_asked_before_a_deployment_starts_a_program(folder, monkeypatch, tmp_path_factory):
    """E5."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    mark = tmp_path_factory.mktemp("mark") / "started"
    (folder / "hive.nix").write_text(
        '{ systems.www.configuration = { ... }: { }; instances.www = { system = "www"; ssh.ProxyCommand = "'
        f'touch {mark}; false"; }}; }}'
    )
    status, shown = typed(folder, "n", "run", "www", "true")
    assert status != 0
    assert "starts programs on this machine, as you: ssh.ProxyCommand of instance www (touch" in shown
    assert "hive.nix is not trusted. Nothing was started." in " ".join(shown.split())
    assert not mark.exists()
    status, shown = typed(folder, "y", "run", "www", "true")
    assert status == 1
    assert mark.exists()
    assert "[y/N]" not in typed(folder, "n", "run", "www", "true")[1], "it is asked once"


@pytest.mark.parametrize("option", ["--max-output", "--max-log"])
@pytest.mark.parametrize("size", ["0", "0k", "1x", "-1", "1.5M", "k", ""])
def test_a_size_that_is_none_is_refused(folder, option, size):
    ended = nix_hive(folder, "run", option, size, "www-1", "true")
    assert ended.returncode == 2
    assert f"'{size}' is not a size, such as 500k, 64M or 1G." in ended.stderr


def test_a_listing_is_csv_with_a_header_and_whole_values(folder):
    ended = nix_hive(folder, "instances", "web", "--csv")
    assert ended.stdout.splitlines() == [
        "instance,system,store,tags,wave,address,jump",
        "www-1,www,,web,1,www-1,portico",
        "www-2,www,,web,1,www-2,portico",
    ]
    assert nix_hive(folder, "plan", "--csv").stdout.splitlines()[0].startswith("instance,wave,batch,")


def test_wide_has_the_columns_that_matter_less(folder):
    assert "include paths" not in nix_hive(folder, "systems").stdout
    (folder / "hive.nix").write_text((folder / "hive.nix").read_text().replace("{", '{ paths.nixpkgs = "/own";', 1))
    assert "nixpkgs=/own" in nix_hive(folder, "systems", "--wide").stdout


def test_forms_do_not_go_together(folder):
    ended = nix_hive(folder, "instances", "--json", "--csv")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--json and --csv cannot be used together" in ended.stderr


def test_what_a_run_did_is_json_on_standard_output_and_a_report_beside_it(folder):
    ended = nix_hive(folder, "deploy", "--yes", "www-1", "--json")
    assert ended.returncode == 1
    known = json.loads(ended.stdout)
    assert (known["verb"], known["ok"], known["counts"]) == ("deploy", False, {"skipped": 1})
    assert [row["instance"] for row in known["instances"]] == ["www-1"]
    assert "0 of 1 deployed" in ended.stderr
    told = nix_hive(folder, "report", "--json")
    assert json.loads(told.stdout)["run"] == known["run"]
    assert "0 of 1 deployed" in told.stderr


def test_the_past_needs_no_deployment_that_evaluates(folder):
    """F3."""
    nix_hive(folder, "deploy", "--yes", "www-1")
    (folder / "hive.nix").write_text("syntax error here (")
    assert nix_hive(folder, "instances").returncode == 1
    for gone in (False, True):
        if gone:
            (folder / "hive.nix").unlink()
        listed = nix_hive(folder, "history")
        assert listed.returncode == 0, listed.stderr
        assert "deploy --yes www-1" in listed.stdout
        (run,) = json.loads(nix_hive(folder, "history", "--json").stdout)
        assert run["command"] == "deploy --yes www-1"
        assert "0 of 1 deployed" in nix_hive(folder, "history", run["run"]).stdout
        assert "0 of 1 deployed" in nix_hive(folder, "report").stdout
        assert nix_hive(folder, "runs").stdout == "No run is in progress.\n"


def test_a_deployment_that_never_was_is_told_by_what_looks_at_the_past(folder):
    ended = nix_hive(folder, "history", "-c", "fleet")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "There is no fleet" in ended.stderr
    assert nix_hive(folder, "history").stdout == "No run is on record here.\n"


def test_a_terminal_of_80_columns_has_colours_and_no_line_that_breaks(folder, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, shown = typed(folder, "", "systems")
    assert "\x1b[33mnot built yet\x1b[0m" in shown
    _, shown = typed(folder, "", "deploy", "--yes", "www-1")
    report = shown[shown.rindex("0 of 1 deployed") :]
    assert re.search(r"\x1b\[2m⊘ skipped\x1b\[0m", report)
    told = strip_control(report).splitlines()
    assert max(len(line) for line in told if not line.startswith(("  |", "  whole log"))) <= 80
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in typed(folder, "", "systems")[1]
