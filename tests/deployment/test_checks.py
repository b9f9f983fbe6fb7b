"""The checks of a deployment: their forms, whose they are, and mistakes with their place."""

from __future__ import annotations

import pytest

from nixhive_nb.deployment.inventory import Check
from nixhive_nb.deployment.load import load
from nixhive_nb.errors import DeploymentError


def loaded(folder, checks, own="{ }"):
    (folder / "hive.nix").write_text(
        "{\n"
        "  systems.www.configuration = { ... }: { };\n"
        f"  systems.www.checks = {checks};\n"
        f'  instances.www-1 = {{ system = "www"; checks = {own}; }};\n'
        "}\n"
    )
    return load(folder / "hive.nix").inventory


def test_each_form_becomes_a_check_in_order_of_name(tmp_path):
    inventory = loaded(
        tmp_path,
        '{ u.units = true; t = { tcp = 22; from = "here"; };'
        ' c = { command = [ "true" "a b" ]; period = 0.5; for = 5; };'
        ' h = { http = "https://localhost:8443/x?y"; expect = 404; timeout = 3; description = "a page"; }; }',
    )
    assert inventory.systems["www"].checks == (
        Check(name="c", kind="command", command=("true", "a b"), period=0.5, hold=5.0),
        Check(
            name="h",
            kind="http",
            url="https://localhost:8443/x?y",
            expect=404,
            timeout=3.0,
            description="a page",
        ),
        Check(name="t", kind="tcp", port=22, here=True),
        Check(name="u", kind="units"),
    )


def test_an_instance_has_those_of_its_system_and_its_own_wins(tmp_path):
    inventory = loaded(tmp_path, "{ a.tcp = 1; b.tcp = 2; }", "{ b.tcp = 3; c.tcp = 4; }")
    assert [(one.name, one.port) for one in inventory.instances["www-1"].checks] == [("a", 1), ("b", 3), ("c", 4)]


def test_checks_of_a_list_are_named_by_kind_and_number(tmp_path):
    inventory = loaded(tmp_path, "[ { tcp = 1; } { units = true; } { tcp = 2; } ]")
    assert [(one.name, one.port) for one in inventory.systems["www"].checks] == [
        ("tcp-1", 1),
        ("tcp-2", 2),
        ("units-1", 0),
    ]


@pytest.mark.parametrize("of_system", ["[ { tcp = 1; } { tcp = 2; } ]", "{ tcp-1.tcp = 1; tcp-2.tcp = 2; }"])
def test_a_list_of_an_instance_takes_no_check_away(tmp_path, of_system):
    inventory = loaded(tmp_path, of_system, "[ { tcp = 3; } ]")
    assert [one.port for one in inventory.instances["www-1"].checks] == [1, 2, 3]
    assert [one.port for one in inventory.systems["www"].checks] == [1, 2]


def test_instances_of_one_system_do_not_share_their_own_checks(tmp_path):
    (tmp_path / "hive.nix").write_text(
        "{ systems.www = { configuration = { ... }: { }; checks = [ { tcp = 1; } ]; };"
        ' instances.a = { system = "www"; checks = [ { tcp = 2; } ]; }; instances.b.system = "www"; }'
    )
    instances = load(tmp_path / "hive.nix").inventory.instances
    assert {name: [one.port for one in instance.checks] for name, instance in instances.items()} == {
        "a": [1, 2],
        "b": [1],
    }


