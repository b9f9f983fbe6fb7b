"""`--once KEY`: who holds a key, and what was done under it."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from nixhive_nb.errors import OptionError
from nixhive_nb.run.once import Claim, Done


def test_a_key_is_not_done_until_it_is_settled(tmp_path):
    done = Done(run="20261125T211402Z-7f3a91", ended=1_795_640_042.0, words=("deploy", "web"))
    with contextlib.closing(Claim.take(tmp_path, "nightly")) as claim:
        assert claim.done is None
        claim.settle(done)
    with contextlib.closing(Claim.take(tmp_path, "nightly")) as claim:
        assert claim.done == done


def test_a_key_is_held_by_one_alone(tmp_path):
    with (
        contextlib.closing(Claim.take(tmp_path, "nightly")),
        pytest.raises(OptionError, match="--once nightly: somebody does that right now"),
    ):
        Claim.take(tmp_path, "nightly")
    Claim.take(tmp_path, "nightly").close()


def test_a_key_that_was_handed_over_is_let_go_of_by_its_new_holder_alone(tmp_path):
    first = Claim.take(tmp_path, "nightly")
    second = first.handed_over()
    first.close()
    with pytest.raises(OptionError, match="somebody does that right now"):
        Claim.take(tmp_path, "nightly")
    second.close()
    Claim.take(tmp_path, "nightly").close()
    with pytest.raises(ValueError, match="held no more"):
        first.handed_over()


@pytest.mark.parametrize("key", ["", "../up", ".hidden", "a b", "x" * 101, "naïve"])
def test_a_key_that_cannot_be_a_file_is_refused(tmp_path, key):
    with pytest.raises(OptionError, match="a key is up to 100 letters"):
        Claim.take(tmp_path, key)
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize("content", [b'{"run": "2026', b'{"run": "\xff", "ended": 1.0}'], ids=["cut", "not UTF-8"])
def test_a_file_that_is_not_whole_is_named_and_nothing_is_assumed(tmp_path, content):
    with contextlib.closing(Claim.take(tmp_path, "nightly")) as claim:
        (tmp_path / "once" / "nightly.json").write_bytes(content)
        with pytest.raises(OptionError, match=r"nightly\.json is not whole .* Remove it"):
            _ = claim.done


def test_a_key_that_was_let_go_of_is_free_though_a_child_has_it_open(tmp_path):
    claim = Claim.take(tmp_path, "nightly")
    child = os.fork()
    if not child:
        signal.pause()
    try:
        claim.close()
        Claim.take(tmp_path, "nightly").close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
