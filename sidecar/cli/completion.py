"""`sidecar completion`, and what the shell offers for some arguments."""

import os
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from sidecar.cli.terminal import CONFIG_VARIABLE, fail
from sidecar.config.document import entries, read_document

_DATA: Final = ("XDG_DATA_HOME", ".local/share")
_SETTINGS: Final = ("XDG_CONFIG_HOME", ".config")
_PLACES: Final = {
    "bash": (_DATA, "bash-completion/completions/sidecar"),
    "zsh": (_DATA, "zsh/site-functions/_sidecar"),
    "fish": (_SETTINGS, "fish/completions/sidecar.fish"),
}
"""Where each shell looks for completions: a folder of the XDG Base Directory Specification, and a path in it."""
_HINTS: Final = {
    "bash": "It works in new shells, if the package bash-completion is installed.",
    "zsh": "Have these lines in ~/.zshrc, and open a new shell:\n    fpath+=({folder})\n    autoload -Uz compinit && compinit",
    "fish": "It works in new shells.",
}


@click.command("completion", short_help="Print or install the completions for a shell.")
@click.argument("shell", type=click.Choice(list(_PLACES)), required=False)
@click.option("--install", is_flag=True, help="Write the script to where the shell looks for it.")
@click.pass_context
def completion(context: click.Context, shell: str | None, *, install: bool) -> None:
    """Print the script with which a shell completes the commands, options, files and client ids of sidecar. With --install,
    write it to where the shell looks for it.

    Without SHELL, the command takes the one that the variable SHELL names.
    """
    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in _PLACES:
        raise click.UsageError(f"Name a shell: {', '.join(_PLACES)}.")
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not known to this version of click.")
    script = kind(context.find_root().command, {}, "sidecar", "_SIDECAR_COMPLETE").source()
    if not install:
        click.echo(script)
        return
    (variable, usual), name = _PLACES[shell]
    path = Path(os.environ.get(variable) or Path.home() / usual) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script + "\n", encoding="utf-8")
    except OSError as exc:
        fail(f"{path} cannot be written: {exc.strerror}")
    click.echo(f"{path} was written. {_HINTS[shell].format(folder=path.parent)}")


def client_ids(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The ids of the clients in the configuration that the command line or the environment names."""
    path = context.params.get("config") or os.environ.get(CONFIG_VARIABLE)
    document = read_document(Path(path))[0] if path else None
    found = [each.get("client_id") for each in entries(document or {}, "clients") if isinstance(each, dict)]
    return [CompletionItem(each) for each in found if isinstance(each, str) and each.startswith(incomplete)]
