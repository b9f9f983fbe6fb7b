"""`help` and `completion`: what the program says of itself."""

from __future__ import annotations

import click

from nixhive_nb.commands.session import Message

SHELLS = ("bash", "zsh", "fish")
"""Those that click makes a script for."""


@click.command(name="help")
@click.argument("command", required=False)
@click.pass_context
def help_command(ctx: click.Context, command: str | None) -> Message:
    """Show the help, or that of a command."""
    root = ctx.find_root()
    if not command:
        return Message(text=root.get_help())
    group = root.command
    assert isinstance(group, click.Group)  # noqa: S101 - what else has commands
    _, found, _ = group.resolve_command(root, [command])
    assert found is not None  # noqa: S101 - it raises where there is none
    with click.Context(found, info_name=command, parent=root) as inner:
        return Message(text=inner.get_help())


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> Message:
    """Print the completion script of a shell.

    For bash, put this into ~/.bashrc: eval "$(nix-hive completion bash)". For zsh, the same with zsh, into ~/.zshrc,
    after compinit. For fish: nix-hive completion fish > ~/.config/fish/completions/nix-hive.fish

    Tab then completes commands, options, and the names of the deployment as it was loaded last. It evaluates nothing,
    and asks no host.
    """
    from nixhive_nb.commands.shells import source  # noqa: PLC0415 - no other command needs it

    group = ctx.find_root().command
    assert isinstance(group, click.Group)  # noqa: S101 - as above
    return Message(text=source(group, shell))
