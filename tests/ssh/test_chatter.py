"""Lines of OpenSSH that stand in front of the one that tells why it failed."""

from __future__ import annotations

import sys

import pytest

from nixhive_nb.errors import ConnectionFailed, LinkLost
from nixhive_nb.ssh.chatter import without_chatter
from nixhive_nb.ssh.marks import MarkedOutput
from nixhive_nb.util.process import Finished
from tests.sshd import FABRIC

WEAK = """\
** WARNING: connection is not using a post-quantum key exchange algorithm.
** This session may be vulnerable to "store now, decrypt later" attacks.
** The server may need to be upgraded. See https://openssh.com/pq.html
"""
"""What OpenSSH 10.6 says of a server without such a key exchange, before it logs in."""
REFUSED = "root@web: Permission denied (publickey)."


def test_what_tells_is_left():
    said = f"Warning: Permanently added 'web' (ED25519) to the list of known hosts.\n{WEAK}{REFUSED}"
    assert without_chatter(said.splitlines()) == [REFUSED]


def test_an_answer_that_breaks_off_is_told_by_what_tells():
    marks = MarkedOutput()
    ended = Finished(argv=("ssh",), status=255, stdout=f"{marks._begin}\n", stderr=f"{WEAK}{REFUSED}\n")
    with pytest.raises(LinkLost, match=r"its answer broke off, and said 'root@web: Permission denied"):
        marks.status(ended, "web")


@FABRIC
@pytest.mark.nix
def test_a_proxy_command_is_told_by_what_tells(site, tmp_path):
    """An ssh that is newer than this machine's is played by a program that says the same."""
    newer = tmp_path / "newer"
    newer.write_text(f"#!{sys.executable}\nimport sys\nsys.stderr.write({REFUSED + chr(10) + WEAK!r})\nsys.exit(255)\n")
    newer.chmod(0o755)
    connections = site.connect(site.instance("web", site.sshd(), ProxyCommand=str(newer)))
    with pytest.raises(ConnectionFailed, match="Permission denied") as caught:
        connections.run("web", "true")
    assert "quantum" not in str(caught.value)
    assert "upgraded" not in str(caught.value)
