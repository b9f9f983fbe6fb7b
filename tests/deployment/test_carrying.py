"""`carrier` of an instance: read with and without places, refused in words, and written again."""

from __future__ import annotations

import shutil

import pytest

from nixhive_nb.deployment.load import load
from nixhive_nb.errors import DeploymentError

pytestmark = [pytest.mark.nix, pytest.mark.skipif(shutil.which("nix-instantiate") is None, reason="needs Nix")]

HIVE = """
{{
  systems.www.configuration = {{ }};
  instances.web = {{ system = "www"; ssh.Hostname = "192.0.2.1"; carrier = {carrier}; }};
  instances.plain = {{ system = "www"; ssh.Hostname = "192.0.2.2"; }};
}}
"""


def loaded(folder, carrier):
    path = folder / "hive.nix"
    path.write_text(HIVE.format(carrier=carrier))
    return load(path).inventory


def test_a_carrier_is_that_of_its_instance_alone(tmp_path):
    instances = loaded(tmp_path, '"openssh"').instances
    assert (instances["web"].carrier, instances["plain"].carrier) == ("openssh", "auto")


def test_the_inventory_tells_a_carrier_where_one_is_said(tmp_path):
    said = loaded(tmp_path, '"openssh"').to_json()["instances"]
    assert said["web"]["carrier"] == "openssh"
    assert "carrier" not in said["plain"]


@pytest.mark.parametrize(("carrier", "words"), [('"paramiko"', "'paramiko'; write \"auto\""), ("1", "a number")])
def test_what_is_no_carrier_is_told_with_what_may_stand_there(tmp_path, carrier, words):
    with pytest.raises(DeploymentError) as caught:
        loaded(tmp_path, carrier)
    assert "`carrier` of instance web" in str(caught.value)
    assert words in str(caught.value)
