"""Python's search for circular garbage is put off while much is made, and then it is as it was."""

from __future__ import annotations

import gc
import threading

import pytest

from nixhive_nb.util.collecting import collected_seldom


@pytest.fixture(autouse=True)
def usual():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_it_is_put_off_for_as_long_as_anybody_wants_it_and_then_as_it_was():
    inside, go_on = threading.Event(), threading.Event()

    def other():
        with collected_seldom():
            inside.set()
            assert go_on.wait(60)

    thread = threading.Thread(target=other)
    with collected_seldom():
        assert gc.get_threshold()[0] > 700
        thread.start()
        assert inside.wait(60)
    assert gc.get_threshold()[0] > 700
    go_on.set()
    thread.join(60)
    assert gc.get_threshold() == (700, 10, 10)


def test_it_is_as_it_was_after_an_error():
    with pytest.raises(ZeroDivisionError), collected_seldom():
        raise ZeroDivisionError
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("wanted", [(0, 10, 10), (100_000, 10, 10)])
def test_who_has_it_less_often_has_his_way(wanted):
    gc.set_threshold(*wanted)
    with collected_seldom():
        assert gc.get_threshold() == wanted
    assert gc.get_threshold() == wanted


def test_what_somebody_sets_meanwhile_stays():
    with collected_seldom():
        gc.set_threshold(123, 4, 5)
    assert gc.get_threshold() == (123, 4, 5)
