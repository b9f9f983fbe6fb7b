"""N2: mistakes in a configuration, with the Nix of this machine: what a person reads of them."""

from __future__ import annotations

import re
import subprocess

import pytest

from nixhive_nb import Hive
from nixhive_nb.deployment.nix_errors import OWN_EXPRESSIONS
from nixhive_nb.errors import RunFailed
from nixhive_nb.lab.fleet import _NIXPKGS as STAND_IN
from nixhive_nb.view.report import report_text
from tests import warm

pytestmark = pytest.mark.nix

ASSERTED = """\
{ lib, ... }:
{
  assertions = [
    { assertion = false; message = "The first one."; }
    { assertion = false; message = "The second one,\\n  of two lines."; }
  ];
}
"""
MISTAKES = {
    "assertion": (ASSERTED, "www.nix:1: Failed assertions:\n- The first one.\n- The second one,\n  of two lines."),
    "option": (
        "{ lib, ... }:\n{\n  networking.hostNam = 1;\n  foo = 1;\n}\n",
        "www.nix:4: The option `foo' does not exist.",
    ),
    "type": (
        "{ lib, ... }:\n{\n  networking.hostName = [ ];\n}\n",
        "www.nix:3: A definition for option `networking.host",
    ),
    "throw": ('{ lib, ... }:\n{\n  networking.hostName = throw "no name";\n}\n', "www.nix:3:COLUMN: no name"),
    "missing": ("{ lib, ... }:\n{\n  imports = [ ./nothere.nix ];\n}\n", "www.nix:1: "),
    "recursion": (
        '{ config, ... }:\n{\n  networking.hostName = config.networking.hostName + "x";\n}\n',
        "www.nix:3:COLUMN: infinite recursion encountered",
    ),
    "no names": ("{ ... }: { foo = 1; }", "hive.nix:3: The option `foo' does not exist."),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "hive.nix").write_text(
        f"""{{
  paths.nixpkgs = "{STAND_IN}";
  systems.www.configuration = import ./www.nix;
  systems.odd.configuration = {{ ... }}: {{ }};
  instances.www-1.system = "www";
}}"""
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(hive, system="www"):
    with pytest.raises(RunFailed) as caught:
        hive.build()
    (record,) = [one for one in caught.value.report.systems() if one.system == system]
    return record, caught.value.report


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_shown_whole_with_their_file_and_line_first(folder, mistake):
    """N2: one line tells it all, and the lines below are the message, not the frames of our own expressions."""
    text, wanted = MISTAKES[mistake]
    (folder / "www.nix").write_text(text)
    with Hive.load() as hive:
        record, report = said(hive)
    reason = re.sub(r"(www.nix:3):\d+:", r"\1:COLUMN:", record.reason)  # versions of Nix count in two ways
    assert reason.startswith(f"{folder}/{' '.join(wanted.split())}"), reason
    if "\n" in wanted:
        assert "\n".join(record.log).startswith(f"{folder}/{wanted}"), record.log
    assert record.reason in report_text(report)
    assert str(OWN_EXPRESSIONS) not in "\n".join(record.log)


def test_a_terminal_shows_each_failed_assertion(folder):
    """N2: in `build`, `plan` and `status`, where they were shown nowhere."""
    (folder / "www.nix").write_text(ASSERTED)
    for words in (["build"], ["plan", "deploy", "www-1"], ["status"]):
        ended = subprocess.run([*warm.command(), *words], cwd=folder, capture_output=True, text=True, check=False)
        told = ended.stdout + ended.stderr
        assert "The first one." in told, words
        assert "The second one," in told, words


def test_the_whole_trace_is_without_our_own_frames(folder):
    """N2."""
    (folder / "www.nix").write_text(ASSERTED)
    with Hive.load(show_trace=True) as hive:
        record, _ = said(hive)
    assert any("Failed assertions" in line or "at /" in line for line in record.log)
    assert str(OWN_EXPRESSIONS) not in "\n".join(record.log)


def test_a_warning_of_an_evaluation_is_shown_once(folder):
    """N2: it stood in the log of the step alone."""
    (folder / "www.nix").write_text('{ lib, ... }: { networking.hostName = lib.warn "be careful" "www"; }')
    told = []
    with Hive.load(warn=told.append) as hive:
        hive.build("www")
    assert told == ["be careful\n(in system www)"]


MODULES = [
    '{ ... }: { networking.hostName = "x"; }',
    '{ lib, ... }: { networking.hostName = "x"; }',
    '{ config, lib, pkgs, ... }@all: { networking.hostName = "x"; }',
    'args: { networking.hostName = "x"; }',
    '{ ... }: { _file = "mine"; imports = [ ({ lib, ... }: { networking.hostName = "x"; }) ]; }',
    '{ config, ... }: { config = { networking.hostName = "x"; }; }',
    "{ extra, ... }: { networking.hostName = extra; }",
]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_is_named_gives_the_derivation_that_it_gives_alone(folder, module):
    """N2: what NixOS is told of files changes no system; arguments that are asked for by name are given as before."""
    (folder / "www.nix").write_text(module)
    text = (folder / "hive.nix").read_text()
    more = 'systems.www.evalConfigArgs.specialArgs.extra = "x"; systems.odd'
    (folder / "hive.nix").write_text(text.replace("systems.odd", more))
    arguments = '{ modules = [ (import ./www.nix) ]; system = builtins.currentSystem; specialArgs.extra = "x"; }'
    whole = f"(import {STAND_IN}/nixos/lib/eval-config.nix {arguments}).config.system.build.toplevel.drvPath"
    alone = subprocess.run(
        ["nix-instantiate", "--eval", "--json", "-E", whole],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    with Hive.load() as hive:
        assert f'"{hive.build("www", no=["realise"]).frame.loc["www", "derivation"]}"' == alone.stdout.strip()
