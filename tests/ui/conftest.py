"""A real JupyterLab in a real browser, which see no settings of the user, and of which nothing stays."""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.notebook.browser import chromium
from tests.practice import start
from tests.ui.gates import Gates
from tests.ui.kernels import ROOT
from tests.ui.notebook import PATIENCE, WINDOW, JupyterLab
from tests.ui.pictures import are_taken
from tests.ui.server import Server

expect.set_options(timeout=PATIENCE)
ANYWIDGET = ("anywidget",)
IPYWIDGETS = ("@jupyter-widgets/jupyterlab-manager",)
LACKING = ("Error: No version of module anywidget", "Could not create", "Exception opening new comm")
"""How JupyterLab complains of widgets that it lacks the extension for; a person does not see it."""
_WORDS = (
    "--disable-gpu",
    # In containers, shared memory is often small.
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    # Root has no sandbox; where the tests are not run as root, containers often have none.
    "--no-sandbox",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep what was to be seen when a test failed: build/ui/TEST.png."""
    report = yield
    if report.failed and call.when == "call" and "lab" in item.funcargs:
        item.funcargs["lab"].page.screenshot(path=ROOT / "build" / "ui" / f"{item.name}.png")
    return report


@pytest.fixture(scope="package")
def program():
    """The browser's program. Only who leaves the fleets out may do without; for all others that is a failure."""
    found = chromium()
    if found is None and os.environ.get("NIXHIVE_TEST_WITHOUT_FLEET"):
        pytest.skip("there is no Chromium")
    assert found, "there is no Chromium; `make browser` installs it"
    return found


@pytest.fixture(scope="package")
def server(tmp_path_factory):
    """A JupyterLab that sees the folders of the tests. When it is stopped, nothing of it may be left."""
    one = Server(tmp_path_factory.getbasetemp(), tmp_path_factory.mktemp("home"))
    try:
        yield one
    finally:
        one.stop()
        left = one.left()
    assert not left


@pytest.fixture(scope="package")
def browser(program, server):
    """One browser for all pages. It has the mark of the server, so that it is missed if it stays.

    It has a profile, as that of a person has: what keeps nothing compiles all scripts of JupyterLab for each page.
    """
    with sync_playwright() as playwright:
        one = playwright.chromium.launch_persistent_context(
            "",  # a new folder, which is removed at its end
            executable_path=program,
            args=[*_WORDS],
            env=server.environment,
            viewport=WINDOW,
            device_scale_factor=2 if are_taken() else 1,
            reduced_motion="reduce",
        )
        yield one
        one.close()


@pytest.fixture(scope="package")
def page(browser, server):
    """One page for all tests: loading JupyterLab is most of what a test takes."""
    one = JupyterLab(browser.new_page(), server)
    yield one
    one.page.close()


@pytest.fixture(params=[ANYWIDGET, (*ANYWIDGET, *IPYWIDGETS)], ids=["anywidget", "ipywidgets"])
def lacking(request, server):
    """Have pages that are loaded in a test do without extensions: a JupyterHub with kernels of their own."""
    with server.lacking(request.param):
        yield


@pytest.fixture
def lab(page):
    """The page, light, with nothing open. What is opened in a test is closed at its end."""
    yield page
    try:
        page.leave()
        page.theme("Light")
    finally:
        errors, page.errors[:] = [*page.errors], []
    assert not errors


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A practice fleet with two web servers, deployed once; notebooks that stand in its folder deploy to it."""
    one = start(tmp_path_factory.mktemp("fleet"), web=2)
    try:
        ended = one.nix_hive("deploy", "-c", "example", "portico", "*")
        assert ended.returncode == 0, ended.stderr
        yield one
    finally:
        one.lab.down()


@pytest.fixture
def gates(fleet):
    """Return systems something new, and an activation that waits until its gate is opened."""
    one = Gates(fleet)
    yield one
    one.leave()
