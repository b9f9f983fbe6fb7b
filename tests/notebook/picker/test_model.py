"""The picker holds a checked selection in order, and can be shown wherever a notebook is read."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import nbformat
import pytest
import traitlets
from IPython.core.formatters import DisplayFormatter
from nbconvert import HTMLExporter, MarkdownExporter

from nixhive_nb.errors import OptionError
from nixhive_nb.notebook.picker import PickerRow, compact, picker_for
from tests.notebook.conftest import execute
from tests.notebook.test_display import NASTY, read

VIEW = "application/vnd.jupyter.widget-view+json"


def rows(count=4):
    return [
        PickerRow(
            instance=f"www-{at}",
            system="www",
            tags=("web", "eu" if at % 2 else "us"),
            via="portico",
            runs={2: "outdated", 3: "unreachable"}.get(at, "in sync"),
        )
        for at in range(1, count + 1)
    ]


@pytest.fixture(params=["own", "none"])
def picker(request):
    one = picker_for(rows(), widgets=request.param)
    yield one
    one.close()


class TestValue:
    def test_it_keeps_the_order_and_drops_doubles(self, picker):
        assert picker.value == ()
        picker.value = ["www-3", "www-1", "www-3"]
        assert picker.value == ("www-3", "www-1")

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (["www-1", "wwww-2"], "There is no instance 'wwww-2' to pick. Near: www-2, www-1, www-3."),
            (["portico"], "There is no instance 'portico' to pick."),
            (["\x1b[31m"], r"There is no instance '\x1b[31m' to pick."),
            ("www-1", "a list of names in an order, not of type str"),
            ({"www-1"}, "not of type set"),
            (None, "not of type NoneType"),
            ([1], "1 is of type int"),
        ],
    )
    def test_what_is_no_name_is_refused(self, picker, value, said):
        picker.value = ["www-4"]
        with pytest.raises(traitlets.TraitError) as caught:
            picker.value = value
        assert said in str(caught.value)
        assert picker.value == ("www-4",)

    def test_it_can_be_followed(self, picker):
        seen = []
        picker.observe(lambda change: seen.append(change.new), "value")
        picker.value = ["www-2"]
        picker.value = ["www-2", "www-2"]
        assert seen == [("www-2",)]

    def test_what_was_picked_before_is_checked_as_well(self):
        assert picker_for(rows(), picked=["www-2", "www-1"]).value == ("www-2", "www-1")
        with pytest.raises(traitlets.TraitError, match="no instance 'gone'"):
            picker_for(rows(), picked=["gone"])


class TestOwn:
    @pytest.fixture
    def picker(self):
        one = picker_for(rows(), picked=["www-2"], widgets="own")
        yield one
        one.close()

    def test_the_page_and_python_hold_the_same(self, picker):
        assert picker.widget.get_state()["value"] == ["www-2"]
        picker.widget.set_state({"value": ["www-3", "www-2"]})
        assert picker.value == ("www-3", "www-2")
        picker.value = []
        assert picker.widget.get_state()["value"] == []

    def test_a_page_cannot_pick_what_is_not_there(self, picker):
        with pytest.raises(traitlets.TraitError, match="no instance '@all'"):
            picker.widget.set_state({"value": ["@all"]})
        assert picker.value == ("www-2",)
        assert picker.widget.value == ["www-2"]

    def test_what_a_page_has_told_is_not_sent_back_to_it(self, picker, monkeypatch):
        """It may have gone on since, and would fall back."""
        sent = []
        monkeypatch.setattr(picker.widget.comm, "send", lambda data, **_: sent.append(data["state"]))
        picker.widget.told({"picked": ["www-3"], "at": 1})
        assert (picker.value, sent) == (("www-3",), [])
        picker.value = ["www-1"]
        assert sent == [{"value": ["www-1"]}]

    def test_what_python_selects_is_sent_also_after_an_observer_that_broke(self, picker, monkeypatch):
        sent = []
        monkeypatch.setattr(picker.widget.comm, "send", lambda data, **_: sent.append(data["state"]))

        def broken(_change):
            raise ZeroDivisionError

        picker.widget.observe(broken, "value")
        with pytest.raises(ZeroDivisionError):
            picker.widget.told({"picked": ["www-3"], "at": 1})
        picker.widget.unobserve(broken, "value")
        picker.widget.value = ["www-1"]
        picker.widget.value = ["www-3"]
        assert sent == [{"value": ["www-1"]}, {"value": ["www-3"]}]

    def test_a_page_that_does_not_answer_is_asked_again_when_it_was_heard(self, picker, monkeypatch):
        asked, done = [], threading.Event()
        monkeypatch.setattr("nixhive_nb.notebook.picker.widget._PATIENCE", 0.01)
        monkeypatch.setattr(picker.widget, "send", asked.append)
        assert picker.take() == ("www-2",)
        assert asked == [], "no other thread hears what pages tell"
        other = threading.Thread(target=done.wait, args=(20,), name="subshell-1")
        other.start()
        try:
            for _ in range(2):
                assert picker.take() == ("www-2",)
            assert asked == [{"asks": 1}]
            picker.widget.told({"hello": True})
            picker.take()
            assert asked == [{"asks": 1}, {"asks": 2}]
        finally:
            done.set()
            other.join()

    def test_what_comes_late_is_older_than_what_was_told(self, picker):
        picker.widget.told({"picked": ["www-3"], "at": 2})
        picker.widget.told({"picked": ["www-1"], "at": 1})
        picker.widget.set_state({"value": ["www-1"], "at": 1})
        assert picker.value == ("www-3",)
        picker.widget.set_state({"value": ["www-1"], "at": 3})
        assert picker.value == ("www-1",)

    @pytest.mark.parametrize(
        "told",
        [
            {"picked": ["gone"], "at": 1},
            {"picked": [["www-1"]], "at": 1},
            {"picked": "www-1", "at": 1},
            {"picked": ["www-1"], "at": "1"},
            {"picked": ["www-1"]},
            {"at": 1},
        ],
    )
    def test_a_page_that_tells_nonsense_changes_nothing(self, picker, told):
        picker.widget.told(told)
        assert picker.value == ("www-2",)

    def test_the_files_are_plain_and_small_and_load_nothing(self, picker):
        state = picker.widget.get_state()
        assert len(state["_esm"].encode()) < 50_000
        assert "hive-picker" in state["_css"]
        assert not any(word in state["_esm"] for word in ("innerHTML", "import ", "http:", "https:"))
        assert "url(" not in state["_css"]

    def test_ten_thousand_rows_are_one_modest_message(self):
        assert len(json.dumps(compact(rows(10_000)))) < 300_000

    def test_closing_takes_the_widget_away_and_keeps_what_was_picked(self, picker):
        widget = picker.widget
        picker.close()
        assert widget.comm is None
        assert picker.value == ("www-2",)
        assert set(picker._repr_mimebundle_()) == {"text/plain", "text/html"}


def test_texts_are_sent_once_and_those_that_cannot_be_shown_are_cleaned():
    table = compact([*rows(2), PickerRow(instance=f"x{NASTY}", system=NASTY, tags=(NASTY,), via=NASTY, runs=NASTY)])
    assert table["names"] == ["www-1", "www-2", f"x{NASTY}"]
    assert table["systems"][0] == "www"
    assert table["system"] == [0, 0, 1]
    assert table["tags"][:3] == ["web", "eu", "us"]
    assert [table["sets"][place] for place in table["set"]] == [[0, 1], [0, 2], [3]]
    outdated = {"text": "outdated", "symbol": "◐", "tone": "warn"}
    assert table["runs"][table["run"][1]] == outdated
    assert list(table["plain"]) == ["2"]
    del table["names"]
    assert "\x1b" not in json.dumps(table, ensure_ascii=False)
    assert "\u202e" not in json.dumps(table, ensure_ascii=False)


class TestDone:
    """Choosing comes to its end: by the button of the page, or in Python."""

    @pytest.fixture
    def picker(self):
        one = picker_for(rows(60), picked=["www-50", "www-2"], widgets="own")
        yield one
        one.close()

    def press(self, picker):
        """Do what a page does when its button is pressed."""
        picker.widget.set_state({"done": True})

    def test_the_button_leaves_a_table_and_what_was_picked(self, picker):
        widget = picker.widget
        self.press(picker)
        assert widget.comm is None
        assert picker.value == ("www-50", "www-2")
        assert read(picker).text.startswith("2 selected, in this order: www-50, www-2")
        assert picker.text().splitlines()[0] == "2 selected, in this order: www-50, www-2"

    def test_python_can_do_so_as_well(self, picker):
        picker.close()
        picker.close()
        assert read(picker).text.startswith("2 selected, in this order: www-50, www-2")

    def test_what_was_selected_last_comes_with_it(self):
        picker = picker_for(rows(), widgets="own")
        picker.widget.set_state({"done": True, "value": ["www-3", "www-1"]})
        assert picker.widget is None
        assert picker.value == ("www-3", "www-1")

    def test_the_table_has_what_was_picked_and_little_else(self, picker):
        picker.close()
        found = read(picker).text
        assert found.index("☑ www-50") < found.index("☑ www-2 ") < found.index("☐ www-1 ")
        assert found.count("☐") == 10
        assert "… and 48 more" in found

    def test_it_shows_all_of_many_that_were_picked(self, picker):
        picker.value = [row.instance for row in picker.rows[:40]]
        picker.close()
        assert read(picker).text.count("☑") == 40

    def test_it_promises_nothing_that_will_not_hold_tomorrow(self, picker):
        picker.close()
        assert "@picked" not in read(picker).text

    def test_it_says_that_nothing_was_picked(self, picker):
        picker.value = []
        picker.close()
        assert picker.text().startswith("Nothing is selected.\n60 instances")
        assert read(picker).text.startswith("Nothing is selected.")

    def test_what_is_picked_can_still_be_set_and_followed(self, picker):
        picker.close()
        seen = []
        picker.observe(lambda change: seen.append(change.new), "value")
        picker.value = ["www-7"]
        assert seen == [("www-7",)]
        assert "1 selected: www-7" in read(picker).text


class TestStatic:
    def test_the_table_tells_what_there_is(self):
        found = read(picker_for(rows(), widgets="none")).text
        assert "4 instances: 2 in sync, 1 outdated, 1 unreachable" in found
        assert "◐ outdated" in found
        assert "picker.value = ['NAME', …]" in found
        assert "☐" not in found

    def test_what_is_picked_stands_first_in_its_order(self):
        picker = picker_for(rows(100), picked=["www-90", "www-80"], widgets="none")
        found = read(picker).text
        assert found.index("☑ www-90") < found.index("☑ www-80") < found.index("☐ www-1 ")
        assert "2 selected, in this order: www-90, www-80 → %hive deploy @picked" in found

    def test_ten_thousand_stay_short(self):
        picker = picker_for(rows(10_000), widgets="none")
        picker.value = [row.instance for row in picker.rows]
        found = read(picker).text
        assert found.count("portico") == 50
        assert "… and 9,950 more" in found
        assert "www-8 and 9,992 more → " in found
        assert sum(map(len, picker._repr_mimebundle_().values())) < 100_000
        assert repr(picker).startswith("<Picker: 10,000 of 10,000 instances picked: www-1, www-2,")
        assert len(repr(picker)) < 200

    def test_columns_that_say_nothing_are_left_out(self):
        one = PickerRow(instance="www", system="web", tags=(), via="")
        assert picker_for([one]).text().splitlines()[:2] == ["1 instance", "instance  system"]
        assert picker_for([]).text() == "0 instances"
        assert repr(picker_for([])) == "<Picker: 0 of 0 instances picked>"

    def test_text_from_a_deployment_is_harmless(self):
        one = PickerRow(instance=f"x{NASTY}", system=NASTY, tags=(NASTY,), via=NASTY, runs=NASTY)
        picker = picker_for([one], picked=[one.instance], widgets="none")
        assert "<script" not in picker._repr_mimebundle_()["text/html"]
        assert "alert('x')" in read(picker).text
        assert "\x1b" not in repr(picker)

    @pytest.mark.parametrize("exporter", [HTMLExporter, MarkdownExporter])
    def test_an_exported_notebook_shows_the_table(self, exporter):
        picker = picker_for(rows(), widgets="own")
        output = nbformat.v4.new_output("display_data", data=picker._repr_mimebundle_())
        cell = nbformat.v4.new_code_cell("%hive targets", outputs=[output])
        body, _ = exporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
        picker.close()
        assert "4 instances: 2 in sync" in body
        assert "unreachable" in body


SETUP = """
from nixhive_nb.notebook.picker import PickerRow, picker_for
rows = [PickerRow(instance=f"www-{n}", system="www", tags=(), via="") for n in (1, 2, 3)]
"""


@pytest.mark.slow
def test_the_best_that_there_is_shows_itself_in_a_kernel(folder):
    _, shown, own, none, refused = execute(
        folder,
        SETUP + "from unittest.mock import patch; import sys",
        "display(picker_for(rows))",
        "picker = picker_for(rows); print(type(picker.widget).__name__); picker",
        "with patch.dict(sys.modules, anywidget=None): one = picker_for(rows)\nprint(one.widget); one",
        "with patch.dict(sys.modules, anywidget=None): picker_for(rows, widgets='own')",
        attended=True,
    )
    assert set(shown[0].data) == {"text/plain", "text/html"}
    assert "hive-slot-" in shown[0].data["text/html"]
    assert own[0].text == "OwnPicker\n"
    assert "hive-slot-" in own[1].data["text/html"]
    assert own[1].data["text/plain"].startswith("3 instances")
    assert none[0].text == "None\n"
    assert "hive-slot-" not in none[1].data["text/html"]
    assert refused[0].traceback == [
        "OptionError: widgets 'own' wants the Python package anywidget, which is not installed here."
    ]


@pytest.mark.slow
def test_what_is_installed_and_cannot_be_imported_is_done_without(folder):
    _, shown = execute(
        folder,
        SETUP + "import sys; sys.modules['anywidget.widget'] = None",
        "one = picker_for(rows); print(type(one.widget).__name__)",
        attended=True,
    )
    assert shown[0].text == "NoneType\n"


@pytest.mark.slow
def test_in_a_notebook_that_runs_by_itself_it_is_a_table(folder):
    _, shown = execute(folder, SETUP, "picker_for(rows)")
    assert set(shown[0].data) == {"text/plain", "text/html"}


@pytest.mark.slow
def test_every_output_of_it_becomes_the_table_when_it_is_done(folder):
    _, bare, shown, named, closed, later = execute(
        folder,
        SETUP,
        "picker = picker_for(rows, widgets='own'); picker",
        "print('before'); display(picker); print('after')",
        "other = picker",
        "picker.value = ['www-3', 'www-1']; picker.close()",
        "print(other.value); picker",
        allow_errors=False,
    )
    for output in (bare[0], shown[1], later[1]):
        assert set(output.data) == {"text/plain", "text/html"}
        for text in output.data.values():
            assert "2 selected, in this order: www-3, www-1" in text
    assert [one.get("text") for one in shown] == ["before\n", None, "after\n"]
    assert later[0].text == "('www-3', 'www-1')\n"
    assert [len(bare), named, closed, len(later)] == [1, [], [], 2]


def test_outside_a_kernel_it_shows_itself_as_anything_does(picker):
    data, _ = DisplayFormatter().format(picker)
    assert data["text/plain"].startswith("4 instances: 2 in sync")


def test_in_a_terminal_it_is_a_table_of_text(tmp_path):
    source = SETUP + "picker = picker_for(rows, picked=['www-2'])\npicker\n"
    argv = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "--HistoryManager.enabled=False", "-c"]
    done = subprocess.run(
        [*argv, source],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin", "IPYTHONDIR": str(tmp_path)},
    )
    assert "3 instances\n" in done.stdout
    assert "☑  www-2     www" in done.stdout
    assert "1 selected: www-2 → %hive deploy @picked" in done.stdout


def test_widgets_that_are_not_installed_are_refused_in_a_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(OptionError, match="package anywidget, which is not installed"):
        picker_for(rows(), widgets="own")
