"""What a host says of what it gets without us."""

from __future__ import annotations

from nixhive_nb.nix.getting import last_words


def test_the_last_thing_that_a_host_said_is_told_as_it_said_it():
    assert last_words("copying…\nerror: cannot connect to 'mid-1'\x1b[0m\n\n") == "error: cannot connect to 'mid-1'"
    assert last_words("\n \n") == "it said nothing"
    assert len(last_words("x" * 1000)) <= 200
