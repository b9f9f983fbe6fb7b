"""The grammar: each command once, for `%hive` in a notebook and for `nix-hive` in a terminal.

A command calls a method of `Hive` and gives a value back (one of the classes in `session`);
the face decides how to show it. Its options stand in `options`.
"""

from __future__ import annotations

import click

from nixhive_nb.commands import changing, lab, looking, openssh, planning, run
from nixhive_nb.commands.options import check_out, common
from nixhive_nb.session import Message

_HELP = {"help_option_names": ["-h", "--help"]}


@click.group(context_settings=_HELP)
@click.version_option(package_name="nixhive_nb", message="%(version)s")
@common
@click.pass_context
def hive_group(ctx: click.Context) -> None:
    """NixOS fleets: build a few systems once, move them through Nix stores, activate them over SSH.

    PATTERN is a name of an instance, of a system, or a tag, or a glob of one such as 'www-*'. Each pattern is a wave:
    "deploy portico '*'" deploys portico first, then all others. '@(web and not www-2)' is an expression; @failed,
    @unreachable and @outdated are groups.
    """
    check_out(ctx, ctx.invoked_subcommand)


@hive_group.command(name="help")
@click.argument("command", required=False)
@click.pass_context
def help_command(ctx: click.Context, command: str | None) -> Message:
    """Show the help of all, or of a command."""
    root = ctx.find_root()
    if not command:
        return Message(text=root.get_help())
    found = hive_group.get_command(root, command)
    if found is None:
        raise click.UsageError(f"No such command '{command}'.")
    with click.Context(found, info_name=command, parent=root) as inner:
        return Message(text=inner.get_help())


for _command in (
    looking.load,
    looking.instances,
    looking.targets,
    looking.systems,
    looking.status,
    looking.diff,
    looking.generations,
    looking.check,
    looking.history_command,
    looking.report_command,
    looking.runs,
    looking.bug_report,
    planning.plan_command,
    planning.apply,
    changing.build,
    changing.push,
    changing.deploy,
    changing.rollback,
    changing.reboot,
    run.run,
    openssh.ssh,
    openssh.scp,
    openssh.ssh_config,
    lab.lab_group,
):
    hive_group.add_command(_command)
