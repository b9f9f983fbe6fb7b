"""Words of an ssh command line as options of a Host block; the values follow from the manual of ssh(1)."""

from __future__ import annotations

import pytest

from nixhive_nb.deployment.sources.ssh_words import ssh_options


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], ()),
        (["-o", "ConnectTimeout=5"], (("ConnectTimeout", ("5",)),)),
        (["-oConnectTimeout=5"], (("ConnectTimeout", ("5",)),)),
        (["-o ConnectionAttempts=2"], (("ConnectionAttempts", ("2",)),)),
        (["-o", "ConnectTimeout 5"], (("ConnectTimeout", ("5",)),)),
        (["-i", "/keys/a", "-i/keys/b"], (("IdentityFile", ("/keys/a", "/keys/b")),)),
        (["-p", "22", "-p", "23"], (("Port", ("22",)),)),
        (["-4C", "-J", "a"], (("AddressFamily", ("inet",)), ("Compression", ("yes",)), ("ProxyJump", ("a",)))),
        (["-Cp2222", "-lops"], (("Compression", ("yes",)), ("Port", ("2222",)), ("User", ("ops",)))),
        (["-o", "ProxyCommand=nc %h %p"], (("ProxyCommand", ("nc %h %p",)),)),
        (["-A", "-T"], (("ForwardAgent", ("yes",)), ("RequestTTY", ("no",)))),
    ],
)  # fmt: skip
def test_words_become_options(words, options):
    assert ssh_options(words) == options


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["www"], "`www` is no option of ssh"),
        (["-L", "80:localhost:80"], "`-L`: an instance cannot have -L of ssh"),
        (["-F", "ssh_config"], "`-F`: an instance cannot have -F of ssh; write its lines as options"),
        (["-p"], "`-p` lacks its value"),
        (["-o", "Compression"], "`-o Compression`: -o takes NAME=VALUE"),
        (["-p", "ssh"], "`-p`: Port is 'ssh': the port 'ssh' is not a number from 1 to 65535"),
        (["-o", "Host=web"], "`-o Host=web`: -o takes NAME=VALUE"),
        (["-o 'x"], "`-o 'x` is no list of words: No closing quotation"),
    ],
)
def test_a_word_that_cannot_be_one_is_named(words, said):
    with pytest.raises(ValueError, match="`") as refused:
        ssh_options(words)
    assert str(refused.value) == said
