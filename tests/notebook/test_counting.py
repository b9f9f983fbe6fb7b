"""How many nodes are read, in a cell of a kernel: a line that stays, and tells how long it took."""

from __future__ import annotations

from tests.deployment.sources.hives import NIXPKGS
from tests.notebook.conftest import execute

NODES = "".join(f"node-{number} = {{ }}; " for number in range(3))
QUICK = "from nixhive_nb.notebook import counting\ncounting.PAUSE = counting._BETWEEN = 0.0"


def texts(outputs):
    return [one["data"]["text/plain"] for one in outputs if "data" in one]


def test_a_cell_says_how_many_are_read_and_then_how_long_it_took(tmp_path):
    (tmp_path / "hive.nix").write_text(f"{{ meta.nixpkgs = import {NIXPKGS} {{ }}; {NODES} }}")
    outputs = execute(tmp_path, "%load_ext nixhive_nb", QUICK, "%hive load", "%hive instances")
    assert texts(outputs[2])[0].startswith("Read the deployment, 3 nodes: ")
    assert not any("nodes: " in text for text in texts(outputs[3]))


def test_what_is_quick_says_nothing(tmp_path):
    (tmp_path / "hive.nix").write_text(f"{{ meta.nixpkgs = import {NIXPKGS} {{ }}; {NODES} }}")
    slow = QUICK.replace("0.0", "1000.0")
    outputs = execute(tmp_path, "%load_ext nixhive_nb", slow, "%hive load")
    assert not any("nodes: " in text for text in texts(outputs[2]))
