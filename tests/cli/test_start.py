"""What a start of `nix-hive` imports: a help and a Tab are to be there at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("pandas", "numpy", "IPython", "ipywidgets", "paramiko", "fabric", "invoke", "cryptography", "rich")
OURS = ("nixhive_nb.lab", "nixhive_nb.notebook", "nixhive_nb.frames", "nixhive_nb.backend")
IMPORTED = """
import atexit, sys
from nixhive_nb.cli.main import main
atexit.register(lambda: print("MODULES", *sys.modules, file=sys.stderr))
main(sys.argv[1:])
"""
HIVE = """{
  systems.www.configuration = { ... }: { };
  instances.www-1 = { system = "www"; ssh.Hostname = "192.0.2.1"; };
}
"""


def modules_of(folder, *words, **environment):
    """Run a command of `nix-hive`; return what it prints, and which modules it has imported by its end."""
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED, *words],
        cwd=folder,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state"), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    *said, told = ended.stderr.splitlines()
    assert told.startswith("MODULES"), ended.stderr
    assert not said
    return ended.stdout, set(told.split())


def is_light(modules, but=()):
    return [name for name in (*HEAVY, *OURS) if name in modules and name not in but]


def test_the_help_imports_no_command(tmp_path):
    out, modules = modules_of(tmp_path, "--help")
    assert "deploy " in out
    assert is_light(modules) == []
    assert [name for name in modules if name.startswith("nixhive_nb.commands.")] == ["nixhive_nb.commands.options"]
    assert {"asyncio", "nixhive_nb.hive", "nixhive_nb.run.engine"} & modules == set()


def test_a_line_without_words_is_a_call_for_help(tmp_path):
    assert modules_of(tmp_path)[0] == modules_of(tmp_path, "--help")[0] == modules_of(tmp_path, "-h", "deploy")[0]


@pytest.mark.nix
def test_ssh_config_imports_nothing_that_logs_in_or_draws_tables(tmp_path):
    (tmp_path / "hive.nix").write_text(HIVE)
    out, modules = modules_of(tmp_path, "ssh-config")
    assert "192.0.2.1" in out
    assert is_light(modules, but=("nixhive_nb.frames", "nixhive_nb.backend")) == []


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("dep", "plain,deploy"),
        ("deploy --ca", "plain,--canary"),
        ("plan -t ", "plain,boot"),
        ("status --js", "plain,--json"),
        ("lab ", "plain,up"),
        ("ssh --", "plain,--help"),
        ("run --ti", "plain,--timeout"),
        ("help sc", "plain,scp"),
    ],
)
def test_tab_imports_nothing_heavy(tmp_path, words, offered):
    typed = ["nix-hive", *words.split(" ")]
    out, modules = modules_of(
        tmp_path,
        _NIX_HIVE_COMPLETE="bash_complete",
        COMP_WORDS="\n".join(typed),
        COMP_CWORD=str(len(typed) - 1),
    )
    assert offered in out.splitlines()
    assert is_light(modules, but=("nixhive_nb.frames", "nixhive_nb.backend")) == []


def test_the_package_alone_is_cheap(tmp_path):
    code = "import sys, nixhive_nb; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert is_light(set(ended.stdout.split())) == []
    assert not {"click", "msgspec", "asyncio", "nixhive_nb.util.redaction"} & set(ended.stdout.split())


LOADED = """
import sys
import IPython, pandas
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
shell.run_line_magic("load_ext", "nixhive_nb")
assert shell.find_line_magic("hive") and shell.find_cell_magic("hive")
print(*sorted(set(sys.modules) - before))
"""


def test_loading_the_extension_imports_what_is_registered_and_nothing_that_a_command_needs(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=tmp_path,
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    new = set(ended.stdout.split())
    others = {*HEAVY, "asyncio", "ssl", "email", "html"} - {"IPython"}
    assert others & {name.partition(".")[0] for name in new} == set()
    assert sorted(name for name in new if name.startswith("nixhive_nb.notebook.")) == [
        f"nixhive_nb.notebook.{name}"
        for name in ("extension", "hello", "help", "magics", "pages", "private", "secret", "settings")
    ]
    rooms = {name.split(".")[1] for name in new if name.startswith("nixhive_nb.") and name.count(".") > 1}
    assert rooms == {"commands", "deployment", "notebook", "plan", "run", "util"}
    assert not new & {f"nixhive_nb.{name}" for name in ("hive", "handle", "frames", "run.engine", "util.redaction")}
