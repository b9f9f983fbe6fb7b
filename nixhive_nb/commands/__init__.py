"""The grammar: each command once, for `%hive` in a notebook and for `nix-hive` in a terminal.

A command calls a method of `Hive` and gives a value back (one of the classes in `session`);
the face decides how to show it. Its options stand in `options`.
"""

from __future__ import annotations

from itertools import takewhile

import click

from nixhive_nb.commands import changing, lab, looking, openssh, planning, run
from nixhive_nb.commands.options import check_dashes, check_out, common, long_words
from nixhive_nb.commands.session import Message
from nixhive_nb.util.suggest import near

_OWN_WORDS = ("run", "ssh", "scp")
"""Commands whose words, from the first that is no option on, are those of another program."""
_HELP = {"help_option_names": ["-h", "--help"]}


class _Grammar(click.Group):
    """The commands. It sees what click would read as something else."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the command as click does. Raises `UsageError`."""
        commands = self.list_commands(ctx)
        before = takewhile(lambda word: word not in (*commands, "--"), args)
        check_dashes(before, {*long_words(), *(name for param in self.params for name in param.opts)})
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command as click does. Raises `UsageError`."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = near(args[0], self.commands)
            said = f" Did you mean '{hint[0]}'?" if hint else ""
            raise click.UsageError(f"No such command '{args[0]}'.{said}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            _check_dashes(command, rest)
        return name, command, rest


def _check_dashes(command: click.Command, words: list[str]) -> None:
    """Raise `UsageError` for a long option of a command with one dash."""
    own = command.name in _OWN_WORDS
    taken = takewhile(lambda word: word != "--" and not (own and not word.startswith("-")), words)
    check_dashes(taken, {name for param in command.params for name in param.opts})


@click.group(cls=_Grammar, context_settings=_HELP)
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
    _, found, _ = hive_group.resolve_command(root, [command])
    assert found is not None  # noqa: S101 - it raises where there is none
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
