"""Versions that do not fit are refused, with both of them and what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from nixhive_nb.errors import ConnectionFailed, OptionError
from nixhive_nb.workers.cluster import cluster_at
from nixhive_nb.workers.versions import misfits, own_versions
from tests.workers.cluster import Cluster, free_port

pytest.importorskip("distributed")


def test_each_that_differs_is_named_with_both_and_what_to_install():
    lines = misfits({"dask": "2", "python": "3.11"}, {"worker w": {"dask": "1", "python": "3.12"}, "the scheduler": {}})
    assert lines == [
        "  worker w: dask 1, here 2 (there: pip install 'dask==2')",
        "  worker w: python 3.12, here 3.11 (run both with Python 3.11)",
    ]
    assert not misfits(own_versions(), {"worker w": own_versions()})


@pytest.mark.slow
def test_a_worker_of_another_version_is_refused_before_anything_is_done(tmp_path):
    info = tmp_path / "other" / "nixhive_nb-9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nixhive_nb\nVersion: 9.9\n")
    cluster = Cluster(tmp_path)
    try:
        with pytest.raises(OptionError, match="has no worker of nixhive_nb"):
            cluster_at(cluster.address)
        cluster.start_worker("relay", env={"PYTHONPATH": str(info.parent)})
        with pytest.raises(OptionError, match=r"(?s)Nothing was done.*worker relay: nixhive_nb 9\.9, here "):
            cluster_at(cluster.address)
    finally:
        cluster.close()


@pytest.mark.slow
def test_where_no_scheduler_is_that_is_told(monkeypatch):
    monkeypatch.setattr("nixhive_nb.workers.cluster._CONNECT", 1)
    with pytest.raises(ConnectionFailed, match="No scheduler answers at tcp://127"):
        cluster_at(f"tcp://127.0.0.1:{free_port()}")


def test_without_the_extra_it_is_told_what_to_install():
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from nixhive_nb.workers.cluster import cluster_at\n"
        "from nixhive_nb.errors import MissingProgram\n"
        "try: cluster_at('tcp://127.0.0.1:1')\n"
        "except MissingProgram as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert "pip install 'nixhive_nb[dask]'" in said.stdout
