"""A password: in memory alone, and gone at its end."""

from __future__ import annotations

import pickle

import pytest

from nixhive_nb.errors import OptionError
from nixhive_nb.hosts.password import Password
from nixhive_nb.hosts.powers import Powers
from nixhive_nb.hosts.privilege import elevation


def test_it_is_shown_nowhere():
    one = Password("hunter2 ü")
    by = elevation((), root=False, password=one)
    assert one.text() == "hunter2 ü"
    assert by.input("rest") == f"hunter2 ü\nhunter2 ü\n{by.mark}\nrest"
    assert "hunter2" not in f"{one!r} {one} {by} {by.shell('id')}"
    with pytest.raises(TypeError):
        pickle.dumps(one)


@pytest.mark.parametrize("text", ["", "a\nb", "a\0", "x" * 300])
def test_what_is_no_password_is_refused_and_not_repeated(text):
    with pytest.raises(OptionError) as caught:
        Password(text)
    assert "The password" in str(caught.value)
    assert len(str(caught.value)) < 100


def test_it_is_wiped_when_the_last_one_lets_go():
    one, powers = Password("secret"), Powers()
    powers._given["a", ()] = one
    powers.hold()
    powers.let_go()
    assert powers.passwords({"a": ()}) == {"a": one}
    powers.let_go()
    assert powers.passwords({"a": ()}) == {}
    with pytest.raises(OptionError, match="not kept any more"):
        one.text()