def test_the_document_of_build_has_them(tmp_path):
    document = loaded(tmp_path, "{ a.tcp = 1; }").to_json()
    assert document["instances"]["www-1"]["checks"]["a"] == {
        "tcp": 1,
        "from": "instance",
        "period": 2.0,
        "timeout": 10.0,
    }


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("{ }", "has none of its forms; give it one of command, http, tcp, units"),
        ("{ tcp = 1; units = true; }", "has tcp and units at once"),
        ("{ tcp = 0; }", "`checks.one.tcp` of system www is not a port"),
        ("{ tcp = 99999; }", "is not a port"),
        ('{ tcp = "22"; }', "is not a port"),
        ("{ units = false; }", "is not true; leave the check out"),
        ("{ units = 1; }", "is not true; leave the check out"),
        ("{ command = [ ]; }", "is not a list of strings"),
        ('{ command = [ "sleep" 5 ]; }', "is not a list of strings"),
        ('{ command = [ "" "a" ]; }', "begins with an empty word"),
        ('{ command = "true"; }', "is not a list of strings"),
        ('{ http = "localhost"; }', "is not a URL of http or https"),
        ('{ http = "http:///page"; }', "is not a URL of http or https"),
        ('{ http = "ftp://h/"; }', "is not a URL of http or https"),
        ('{ http = "http://h:0/"; }', "is not a URL of http or https"),
        ('{ http = "http://h:65536/"; }', "is not a URL of http or https"),
        ('{ http = "http://h/a b"; }', "is not a URL of http or https"),
        ('{ http = "http://h/\\nHost: other"; }', "is not a URL of http or https"),
        ("{ http = 80; }", "is not a URL of http or https"),
        ('{ http = "http://h/"; expect = 7; }', "is not a status of http"),
        ("{ tcp = 1; expect = 200; }", "`checks.one.expect` of system www goes with http alone"),
        ('{ tcp = 1; from = "there"; }', 'is neither "instance" nor "here"'),
        ('{ units = true; from = "here"; }', "goes with http and tcp alone"),
        ("{ tcp = 1; timeout = 0; }", "is not a number of seconds, above 0"),
        ("{ tcp = 1; for = -1; }", "is not a number of seconds, above 0"),
        ("{ tcp = 1; period = true; }", "is not a number of seconds, above 0"),
        ("{ tcp = 1; timeot = 5; }", "did you mean `timeout`?"),
        ("{ tcp = 1; colour = 5; }", "is not known: a check has command, http, tcp, units, expect"),
        ("{ tcp = 1; description = 5; }", "is a number, not a string"),
        ("5", "is a number; write { tcp = 22; }"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, check, said):
    with pytest.raises(DeploymentError) as error:
        loaded(tmp_path, f"{{ one = {check}; }}")
    assert "hive.nix:3: " in str(error.value)
    assert said in str(error.value)


def refusal(folder, checks, own="{ }"):
    with pytest.raises(DeploymentError) as error:
        loaded(folder, checks, own)
    return str(error.value)


def test_all_mistakes_are_told_at_once_each_where_it_stands(tmp_path):
    assert refusal(tmp_path, "{ a.tcp = 0; b = { }; }", '{ c = {\ntcp = 1; from = "there"; }; }').splitlines() == [
        "hive.nix:3: `checks.a.tcp` of system www is not a port, from 1 to 65535.",
        "hive.nix:3: `checks.b` of system www has none of its forms; give it one of command, http, tcp, units.",
        'hive.nix:5: `checks.c.from` of instance www-1 is neither "instance" nor "here".',
    ]


def test_a_mistake_in_a_list_is_told_with_the_line_of_the_check(tmp_path):
    assert refusal(tmp_path, "[\n{ tcp = 1; }\n{ tcp = 0; }\n{ }\n5 ]").splitlines() == [
        "hive.nix:3: `checks.check-1` of system www has none of its forms; give it one of command, http, tcp, units.",
        "hive.nix:3: `checks.check-2` of system www is a number; write { tcp = 22; }, for example.",
        "hive.nix:5: `checks.tcp-2.tcp` of system www is not a port, from 1 to 65535.",
    ]


@pytest.mark.parametrize("name", ["", r"a\nb"])
def test_a_check_has_a_name_that_can_be_shown(tmp_path, name):
    assert "cannot be named" in refusal(tmp_path, f'{{ "{name}" = {{ tcp = 1; }}; }}')


@pytest.mark.parametrize("checks", ["5", '"tcp"', "null", "x: x"])
def test_checks_are_a_set_or_a_list(tmp_path, checks):
    assert "hive.nix:3: `checks` of system www is " in refusal(tmp_path, checks)


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        ('{ one.tcp = throw "no"; }', "`tcp` of `checks.one` of system www"),
        ('{ one = throw "no"; }', "`checks.one` of system www"),
        ('{ one.command = [ (throw "no") ]; }', "`command` of `checks.one` of system www"),
        ('[ { tcp = 1; } { tcp = throw "no"; } ]', "`tcp` of number 2 in `checks` of system www"),
        ('[ { tcp = 1; } (throw "no") ]', "number 2 in `checks` of system www"),
        ('throw "no"', "`checks` of system www"),
    ],
)
def test_an_evaluation_error_names_the_check(tmp_path, checks, said):
    assert f"(in {said})" in refusal(tmp_path, checks)


def test_an_evaluation_error_in_an_own_check_names_the_instance(tmp_path):
    assert "(in `tcp` of `checks.one` of instance www-1)" in refusal(tmp_path, "{ }", '{ one.tcp = throw "no"; }')
