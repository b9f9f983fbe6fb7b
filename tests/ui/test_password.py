"""The password of sudo, typed into Jupyter's own field: it is used, and stays nowhere in the page and what it saves."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from nixhive_nb.lab import HostSpec
from tests.fleet.asked import has_password
from tests.practice import start

pytestmark = [pytest.mark.ui, pytest.mark.fleet]

FIELD = "input.jp-Stdin-input"


@pytest.fixture(scope="module")
def asking(tmp_path_factory, secret):
    """A fleet whose depot has a sudo that asks."""
    one = start(tmp_path_factory.mktemp("fleet"), web=0, specs=[HostSpec("depot", "depot", user="deploy", sudo=False)])
    has_password(one, "depot", secret)
    yield one
    one.lab.down()


def test_it_is_typed_into_a_field_that_hides_it_and_is_saved_nowhere(lab, server, asking, secret):
    book = lab.notebook(
        asking.folder,
        "%load_ext nixhive_nb",
        "%hive run -c example --sudo --ask-password depot 'echo it is $(id -u)'",
        "%history -g",
    )
    book.run(0)
    book.begin(1)
    field = book.output(1).locator(FIELD)
    field.wait_for()
    assert field.get_attribute("type") == "password"
    field.fill(secret)
    field.press("Enter")
    assert book.ended(), book.cell(1).inner_text()
    expect(book.output(1).locator(FIELD)).to_have_count(0)
    assert "it is 0" in book.output(1).inner_text()
    book.run(2)
    assert "%hive run" in book.output(2).inner_text()
    token = secret.split()[1].removesuffix("\\x")
    shown = lab.page.content()
    assert "Password for sudo on depot" in shown
    assert token not in shown
    book.saved()
    saved = book.file.read_text()
    assert "%hive run" in saved
    assert token not in saved
    kept = [
        file
        for folder in (Path(server.mark), asking.folder, server.root)
        for file in folder.rglob("*")
        if file.is_file()
    ]
    assert any(file.name == "history.sqlite" for file in kept)
    assert not [file for file in kept if token.encode() in file.read_bytes()]
