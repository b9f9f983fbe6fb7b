"""Coming into an IPython and leaving it: nothing stays behind, and settings hold."""

from __future__ import annotations

import json
import secrets
import threading

import pytest
from traitlets.config import Config

import nixhive_nb
from tests.notebook.conftest import Shell, execute, write_hive

TRACES = '''
def traces(ip):
    """Return all that an extension could leave in an IPython and its process."""
    import gc, os, sys, threading
    manager, completer, formatters = ip.magics_manager, ip.Completer, ip.display_formatter.formatters
    widgets = sys.modules.get("ipywidgets.widgets.widget")
    comms = getattr(getattr(ip, "kernel", None), "comm_manager", None)
    gc.collect()
    sockets = [os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd") if one.isdigit()
               and os.path.exists(f"/proc/self/fd/{one}")]
    return {
        "magics": {kind: sorted(known) for kind, known in manager.magics.items()},
        "registry": sorted(manager.registry),
        "configurables": sorted(type(one).__name__ for one in ip.configurables),
        "matchers": [repr(one) for one in completer.custom_matchers],
        "transformers": [repr(one) for one in ip.input_transformers_cleanup + ip.input_transformers_post],
        "tokens": [repr(one) for one in ip.input_transformer_manager.token_transformers],
        "formatters": {name: sorted(map(repr, (*one.type_printers, *one.deferred_printers)))
                       for name, one in formatters.items()},
        "events": {name: list(map(repr, known)) for name, known in ip.events.callbacks.items()},
        "hooks": sorted(ip.hooks),
        "threads": sorted(one.name for one in threading.enumerate()),
        "sockets": sum(one.startswith("socket:") for one in sockets),
        "widgets": len(widgets._instances) if widgets else 0,
        "comms": sorted(comms.comms) if comms else [],
        "targets": sorted(set(comms.targets) - {"jupyter.widget", "jupyter.widget.control"}) if comms else [],
    }
'''
exec(TRACES)

COMMANDS = """
%hive systems
%hive plan web
%hive targets web
%hive build www
"""


def magics_of(shell):
    return shell.ip.magics_manager.registry["HiveMagics"]


def test_unloading_leaves_nothing(folder):
    one = Shell()
    before = traces(one.ip)  # noqa: F821 - see TRACES
    nixhive_nb.load_ipython_extension(one.ip)
    assert traces(one.ip) != before  # noqa: F821
    one.run(COMMANDS)
    one.error("%hive run web uptime")
    session = magics_of(one).session
    nixhive_nb.unload_ipython_extension(one.ip)
    for thread in threading.enumerate():
        if thread.name in ("hive-host", "hive-watchdog"):
            thread.join(10)  # it was told to end, which takes a moment
    assert traces(one.ip) == before  # noqa: F821
    assert session.current is None
    nixhive_nb.unload_ipython_extension(one.ip)
    assert traces(one.ip) == before  # noqa: F821


@pytest.mark.slow
def test_unloading_leaves_nothing_in_a_kernel(folder):
    # Long enough for a widget that shows it.
    write_hive(folder, www=f"echo {secrets.token_hex(8)} > $out; /bin/sleep 1")
    # What IPython itself loads when it is asked to load something is there before.
    *_, counted = execute(
        folder,
        f"{TRACES}\nimport json, ipywidgets, anywidget\nip = get_ipython()\nip.find_line_magic('load_ext')",
        "before = traces(ip)",
        "%load_ext nixhive_nb",
        "during = traces(ip)",
        COMMANDS,
        "%hive run web uptime",
        "%hive deploy web --yes --background",
        "after_commands = traces(ip)",
        "%reload_ext nixhive_nb",
        "%hive systems",
        "%hive targets",
        "%unload_ext nixhive_nb",
        "print(json.dumps([before, during, after_commands, traces(ip)]))",
        attended=True,
    )
    before, during, used, after = json.loads(counted[0].text)
    assert during["matchers"] != before["matchers"]
    assert used["widgets"] > before["widgets"]
    assert after == before


def test_reloading_leaves_one_of_each(shell):
    before = traces(shell.ip)  # noqa: F821
    for _ in range(2):
        shell.run("%reload_ext nixhive_nb")
    after = traces(shell.ip)  # noqa: F821
    assert after["configurables"].count("HiveMagics") == after["configurables"].count("Hive") == 1
    for kind in ("magics", "transformers", "formatters", "threads"):
        assert after[kind] == before[kind]
    assert len(after["matchers"]) == 1
    assert list(shell.run("%hive systems").index) == ["db", "www"]


def test_a_lazy_magic_comes_with_its_first_use_and_its_settings(folder):
    settings = Config({"MagicsManager": {"lazy_magics": {"hive": "nixhive_nb"}}})
    one = Shell(parallel=7)
    one.ip.magics_manager.update_config(settings)
    assert "HiveMagics" not in one.ip.magics_manager.registry
    assert list(one.run("%hive systems").index) == ["db", "www"]
    assert magics_of(one).session.parallel == one.run("%config Hive.parallel") == 7
    one.run("%unload_ext nixhive_nb")


def test_a_lazy_cell_magic_as_well(folder):
    one = Shell()
    one.ip.magics_manager.lazy_magics = {"hive": "nixhive_nb"}
    one.run("%%hive run --help\nuptime")
    assert "Usage: %hive run" in one.out
    one.run("%unload_ext nixhive_nb")


def test_two_shells_do_not_know_each_other(shell):
    other = Shell()
    other.run("%load_ext nixhive_nb")
    shell.run("%hive load\n%config Hive.parallel = 3")
    assert magics_of(other).session.current is None
    assert magics_of(other).session.parallel == 32
    other.run("%unload_ext nixhive_nb")
    assert list(shell.run("%hive systems").index) == ["db", "www"]


@pytest.mark.parametrize("line", ["%hive systems", "%config Hive.parallel = 2", "%hive deploy?"])
def test_what_is_unloaded_is_gone(folder, line):
    one = Shell()
    one.run("%load_ext nixhive_nb\n%unload_ext nixhive_nb")
    one.attempt(line)
    assert "Usage: %hive" not in one.out
    assert "HiveMagics" not in one.ip.magics_manager.registry
