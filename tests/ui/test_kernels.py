"""Kernels that are forked from a warm process are as those that Jupyter starts."""

from __future__ import annotations

import contextlib
import json
import os
import select

import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

from tests.ui.kernels import COLD, FORKED, NEWEST, OTHERS, ROOT, Kernels

pytestmark = pytest.mark.ui

SECONDS = 60
LOOKS = """
import json, os, signal, sys
own = {
    "leads": [os.getpid() == os.getpgrp(), os.getpid() == os.getsid(0)],
    "folder": os.getcwd(),
    **{f"${name}": text for name, text in os.environ.items()},
    "words": [len(sys.argv), os.path.basename(sys.argv[0]), sys.argv[1]],
    "path": sys.path,
    "input": os.readlink("/proc/self/fd/0").partition(":")[0],
    "signals": [str(signal.getsignal(one)) for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)],
    "widgets": "ipywidgets" in sys.modules,
    "module": __name__,
    "ended": os.system("exit 3"),
}
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    one = Kernels(folder, os.environ)
    one.write(folder / "specs")
    yield one, KernelSpecManager(kernel_dirs=[str(folder / "specs")])
    one.stop()


@contextlib.contextmanager
def started(kernels, name, folder):
    """A kernel, and who talks with it."""
    warm, specs = kernels
    warm.warm(name)
    manager = KernelManager(kernel_name=name, kernel_spec_manager=specs)
    manager.start_kernel(cwd=str(folder), env={**os.environ, "PYTHONPATH": str(ROOT), "MARK": "of this test"})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def value(client, expression, before=""):
    reply = client.execute(before, user_expressions={"it": f"json.dumps({expression})"}, reply=True, timeout=SECONDS)
    return json.loads(eval(reply["content"]["user_expressions"]["it"]["data"]["text/plain"]))


def test_its_session_folder_environment_and_words_are_those_of_one_that_is_started(kernels, tmp_path):
    seen = []
    for name in (COLD, NEWEST):
        with started(kernels, name, tmp_path) as (_, client):
            seen.append(value(client, "own", LOOKS))
    cold, forked = seen
    assert {
        name: (cold.get(name), forked.get(name)) for name in cold | forked if cold.get(name) != forked.get(name)
    } == {}


def test_it_is_interrupted_and_what_it_started_with_it_and_it_is_gone_when_it_is_killed(kernels, tmp_path):
    with started(kernels, NEWEST, tmp_path) as (manager, client):
        pid = value(client, "os.getpid()", "import json, os, subprocess")
        asked = client.execute("print('begun', flush=True)\nsubprocess.run(['sleep', '600'])")
        while client.get_iopub_msg(timeout=SECONDS)["msg_type"] != "stream":
            pass
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=SECONDS)
        assert (reply["parent_header"]["msg_id"], reply["content"]["ename"]) == (asked, "KeyboardInterrupt")
        handle = os.pidfd_open(pid)
        manager.signal_kernel(9)
        assert select.select([handle], [], [], SECONDS)[0]
        os.close(handle)


def test_its_end_is_told(kernels, tmp_path):
    for status, code in ((7, "os._exit(7)"), (-9, "os.kill(os.getpid(), 9)")):
        with started(kernels, NEWEST, tmp_path) as (manager, client):
            client.execute(f"import os; {code}")
            assert manager.provisioner.process.wait(SECONDS) == status


def test_notebooks_are_run_by_them(lab):
    specs = "window.jupyterapp.serviceManager.kernelspecs"
    names = lab.ask(
        f"{specs}.ready.then(() => Object.values({specs}.specs.kernelspecs).map((one) => one.display_name))"
    )
    assert sorted(names) == sorted([COLD, *(FORKED.format(name) for name in (NEWEST, *OTHERS))])
