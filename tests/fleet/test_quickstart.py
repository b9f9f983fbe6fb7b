"""The quickstart notebook runs headless from top to bottom, and its saved file can be read without a kernel."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The quickstart, run in a copy of the checkout with a practice fleet of its own place.

    First without its last cell, so that the fleet stays up; then all of it.
    """
    folder = tmp_path_factory.mktemp("quickstart")
    shutil.copytree(ROOT / "example", folder / "example", ignore=shutil.ignore_patterns("lab.nix"))
    (folder / "notebooks").mkdir()
    whole = nbformat.read(ROOT / "notebooks" / "01-quickstart.ipynb", as_version=4)
    assert whole.cells[-1].source == "%hive lab down"
    first = copy.deepcopy(whole)
    del first.cells[-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        try:
            for notebook in (first, whole):
                resources = {"metadata": {"path": str(folder / "notebooks")}}
                NotebookClient(notebook, timeout=240, resources=resources).execute()
            yield first, whole
        finally:
            # The last cell does this, if it was reached.
            subprocess.run([sys.executable, "-m", "nixhive_nb", "lab", "down"], check=True, capture_output=True)


@pytest.fixture
def executed(both):
    return both[0]


@pytest.fixture
def repeated(both):
    return both[1]


def outputs_of(notebook, source):
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(source)]
    # A look at the hosts that took more than a second leaves a line before.
    return [one for one in cell.outputs if not text_of([one]).startswith("Looked at what is wanted")]


def text_of(outputs):
    return "\n".join(str(output.get("text") or output["data"]["text/plain"]) for output in outputs)


def test_every_cell_ran_without_an_error(both):
    cells = [cell for notebook in both for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


def test_the_deploy_leaves_one_static_record(executed):
    (output,) = outputs_of(executed, "%hive deploy --yes portico '*'")[:1]
    html = output["data"]["text/html"]
    assert "5 of 5 deployed" in html
    assert "<script" not in html
    assert "application/vnd.jupyter.widget-view+json" not in output["data"]


def test_every_output_can_be_read_as_text(executed):
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            assert output.output_type == "stream" or "text/plain" in output["data"]


def test_the_second_deploy_changed_nothing(executed):
    counts = text_of(outputs_of(executed, "again ="))
    assert "unchanged    5" in counts


def test_run_again_from_the_top_it_changes_nothing(repeated):
    said = text_of(outputs_of(repeated, "%hive deploy --yes portico '*'"))
    assert "5 of 5 deployed, all unchanged" in said
    assert "The practice fleet is down." in text_of(outputs_of(repeated, "%hive lab down"))


def test_each_host_answered_with_its_own_name(executed):
    answers = text_of(outputs_of(executed, "answers[["))
    for name in ("portico", "depot", "www-1", "www-2", "www-3"):
        assert name in answers
