"""Cells in a real kernel, and the notebook that they leave."""

from __future__ import annotations

import os

import pytest
from nbclient.exceptions import CellExecutionError

from tests.notebook.conftest import execute, write_hive

pytestmark = pytest.mark.slow

LOAD = "%load_ext nixhive_nb"


def test_a_build_leaves_one_output_and_it_is_the_record(folder):
    _, alone, assigned, frame = execute(
        folder, LOAD, "%hive build", "df = %hive build www", "df['outcome'].tolist()", allow_errors=False
    )
    for outputs, words in ((alone, "2 of 2 built"), (assigned, "1 of 1 built")):
        assert [output.output_type for output in outputs] == ["display_data"]
        assert words in outputs[0].data["text/plain"]
        assert words in outputs[0].data["text/html"]
        assert "<progress" not in outputs[0].data["text/html"]
        assert set(outputs[0].data) == {"text/html", "text/plain"}
    assert frame[0].data["text/plain"] == "['unchanged']"


def test_a_failed_build_leaves_its_record_and_stops_the_notebook(broken):
    _, outputs = execute(broken, LOAD, "%hive build")
    record, error = outputs
    assert "1 of 2 built, 1 failed" in record.data["text/html"]
    assert "<script>" not in record.data["text/html"]
    assert "&lt;script&gt;" in record.data["text/html"]
    assert error.ename == "RunFailed"
    assert len("\n".join(error.traceback).splitlines()) < 6
    with pytest.raises(CellExecutionError):
        execute(broken, LOAD, "%hive build", "never = 1", allow_errors=False)


def test_an_interrupt_leaves_the_record_and_goes_on_up(folder):
    began = folder / "began"
    os.mkfifo(began)
    write_hive(folder, www=f"echo > {began}; /bin/sleep 600")
    interrupt = f"""
import os, pathlib, signal, threading
def interrupt():
    pathlib.Path({str(began)!r}).read_text()  # there is nothing in it before the builder comes to it
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
"""
    _, _, outputs = execute(folder, LOAD, interrupt, "%hive build")
    assert [output.output_type for output in outputs] == ["display_data", "error"], outputs
    assert "2 cancelled" in outputs[0].data["text/plain"] or "1 cancelled" in outputs[0].data["text/plain"]
    assert (outputs[1].ename, outputs[1].traceback) == ("Interrupted", ["Interrupted."])


def test_a_usage_error_is_one_line(folder):
    _, outputs = execute(folder, LOAD, "%hive deploy --yes wwww-1")
    text = "".join(output.get("text", "") for output in outputs)
    assert text.count("\n") == 1
    assert text.startswith("UsageError: 'wwww-1' matches no instance, system or tag of hive.nix. Near: www-1")


def test_listing_plan_and_run_in_cells(folder):
    _, listing, quiet, plan, run = execute(
        folder, LOAD, "%hive systems", "%hive systems;", "%hive plan 'web'", "%%hive run web\necho $HOME"
    )
    assert [output.output_type for output in listing] == ["execute_result"]
    assert quiet == []
    assert [output.output_type for output in plan] == ["display_data"]
    assert "Nothing was changed." in plan[0].data["text/html"]
    assert [output.output_type for output in run] == ["display_data", "error"]
    assert "2 hosts, 2 failed" in run[0].data["text/plain"]
    assert "2 of 2 hosts failed" in run[1].evalue
