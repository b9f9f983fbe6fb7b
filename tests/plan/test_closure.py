"""What changed between two closures, package by package."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixhive_nb.plan.closure import closure_changes, package_of, split_name

pytestmark = pytest.mark.nix

NAMES = [
    "apache-httpd-2.0.48",
    "firefox-bin-120.0",
    "glibc-2.38-44-bin",
    "hello",
    "hello-",
    "hello--1",
    "-1",
    "-a",
    "1-2",
    "linux-6.6.1",
    "nixos-system-web-23.11pre-git",
    "foo-unstable-2023-01-01",
    "foo-_1",
    "foo-+x",
    "foo-.5",
    "foo-?q=1",
    "",
]


def parsed_by_nix(names):
    expression = (
        f"map (n: let p = builtins.parseDrvName n; in [ p.name p.version ]) (builtins.fromJSON ''{json.dumps(names)}'')"
    )
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "-E", expression]
    ended = subprocess.run(argv, capture_output=True, text=True, check=True)
    return [tuple(pair) for pair in json.loads(ended.stdout)]


needs_nix = pytest.mark.skipif(shutil.which("nix-instantiate") is None, reason="needs Nix")


@needs_nix
def test_names_are_split_as_nix_splits_them():
    assert [split_name(name) for name in NAMES] == parsed_by_nix(NAMES)


@needs_nix
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text("ab1Z-._+?=2", max_size=12), min_size=100, max_size=200))
def test_any_name_is_split_as_nix_splits_it(names):
    assert [split_name(name) for name in names] == parsed_by_nix(names)


def path(name, mark="a"):
    return f"/nix/store/{mark * 32}-{name}"


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("glibc-2.38-44", ("glibc", "2.38-44")),
        ("glibc-2.38-44-bin", ("glibc", "2.38-44")),
        ("openssl-3.0.12-dev", ("openssl", "3.0.12")),
        ("util-linux-2.39-man", ("util-linux", "2.39")),
        ("gcc-13.2.0-lib", ("gcc", "13.2.0")),
        ("foo-1-doc", ("foo", "1")),
        ("firefox-bin-120.0", ("firefox-bin", "120.0")),
        ("foo-bin", ("foo-bin", "")),
        ("foo-1-library", ("foo", "1-library")),
        ("foo-1-lib-2", ("foo", "1-lib-2")),
        ("etc", ("etc", "")),
    ],
)
def test_an_output_belongs_to_its_package_and_the_hash_does_not_count(name, package):
    assert package_of(path(name)) == package_of(path(name, "b")) == package


def test_the_same_paths_are_no_change():
    same = {path("hello-1"): 5, path("etc"): 1}
    assert closure_changes(same, same) == ()


def test_packages_are_added_removed_and_changed_in_the_order_of_their_names():
    old = {path("zlib-1"): 10, path("curl-8"): 5, path("same-1"): 1}
    new = {path("zlib-2"): 13, path("bash-5"): 7, path("same-1"): 1}
    changes = closure_changes(old, new)
    assert [(one.package, one.change, one.old_versions, one.new_versions, one.size) for one in changes] == [
        ("bash", "added", (), ("5",), 7),
        ("curl", "removed", ("8",), (), -5),
        ("zlib", "changed", ("1",), ("2",), 3),
    ]


def test_the_outputs_of_a_package_are_one_change():
    old = {path("ssl-3.0"): 10, path("ssl-3.0-bin"): 2}
    new = {path("ssl-3.1", "b"): 11, path("ssl-3.1-bin", "b"): 2}
    (change,) = closure_changes(old, new)
    assert (change.old_versions, change.new_versions, change.size) == (("3.0",), ("3.1",), 1)


def test_a_rebuild_is_a_change_with_the_same_versions():
    (change,) = closure_changes({path("a-1"): 5}, {path("a-1", "b"): 4})
    assert (change.change, change.old_versions, change.new_versions, change.size) == ("changed", ("1",), ("1",), -1)


def test_a_name_without_a_version_changes_without_versions():
    (change,) = closure_changes({path("etc"): 5}, {path("etc", "b"): 5})
    assert (change.change, change.old_versions, change.new_versions) == ("changed", (), ())


def test_a_version_that_stays_is_told_with_the_one_that_changes():
    old = {path("python-3.11"): 5, path("python-3.12"): 5}
    new = {path("python-3.11"): 5, path("python-3.13"): 6}
    (change,) = closure_changes(old, new)
    assert (change.old_versions, change.new_versions) == (("3.11", "3.12"), ("3.11", "3.13"))


STORE = st.dictionaries(
    st.builds(
        path,
        st.builds("{}-{}{}".format, st.sampled_from("abc"), st.sampled_from("12"), st.sampled_from(["", "-lib"])),
        st.sampled_from("xyz"),
    ),
    st.integers(0, 100),
)


@given(STORE, st.data())
def test_the_sizes_of_all_changes_are_those_of_the_closures(old, data):
    # A store path is immutable: what both closures have has one size.
    new = {name: old.get(name, size) for name, size in data.draw(STORE).items()}
    changes = closure_changes(old, new)
    assert sum(one.size for one in changes) == sum(new.values()) - sum(old.values())
