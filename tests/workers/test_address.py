"""Which addresses and certificates are taken."""

from __future__ import annotations

import pytest

from nixhive_nb.errors import OptionError
from nixhive_nb.workers.address import checked_address, security_of
from nixhive_nb.workers.cluster import cluster_at


@pytest.mark.parametrize(
    "address", ["tls://scheduler:8786", "tcp://127.0.0.1:8786", "tcp://localhost:1", "tcp://[::1]:9"]
)
def test_a_scheduler_with_tls_or_on_this_machine_is_taken(address):
    assert checked_address(address, "--on") == address


@pytest.mark.parametrize("address", ["tcp://scheduler:8786", "tcp://10.0.0.1:8786", "tcp://127.0.0.1.example:1"])
def test_one_without_tls_elsewhere_is_refused_with_what_to_do(address):
    with pytest.raises(OptionError, match=r"Use tls://.*--tls FOLDER"):
        checked_address(address, "--on")


@pytest.mark.parametrize(
    "address", ["scheduler", "scheduler:8786", "tls://scheduler", "http://s:1", "tls://s:x", "tls://s:1/x"]
)
def test_what_is_no_address_is_told_how_one_is_written(address):
    with pytest.raises(OptionError, match="tls://HOST:PORT"):
        checked_address(address, "--on")


def test_a_certificate_that_is_missing_is_named(tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "ca.pem").touch()
    with pytest.raises(OptionError, match=r"there is no cert\.pem in it"):
        security_of("tls://scheduler:8786", str(tmp_path))
    with pytest.raises(OptionError, match="needs certificates: --tls FOLDER"):
        security_of("tls://scheduler:8786", None)


def test_what_is_neither_an_address_nor_a_client_is_told_so():
    with pytest.raises(
        OptionError, match="on: a int is neither the address of a scheduler, such as tls://HOST:PORT, nor a client"
    ):
        cluster_at(8786)
