"""A shell of IPython, a kernel, and a deployment that Nix evaluates and builds without nixpkgs."""

from __future__ import annotations

import contextlib
import io
import itertools
import re

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbclient import NotebookClient
from traitlets.config import Config

EVAL_CONFIG = """
{ modules, system, ... }: {
  config.system.build.toplevel = derivation ({ inherit system; builder = "/bin/sh"; } // (builtins.head modules { }));
}
"""
HIVE = """
let say = name: words: _: { inherit name; args = [ "-c" words ]; }; in
{
  paths.nixpkgs = "FOLDER/nixpkgs";
  systems.www.configuration = say "www" "WWW";
  systems.db.configuration = say "db" "echo '<script>alert(1)</script>' >&2; BROKEN";
  instances = {
    www-1 = { system = "www"; tags = [ "web" ]; ssh = NOWHERE; };
    www-2 = { system = "www"; tags = [ "web" ]; ssh = NOWHERE; };
    db-1 = { system = "db"; ssh = NOWHERE; };
  };
}
"""
NOWHERE = '{ HostName = "127.0.0.1"; Port = PORT; User = "nobody"; }'


class Shell:
    """A shell that keeps what its cells printed."""

    def __init__(self, **config):
        settings = Config({"HistoryManager": {"enabled": False}, "Hive": config})
        self.ip = InteractiveShell(config=settings)
        self.out = ""

    def run(self, source):
        """Run a cell that must succeed, and give its value."""
        self.out, result = self.attempt(source)
        result.raise_error()
        return result.result

    def error(self, source):
        """Run a cell that must fail, and give its error."""
        self.out, result = self.attempt(source)
        error = result.error_in_exec or result.error_before_exec
        assert error is not None, self.out
        return error

    def attempt(self, source):
        with capture_output() as captured, contextlib.redirect_stdout(captured_io := io.StringIO()):
            result = self.ip.run_cell(source, store_history=False)
        return captured_io.getvalue() + captured.stdout + captured.stderr, result

    def __getitem__(self, name):
        return self.ip.user_ns[name]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a deployment `hive.nix` and a Nix store of its own; it is the current one."""
    monkeypatch.setenv("NIX_STORE_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("NIX_STATE_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("NIX_REMOTE", "local")
    monkeypatch.setenv("NIX_CONFIG", "sandbox = false\nsubstituters =\nbuild-users-group =")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    file = tmp_path / "nixpkgs" / "nixos" / "lib" / "eval-config.nix"
    file.parent.mkdir(parents=True)
    file.write_text(EVAL_CONFIG)
    monkeypatch.chdir(tmp_path)
    write_hive(tmp_path)
    return tmp_path


def write_hive(folder, *, broken=False, www="echo www > $out"):
    ports = itertools.count(1)  # three hosts, and not one that is named three times
    text = re.sub("NOWHERE", lambda _: NOWHERE.replace("PORT", str(next(ports))), HIVE)
    text = text.replace("FOLDER", str(folder)).replace("WWW", www)
    (folder / "hive.nix").write_text(text.replace("BROKEN", "exit 1" if broken else "echo db > $out"))


@pytest.fixture
def broken(folder):
    """The deployment with a system whose build fails."""
    write_hive(folder, broken=True)
    return folder


@pytest.fixture
def shell(folder):
    one = Shell()
    one.run("%load_ext nixhive_nb")
    yield one
    one.run("%unload_ext nixhive_nb")


def execute(folder, *cells, allow_errors=True, attended=False):
    """Run cells in a kernel, and give the outputs of each; with `attended` as if a person was at it."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    client = NotebookClient(
        notebook, kernel_name="python3", allow_errors=allow_errors, resources={"metadata": {"path": str(folder)}}
    )
    if attended:
        # After nbclient has said that nobody is there.
        client.on_notebook_start = lambda notebook: setattr(client.kc, "allow_stdin", True)
    client.execute()
    return [cell.outputs for cell in notebook.cells]
