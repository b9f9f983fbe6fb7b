"""The table of the commands: it says what they say themselves, and imports none of them."""

from __future__ import annotations

import click
import pytest

from nixhive_nb.commands import ABOUTS, SECTIONS, hive_group


@pytest.mark.parametrize("name", sorted(ABOUTS))
def test_the_table_says_of_a_command_what_its_help_begins_with(name):
    command = hive_group.commands[name]
    assert command.name == name
    assert command.help.partition("\n")[0] == ABOUTS[name]


def test_the_help_lists_each_command_once_below_what_it_is_for():
    with click.Context(hive_group, info_name="nix-hive") as ctx:
        lines = hive_group.get_help(ctx).splitlines()
    for section, rows in SECTIONS.items():
        begin = lines.index(f"{section}:") + 1
        assert [line.split()[0] for line in lines[begin : begin + len(rows)]] == list(rows)
    below = lines[lines.index(f"{next(iter(SECTIONS))}:") :]
    listed = [line.split()[0] for line in below if line.startswith("  ")]
    assert sorted(listed) == sorted(ABOUTS)


def test_what_is_no_command_is_none():
    assert hive_group.commands.get("depoly") is None
    assert "depoly" not in hive_group.commands
    assert len(hive_group.commands) == len(ABOUTS)


def test_commands_cannot_be_put_in_or_taken_out_beside_the_table():
    with pytest.raises(TypeError):
        hive_group.commands["other"] = click.Command("other")
    with pytest.raises(TypeError):
        del hive_group.commands["deploy"]
