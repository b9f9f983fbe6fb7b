"""What a host says of what it gets without us."""

from __future__ import annotations

import pytest

from nixhive_nb.nix.getting import last_words, why_not_taken

PATH = "/nix/store/06pg8s2f9v42mzfywrm8siklj6kqpr0k-nixos-system"
OLD = f"don't know how to build these paths:\n  {PATH}\nerror: build of '{PATH}' failed\n"
NEW = (
    f"don't know how to build these paths:\n  {PATH}\n"
    f"error: path '{PATH}' is required, but there is no substituter that can build it\n"
)


def test_the_last_thing_that_a_host_said_is_told_as_it_said_it():
    assert last_words("copying…\nerror: cannot connect to 'mid-1'\x1b[0m\n\n") == "error: cannot connect to 'mid-1'"
    assert last_words("\n \n") == "it said nothing"
    assert len(last_words("x" * 1000)) <= 300


@pytest.mark.parametrize("end", [OLD, NEW])
@pytest.mark.parametrize(
    "said",
    [
        "unable to download 'http://10.0.0.1/nix-cache-info': Couldn't connect to server (7)",
        "unable to download 'http://10.0.0.1/private/nix-cache-info': HTTP error 403",
        "'http://10.0.0.1/gone' does not appear to be a binary cache",
        "binary cache 'http://10.0.0.1' is for Nix stores with prefix '/other/store', not '/nix/store'",
        "don't know how to open Nix store 's3://x'",
        f"ignoring substitute for '{PATH}' from 'ssh://portico', as it's not signed by any key that it trusts",
    ],
)
def test_where_nix_says_only_that_it_has_no_way_the_store_that_it_warned_of_is_told(said, end):
    """`build of … failed` was all that was told of a relay whose signature or password was missing."""
    others = "warning: $HOME ('/root') is not owned by you\nwarning: failed to create TLS context for AWS\n"
    body = "\n       response body:\n\n       <Error>denied</Error>\n"
    assert why_not_taken(f"{others}warning: error: {said}; retrying in 9 ms\nwarning: {said}\n{body}{end}") == said
    assert why_not_taken(f"{others}{end}") == "its Nix found it in no store that it reads from"


def test_of_a_path_that_is_there_and_not_taken_the_signature_is_told():
    said = f"the substitute for '{PATH}' from 'ssh://portico' is not signed by any of the keys in 'trusted-public-keys'"
    failed = f"error: build of '{PATH}' failed"
    assert why_not_taken(f"these paths will be fetched:\n  {PATH}\nwarning: {said}\n{failed}\n") == said
    assert why_not_taken(f"builder for it failed\n{failed}\n") == failed


def test_any_other_trouble_is_told_by_its_last_words():
    assert why_not_taken("copying…\nerror: cannot connect to 'mid-1'\n") == "error: cannot connect to 'mid-1'"
    assert why_not_taken("") == "it said nothing"
