"""What is said of a copy that failed."""

from __future__ import annotations

import pytest

from nixhive_nb.nix.complaints import why_copy_failed
from nixhive_nb.nix.log import NixLog


def why(*errors, said=()):
    log = NixLog()
    log.errors.extend(errors)
    return why_copy_failed(said, log)


def test_a_login_shell_that_prints_is_named_where_nix_sees_an_end_of_file():
    mismatch = "error: 'nix-store --serve' protocol mismatch from 'noisy', got 'noise from bashrc'"
    expected = (
        "'nix-store --serve' protocol mismatch from 'noisy', got 'noise from bashrc': the login shell there prints "
        "something at its start"
    )
    assert why(mismatch, "error: unexpected end-of-file") == expected
    assert why("error: unexpected end-of-file", said=["unexpected end-of-file", mismatch]) == expected


@pytest.mark.parametrize("lacks", ["a valid signature", "a signature by a trusted key"])
def test_a_path_without_a_signature_says_what_to_do(lacks):
    """The second is how newer Nix says it."""
    found = why(f"error: cannot add path '/nix/store/x' because it lacks {lacks}")
    assert "signing.keyFile" in found
    assert "trusted-users" in found
    assert "signing" not in why("error: No space left on device")


@pytest.mark.parametrize(
    "line",
    ["root@192.0.2.1: Permission denied (publickey).", "vdollar_percent_expand: env var ${KEYS} has no value"],
)
def test_a_copy_whose_ssh_is_not_let_in_says_how_to_see_why(line):
    """Commands may go by Fabric, which can be let in where ssh is not."""
    found = why("error: cannot connect to 'web'", said=[line])
    assert found.startswith(f"{line.removesuffix('.')}. Nix copies by ssh")
    assert "`nix-hive ssh HOST true`" in found
    assert "nix-hive ssh" not in why("error: opening file '/nix/store/x': Permission denied")
