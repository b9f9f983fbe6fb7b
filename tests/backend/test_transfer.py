"""Stores are reached as their URL says (case 27)."""

from __future__ import annotations

import pytest

from nixhive_nb.backend.transfer import SshStore, ssh_store, store_for_nix


@pytest.mark.parametrize(
    ("url", "store"),
    [
        ("ssh://portico", SshStore(host="portico")),
        ("ssh-ng://Portico", SshStore(host="Portico")),
        ("ssh://root@portico:2222?compress=true", SshStore(host="portico", user="root", port=2222)),
        ("ssh://r?remote-store=local%3Froot%3D/srv", SshStore(host="r", is_elsewhere=True)),
        ("ssh-ng://r?remote-program=nix&root=/x", SshStore(host="r", is_elsewhere=True)),
        ("ssh://[fe80::1]:22", SshStore(host="fe80::1", port=22)),
        ("file:///var/cache", None),
        ("https://cache.example", None),
        ("s3://bucket?region=eu", None),
        ("/var/store", None),
    ],
)
def test_where_a_store_is(url, store):
    assert ssh_store(url) == store


def test_the_words_of_ssh_that_reach_a_store():
    store = SshStore(host="portico", user="root", port=2222)
    assert store.argv("/c", "true") == ["ssh", "-F", "/c", "-l", "root", "-p", "2222", "--", "portico", "true"]
    assert SshStore(host="portico").argv("/c", "true") == ["ssh", "-F", "/c", "--", "portico", "true"]


@pytest.mark.parametrize(
    "url",
    ["ssh://portico", "ssh-ng://root@portico?x=1", "file:///var/cache", "https://c.example", "s3://b?region=eu"],
)
def test_nix_gets_a_store_as_it_is_written(url):
    assert store_for_nix(url) == (url, "")


def test_a_port_goes_to_ssh_since_nix_would_take_it_for_a_name():
    assert store_for_nix("ssh://root@portico:2222?ssh-key=/k") == ("ssh://root@portico?ssh-key=/k", "-p 2222")
    assert store_for_nix("ssh-ng://[fe80::1]:22") == ("ssh-ng://[fe80::1]", "-p 22")
