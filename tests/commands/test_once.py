"""`deploy --once KEY`: the key is free again, however the command ends."""

from __future__ import annotations

import pytest

from nixhive_nb.errors import OptionError


def test_a_key_whose_file_is_not_whole_is_free_once_that_is_removed(invoke, folder):
    file = invoke.session.folder({}) / "once" / "nightly.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"run": "2026')
    words = ["deploy", "--yes", "--once", "nightly", "www"]
    with pytest.raises(OptionError, match="is not whole") as first:
        invoke(*words)
    file.unlink()
    with pytest.raises(invoke.Reached) as second:
        invoke(*words)
    with pytest.raises(invoke.Reached):
        invoke(*words)
    assert all(held.tb for held in (first, second)), "though somebody holds the tracebacks, as a notebook does"
