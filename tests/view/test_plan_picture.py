"""The pictures of a plan."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from nixhive_nb.deployment.inventory import Instance, Inventory, System
from nixhive_nb.plan.plan import Options
from nixhive_nb.view.plan_picture import mermaid, svg
from tests.notebook.values import RELAY, build_plan, deploy_plan, inventory
from tests.plan.looked import looked

NASTY = '"><script>alert("x")\x1b[31m\x00\ufffe`]&'
SVG = "{http://www.w3.org/2000/svg}"


def drawn(plan):
    """The words of a picture, and the document."""
    root = ET.fromstring(svg(plan))
    return [element.text for element in root.iter(f"{SVG}text")], root


def wide_plan():
    """200 relays, 300 systems, 3,000 instances in batches of one."""
    systems = {f"s{n}": System(name=f"s{n}", platform="x86_64-linux") for n in range(300)}
    instances = {
        f"i{n}": Instance(name=f"i{n}", system=f"s{n % 300}", store=f"ssh://r{n % 200}" if n % 3 else "")
        for n in range(3000)
    }
    one = Inventory(source="wide/", systems=systems, instances=instances)
    return looked(one, patterns=("*",), options=Options(batch="1"), away=("i7",))


def test_waves_stand_from_left_to_right_with_their_instances():
    words, root = drawn(looked())
    for word in ("this machine", "portico · 1 system", "wave 1", "wave 2", "www from portico", "www-1", "www-3"):
        assert word in words
    places = {element.text: float(element.get("x")) for element in root.iter(f"{SVG}text")}
    assert places["wave 1"] < places["wave 2"]


def test_what_is_not_done_is_marked_in_words():
    words, _ = drawn(looked(fresh=("www-1",), away=("www-2",)))
    assert "= www-1" in words
    assert "✕ www-2" in words
    assert "✕ unreachable" in words


def test_arrows_lead_to_what_reads():
    _, root = drawn(looked())
    arrows = [element for element in root.iter(f"{SVG}path") if element.get("marker-end")]
    # To the relay, from here to wave 1, from the relay to wave 2, and from wave 1 to wave 2.
    assert len(arrows) == 4


def test_many_that_are_alike_are_counted():
    plan = looked(inventory(tuple(f"www-{number}" for number in range(300))), away=("www-7",))
    words, _ = drawn(plan)
    assert "www ×299" in words  # noqa: RUF001
    assert "✕ www-7" in words
    assert "www ×299" in mermaid(plan)  # noqa: RUF001


def test_a_picture_of_any_plan_is_about_a_screen():
    plan = wide_plan()
    words, root = drawn(plan)
    assert float(root.get("width")) < 4000
    assert float(root.get("height")) < 1500
    assert len(svg(plan)) < 60_000
    assert len(mermaid(plan)) < 50_000
    assert "195 more stores · 390 systems" in words


def test_all_instances_are_in_the_picture():
    words, _ = drawn(wide_plan())
    counted = sum(int(found[1]) for found in (re.search(r"×(\d+)$", word) for word in words) if found)  # noqa: RUF001
    single = sum(1 for word in words if re.fullmatch(r"(. )?i\d+", word))
    assert counted + single == 3000


@pytest.mark.parametrize("draw", [svg, mermaid])
def test_a_picture_is_the_same_each_time(draw):
    assert draw(looked()) == draw(looked())


def test_a_picture_stands_alone_and_tells_what_it_is():
    text = svg(looked())
    _, root = drawn(looked())
    assert not re.search(r"<(script|style|image|foreignObject)|href|@import|url\((?!#)", text)
    named = root.get("aria-labelledby").split()
    assert [element.get("id") for element in root[:2]] == named
    assert root[0].text.startswith("Plan ")
    assert "4 to activate" in root[1].text


def test_text_from_elsewhere_is_harmless():
    systems = {NASTY: System(name=NASTY, platform="x86_64-linux")}
    instances = {NASTY: Instance(name=NASTY, system=NASTY, store=f"{RELAY}{NASTY}")}
    plan = deploy_plan(Inventory(source=NASTY, systems=systems, instances=instances), "*")
    _, root = drawn(plan)
    assert not list(root.iter("script"))
    assert not list(root.iter(f"{SVG}script"))
    text = mermaid(plan)
    assert "<" not in text.replace("-->", "")
    assert "`" not in text
    assert text.count('"') % 2 == 0


def test_mermaid_has_waves_relays_and_who_reads():
    lines = [line.strip() for line in mermaid(looked(away=("www-2",))).splitlines()]
    assert lines[0] == "flowchart LR"
    assert 'here -- "1 system" --> store0' in lines
    assert 'subgraph wave1["wave 2"]' in lines
    assert 'i0_0["portico"]:::act' in lines
    assert "here --> i0_0" in lines
    assert "store0 --> i1_0" in lines
    assert any("✕ www-2" in line and line.endswith(":::unreachable") for line in lines)


def test_a_build_has_no_waves():
    words, _ = drawn(build_plan())
    assert words == ["this machine"]


def tree_plan():
    """Three levels of relays, the middle one of two, and a store that is no instance."""
    stores = {"top": "", "mid-1": "ssh://top", "mid-2": "ssh://top", "low": "ssh://mid-1"}
    stores |= {"www-1": "ssh://low", "www-2": "ssh://mid-2", "www-3": "https://cache"}
    instances = {name: Instance(name=name, system="www", store=store) for name, store in stores.items()}
    systems = {"www": System(name="www", platform="x86_64-linux")}
    return looked(Inventory(source="tree/", systems=systems, instances=instances), patterns=("www-*",))


def test_relays_of_relays_stand_below_those_that_they_read_from():
    _, root = drawn(tree_plan())
    words = [element for element in root.iter(f"{SVG}text") if element.text.endswith("1 system")]
    at = {element.text.split(" ")[0]: (float(element.get("x")), float(element.get("y"))) for element in words}
    assert at["top"][1] == at["https://cache"][1] < at["mid-1"][1] == at["mid-2"][1] < at["low"][1]
    # Each beside its own: no arrow of one crosses the box of another.
    assert at["top"][0] < at["mid-1"][0] < at["low"][0] < at["mid-2"][0] < at["https://cache"][0]
    links = re.findall(r"(\w+) -- ", mermaid(tree_plan()))
    assert links.count("here") == 2
    assert len(links) == 5


def test_many_relays_of_relays_are_drawn_once():
    middle = {f"r{number}": "ssh://r0" if number % 3 else "" for number in range(1, 30)}
    stores = {"r0": "", **middle, **{f"i{number}": f"ssh://{name}" for number, name in enumerate(middle)}}
    instances = {name: Instance(name=name, system="www", store=store) for name, store in stores.items()}
    systems = {"www": System(name="www", platform="x86_64-linux")}
    words, _ = drawn(looked(Inventory(source="many/", systems=systems, instances=instances), patterns=("i*",)))
    assert "25 more stores · 25 systems" in words
