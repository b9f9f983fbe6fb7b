"""Tab in a shell: what it offers, where the names come from, and real shells that ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nixhive_nb.commands import hive_group
from nixhive_nb.commands.names import NAMES, Names, note_names, read_names
from nixhive_nb.commands.shells import complete
from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.deployment.places import own_places

HIVE = """{
  systems.www.configuration = { ... }: { };
  instances.www-1 = { system = "www"; ssh.hostName = "192.0.2.1"; };
}
"""
NIX_HIVE = Path(sys.executable).with_name("nix-hive")


def inventory_of(**systems):
    """Return an inventory by system: its instances with their tags."""
    instances = {
        name: Instance(name=name, system=system, tags=tags)
        for system, found in systems.items()
        for name, tags in found.items()
    }
    found = {name: System(name=name, platform="x86_64-linux") for name in systems}
    return Inventory(source="hive.nix", systems=found, instances=instances)


FLEET = inventory_of(jump={"portico": ()}, www={"www-1": ("web",), "www-2": ("web",)}, spare={})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, of which nothing was loaded yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def loaded(folder):
    """The current folder; the last load of its `hive.nix` has left the names of FLEET."""
    note_names(folder / "hive.nix", FLEET)
    return folder


def offered(line, monkeypatch, capfd):
    """Return what bash is offered at the end of a line."""
    words = ["nix-hive", *line.split(" ")]
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    capfd.readouterr()
    assert complete(hive_group, "bash_complete") == 0
    out, err = capfd.readouterr()
    assert not err
    return [one.partition(",")[2] if one.startswith("plain,") else one for one in out.split()]


GROUPS = ["@failed", "@unreachable", "@outdated"]
HOSTS = ["jump", "web", "www", "portico", "www-1", "www-2"]


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("depl", ["deploy"]),
        ("deploy ", [*GROUPS, *HOSTS]),
        ("deploy @f", ["@failed"]),
        ("deploy portico www-1 w", ["web", "www", "www-2"]),
        ("run w", ["web", "www", "www-1", "www-2"]),
        ("run web ", []),
        ("systems ", ["jump", "www", "spare"]),
        ("build s", ["spare"]),
        ("plan ro", ["rollback"]),
        ("plan build w", ["www"]),
        ("plan deploy po", ["portico"]),
        ("ssh ", ["portico", "www-1", "www-2"]),
        ("ssh -p ", []),
        ("ssh -p 22 po", ["portico"]),
        ("ssh portico ", []),
        ("scp po", ["file,po", "portico:"]),
        ("deploy -t d", ["dry-activate"]),
        ("deploy --no ch", ["checks"]),
        ("deploy --no build,c", ["build,confirm", "build,checks"]),
        ("deploy --max-f", ["--max-failures"]),
        ("deploy -c hi", ["file,hi"]),
        ("deploy --state-dir st", ["dir,st"]),
        ("deploy --tls st", ["dir,st"]),
        ("run --stdin-from - w", ["web", "www", "www-1", "www-2"]),
        ("-c other.nix deploy w", []),
        ("deploy -c other.nix w", []),
        ("-c hive.nix deploy po", ["portico"]),
        ("deploy -c ~nobody-here/hive.nix w", []),
        ("help d", ["diff", "doctor", "deploy"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("lab d", ["down"]),
    ],
)
def test_tab_offers_what_may_stand_there(loaded, monkeypatch, capfd, line, offers):
    assert offered(line, monkeypatch, capfd) == offers


def test_a_word_after_at_is_one_with_it_though_bash_tells_two(loaded, monkeypatch, capfd):
    assert offered("deploy @ fai", monkeypatch, capfd) == ["@failed"]
    assert offered("deploy @ failed po", monkeypatch, capfd) == ["portico"]


def test_a_value_after_an_equals_sign_is_one_of_its_option(loaded, monkeypatch, capfd):
    assert offered("deploy --config = hive.nix po", monkeypatch, capfd) == ["portico"]
    assert offered("deploy --no = bu", monkeypatch, capfd) == ["build"]
    assert offered("deploy --type =", monkeypatch, capfd) == ["switch", "boot", "test", "dry-activate"]


def test_tab_offers_the_runs_of_the_deployment_newest_first(loaded, monkeypatch, capfd):
    runs = loaded / ".hive" / "runs"
    runs.mkdir(parents=True)
    for name in ("20260101T000000Z-aaaa.jsonl", "20260102T000000Z-bbbb.jsonl", "other"):
        (runs / name).touch()
    newest = ["20260102T000000Z-bbbb", "20260101T000000Z-aaaa"]
    assert offered("report ", monkeypatch, capfd) == newest
    assert offered("deploy --resume 202601", monkeypatch, capfd) == newest
    assert offered("history --state-dir elsewhere ", monkeypatch, capfd) == []


def test_names_that_a_shell_reads_as_something_else_are_not_offered(folder, monkeypatch, capfd):
    note_names(folder / "hive.nix", inventory_of(**{"$(reboot)": {"a": ("two words", "*", "@odd", "-x", "\x1b[2J")}}))
    assert offered("deploy ", monkeypatch, capfd) == [*GROUPS, "a"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"format": 2, "names": {}}',
        b'{"format": 1}',
        b'{"format": 1, "names": {"instances": ["www-1"]}}',
        b"[" * 100_000,
        b'{"format":1,"names":{"systems":["' + b"a" * 4_000_000 + b'"]}}',
    ],
    ids=["empty", "no text", "a list", "nothing", "of later", "without names", "of another kind", "deep", "too long"],
)
def test_a_file_that_holds_no_names_gives_none_and_no_error(loaded, monkeypatch, capfd, content):
    (own_places(loaded / "hive.nix").folder / NAMES).write_bytes(content)
    assert offered("deploy ", monkeypatch, capfd) == GROUPS


def test_a_folder_in_place_of_the_file_is_no_error(folder, monkeypatch, capfd):
    (own_places(folder / "hive.nix").folder / NAMES).mkdir(parents=True)
    assert offered("deploy ", monkeypatch, capfd) == GROUPS
    note_names(folder / "hive.nix", FLEET)  # it cannot, and says nothing


def test_what_is_left_is_private_and_written_only_when_it_changes(loaded):
    file = own_places(loaded / "hive.nix").folder / NAMES
    assert file.stat().st_mode & 0o777 == 0o600
    first = file.stat().st_ino
    note_names(loaded / "hive.nix", FLEET)
    assert file.stat().st_ino == first
    note_names(loaded / "hive.nix", inventory_of(www={}))
    assert read_names(loaded / "hive.nix") == Names(systems=("www",))


def test_a_fleet_of_many_is_left_and_one_beyond_measure_is_not(folder):
    hosts = {f"host-{number}": ("web",) for number in range(10_000)}
    note_names(folder / "hive.nix", inventory_of(www=hosts))
    assert len(read_names(folder / "hive.nix").instances) == 10_000
    note_names(folder / "other.nix", inventory_of(**{"s" * 5_000_000: {}}))
    assert read_names(folder / "other.nix") == Names()


def test_a_folder_and_its_default_nix_are_one_deployment(folder):
    (folder / "fleet").mkdir()
    (folder / "fleet" / "default.nix").touch()
    note_names(folder / "fleet", FLEET)
    assert read_names(folder / "fleet" / "default.nix").instances["www-1"] == "www"


def test_a_user_without_a_home_has_no_names(folder, monkeypatch):
    monkeypatch.setattr("nixhive_nb.deployment.places._state_home", lambda: None)
    note_names(folder / "hive.nix", FLEET)
    assert read_names(folder / "hive.nix") == Names()


@pytest.mark.nix
def test_a_command_that_loads_the_deployment_leaves_its_names(folder, invoke):
    (folder / "hive.nix").write_text(HIVE)
    invoke("instances")
    assert read_names(folder / "hive.nix") == Names(systems=("www",), instances={"www-1": "www"})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_what_the_variable_gives(shell, monkeypatch):
    monkeypatch.setenv("_NIX_HIVE_COMPLETE", f"{shell}_source")
    by_variable = subprocess.run([NIX_HIVE], capture_output=True, text=True, check=True).stdout
    monkeypatch.delenv("_NIX_HIVE_COMPLETE")
    by_command = subprocess.run([NIX_HIVE, "completion", shell], capture_output=True, text=True, check=True).stdout
    assert by_command.strip() == by_variable.strip()
    assert "_NIX_HIVE_COMPLETE" in by_command


def test_a_shell_that_is_not_known_is_told():
    assert complete(hive_group, "tcsh_source") == 1
    ended = subprocess.run([NIX_HIVE, "completion", "tcsh"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "bash" in ended.stderr


# In each, the function that the script brings is called as the shell calls it, and what it would offer is printed.
REAL = {
    "bash": """
        eval "$(nix-hive completion bash)"
        COMP_WORDS=({line}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _nix_hive_completion nix-hive
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "zsh": """
        compdef() {{ }}
        _describe() {{ print -rl -- "${{completions_with_descriptions[@]%%:*}}" }}
        compadd() {{ print -rl -- "${{completions[@]}}" }}
        eval "$(nix-hive completion zsh)"
        words=({line}); CURRENT=$#words
        _nix_hive_completion
    """,
    "fish": """
        nix-hive completion fish | source
        complete -C '{line}' | string replace -r '\\t.*' ''
    """,
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", REAL)
@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("nix-hive depl", {"deploy"}),
        ("nix-hive deploy w", {"web", "www", "www-1", "www-2"}),
        ("nix-hive deploy --can", {"--canary"}),
        ("nix-hive deploy --type bo", {"boot"}),
        ("nix-hive -c other.nix deploy po", set()),
    ],
)
def test_real_shells_ask_and_get_the_same(loaded, shell, line, offers):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    ended = subprocess.run(
        [program, *(["-f"] if shell == "zsh" else []), "-c", REAL[shell].format(line=line)],
        env={**os.environ, "PATH": f"{NIX_HIVE.parent}:{os.environ['PATH']}", "HOME": str(loaded)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not ended.stderr
    assert set(ended.stdout.split()) == offers
