"""The grammar: each command once, for `%hive` in a notebook and for `nix-hive` in a terminal.

A command calls a method of `Hive` and gives a value back (one of the classes in `session`);
the face decides how to show it. Its options stand in `options`. The module of a command is imported when that is
called: the list of all of them, and the mistake in a word, need none.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from itertools import takewhile
from typing import TYPE_CHECKING

import click

from nixhive_nb.commands.options import check_dashes, check_out, common, long_words

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_OWN_WORDS = ("run", "ssh", "scp")
"""Commands whose words, from the first that is no option on, are those of another program."""
_HELP = {"help_option_names": ["-h", "--help"]}

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Look": {
        "instances": ("looking.instances", "List instances in the order of a deploy."),
        "systems": ("looking.systems", "List systems with their last results."),
        "targets": ("looking.targets", "Choose instances."),
        "status": ("looking.status", "Ask hosts what they run."),
        "diff": ("looking.diff", "Show which packages would change."),
        "generations": ("looking.generations", "List the generations of hosts."),
        "doctor": ("looking.doctor", "Say what keeps hosts from being deployed to."),
        "check": ("looking.check", "Run the checks of hosts now."),
        "plan": ("planning.plan_command", "Show what would be done, without doing it."),
    },
    "Build and change": {
        "build": ("changing.build", "Build systems."),
        "push": ("changing.push", "Build systems and copy them to hosts."),
        "deploy": ("changing.deploy", "Build, push and activate, wave by wave."),
        "apply": ("planning.apply", "Apply a plan that was shown."),
        "rollback": ("changing.rollback", "Roll back to an earlier generation."),
        "reboot": ("changing.reboot", "Reboot hosts, wave by wave."),
    },
    "Look back": {
        "runs": ("looking.runs", "List the runs in progress."),
        "history": ("looking.history_command", "List earlier runs, or what one did."),
        "report": ("looking.report_command", "Show the record of an earlier run."),
        "bug-report": ("looking.bug_report", "Write a bug report: one text file, which is sent nowhere."),
    },
    "Connect": {
        "run": ("run.run", "Run a command on hosts, side by side."),
        "ssh": ("openssh.ssh", "Run ssh with the deployment's hosts."),
        "scp": ("openssh.scp", "Run scp with the deployment's hosts."),
        "ssh-config": ("openssh.ssh_config", "Print the generated ssh configuration."),
    },
    "More machines": {
        "worker": ("worker.worker", "Reach hosts for operators elsewhere, as a worker of Dask."),
    },
    "Practice": {
        "lab": ("lab.lab_group", "Run a practice fleet on this machine."),
    },
    "The program itself": {
        "load": ("looking.load", "Evaluate the deployment again."),
        "convert": ("looking.convert", "Write a deployment of another tool in the format of hive.nix."),
        "completion": ("helping.completion", "Print the completion script of a shell."),
        "help": ("helping.help_command", "Show the help, or that of a command."),
    },
}
"""The commands, as the help lists them: of each where it stands, and the first sentence of its help."""
ABOUTS = {name: about for section in SECTIONS.values() for name, (_, about) in section.items()}
"""What each command does, in a sentence."""
_PLACES = {name: place for section in SECTIONS.values() for name, (place, _) in section.items()}


class _Commands(MutableMapping[str, click.Command]):
    """The commands by name. One is imported when it is asked for."""

    def __init__(self) -> None:
        self._known: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._known:
            module, _, attribute = _PLACES[name].partition(".")
            command: click.Command = getattr(import_module(f"nixhive_nb.commands.{module}"), attribute)
            self._known[name] = command
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in _PLACES

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)

    def __setitem__(self, name: str, command: click.Command) -> None:
        raise TypeError(f"the commands stand in SECTIONS: {name}")

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"the commands stand in SECTIONS: {name}")


class _Grammar(click.Group):
    """The commands. It sees what click would read as something else."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the command as click does. Raises `UsageError`."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        commands = self.list_commands(ctx)
        before = takewhile(lambda word: word not in (*commands, "--"), args)
        check_dashes(before, {*long_words(), *(name for param in self.params for name in param.opts)})
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command as click does. Raises `UsageError`, but not for a line that is still being typed."""
        if ctx.resilient_parsing:
            name, command, rest = super().resolve_command(ctx, args)
            if command is not None:
                from nixhive_nb.commands.shells import teach  # noqa: PLC0415 - only Tab needs it

                teach(command)
            return name, command, rest
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            from nixhive_nb.util.suggest import near  # noqa: PLC0415 - only a mistake needs it

            hint = near(args[0], self.commands)
            said = f" Did you mean '{hint[0]}'?" if hint else ""
            raise click.UsageError(f"No such command '{args[0]}'.{said}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            _check_dashes(command, rest)
        return name, command, rest

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands, or the options, that a word may become."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only Tab needs it

        found = [CompletionItem(name, help=about) for name, about in ABOUTS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by what they are for, without importing any of them."""
        del ctx
        longest = max(map(len, ABOUTS))
        for section, rows in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(longest), about) for name, (_, about) in rows.items()])


def _check_dashes(command: click.Command, words: list[str]) -> None:
    """Raise `UsageError` for a long option of a command with one dash."""
    own = command.name in _OWN_WORDS
    taken = takewhile(lambda word: word != "--" and not (own and not word.startswith("-")), words)
    check_dashes(taken, {name for param in command.params for name in param.opts})


@click.group(cls=_Grammar, commands=_Commands(), context_settings=_HELP)
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
