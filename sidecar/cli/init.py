"""`sidecar init`: a configuration to start from."""

import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Final

import click

from sidecar.cli.secret_files import write_secret
from sidecar.cli.starter import CONFIG_NAME, STORE_FILE, USES, Answers, starting_files
from sidecar.cli.terminal import fail
from sidecar.config.faults import Fault
from sidecar.config.load import SettingsError, load

_UPSTREAM: Final = "http://127.0.0.1:3080"
_STORES: Final = {"kubernetes": "redis://redis:6379/0"}
_ISSUERS: Final = {"kubernetes": "https://api.example.com"}
_IGNORED: Final = ".gitignore"


@click.command("init", short_help="Write a configuration to start from, after three questions.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--use", type=click.Choice(list(USES)), help="What the sidecar is for: see below.")
@click.option("--upstream", metavar="URL", help=f"Your API, such as {_UPSTREAM}.")
@click.option("--store", metavar="URL", help="memory://, or a Redis such as redis://127.0.0.1:6379/0.")
@click.option("--issuer", metavar="URL", help="The URL by which clients will reach the sidecar.")
def init(folder: Path, use: str | None, upstream: str | None, store: str | None, issuer: str | None) -> None:
    """Write sidecar.yaml, with comments, and the secrets that it needs, into FOLDER. The default is this folder.

    At a terminal, the command asks for what no option says. It never overwrites a file. The uses:

    \b
      programs    Programs call the API, each with a client id and a secret.
      login       People log in to an app, which calls the API in their name.
      kubernetes  A sidecar in the pods of the API, for programs.
      tapdata     Clients of a TapData API go on unchanged.
    """
    answers = _answers(use, upstream, store, issuer)
    files = starting_files(answers)
    _check(files)
    there = [name for name in files if (folder / name).exists() or (folder / name).is_symlink()]
    if there:
        fail(
            f"{', '.join(str(folder / name) for name in there)} exist{'s' * (len(there) == 1)}: no file is overwritten"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            _write(folder / name, text)
        ignored = _ignore(folder, [name for name in files if name != CONFIG_NAME])
    except OSError as exc:
        fail(f"{exc.filename or folder} cannot be written: {exc.strerror}")
    for name in files:
        click.echo(f"wrote {folder / name}")
    if ignored:
        click.echo(f"wrote {folder / _IGNORED}: Git ignores the secrets")
    else:
        click.echo(f"{folder / _IGNORED} was there: look whether it has Git ignore the secrets")
    click.echo("\n" + _next_steps(folder, answers, files))


def _answers(use: str | None, upstream: str | None, store: str | None, issuer: str | None) -> Answers:
    missing = [f"--{name}" for name, value in (("use", use), ("upstream", upstream), ("store", store)) if value is None]
    if missing and not asks():
        raise click.UsageError(f"There is no terminal to ask at: give {', '.join(missing)}.")
    if use is None:
        for number, (name, text) in enumerate(USES.items(), 1):
            click.echo(f"  {number}  {name:<10}  {text}")
        use = click.prompt("What is the sidecar for?", value_proc=_use, default="1")
    answers = Answers(use, _UPSTREAM, "memory://", issuer or _ISSUERS.get(use, "http://127.0.0.1:3030"))
    if upstream is None:
        upstream = click.prompt("Where is your API?", default=_UPSTREAM, value_proc=_usable(answers, "upstream"))
    if store is None:
        text = "Where is state kept? memory:// in this process, or redis://HOST:6379/0"
        store = click.prompt(text, default=_STORES.get(use, "memory://"), value_proc=_usable(answers, "store"))
    return answers._replace(upstream=upstream, store=store)


def _use(typed: str) -> str:
    """The use of this number or name."""
    names = dict(zip(map(str, range(1, len(USES) + 1)), USES, strict=True))
    use = names.get(typed.strip(), typed.strip())
    if use not in USES:
        raise click.BadParameter(f"Write a number from 1 to {len(USES)}, or a name of the list.")
    return use


def _usable(answers: Answers, name: str) -> Callable[[str], str]:
    """What checks the answer `name` when it is typed, so that the question is asked again."""

    def check(typed: str) -> str:
        faults = _faults(starting_files(answers._replace(**{name: typed})))
        if own := [fault.message for fault in faults if fault.path.startswith(f"{name}.")]:
            raise click.BadParameter("; ".join(own))
        return typed

    return check


def asks() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def _check(files: dict[str, str]) -> None:
    """Exit with code 2 when an answer makes the configuration unusable."""
    if faults := _faults(files):
        fail("nothing was written:\n" + "\n".join(map(str, faults)), 2)


def _faults(files: dict[str, str]) -> Sequence[Fault]:
    """What is wrong with the configuration."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name, text in files.items():
                _write(Path(folder, name), text)
            load(Path(folder, CONFIG_NAME), now=time.time())
        except SettingsError as exc:
            return exc.faults
        except UnicodeEncodeError:
            return [Fault("", "an answer is not text in UTF-8")]
    return ()


def _write(path: Path, text: str) -> None:
    """Write a new file. Only the owner may read a secret; the configuration contains none."""
    if path.name != CONFIG_NAME:
        write_secret(path, text)
        return
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def _ignore(folder: Path, names: list[str]) -> bool:
    """Have Git ignore the secrets, unless the folder has rules of its own."""
    try:
        with (folder / _IGNORED).open("x", encoding="utf-8") as file:  # it follows no link
            file.writelines(f"/{name}\n" for name in names)
    except FileExistsError:
        return False
    return True


def _next_steps(folder: Path, answers: Answers, files: Container[str]) -> str:
    config = shlex.quote(str(folder / CONFIG_NAME))
    lines = ["Next:", f"  sidecar check-config {config}"]
    match answers.use:
        case "kubernetes":
            names = ["signing-key.pem", *([STORE_FILE] if STORE_FILE in files else [])]
            files = " ".join(f"--from-file={shlex.quote(str(folder / name))}" for name in names)
            if answers.issuer == _ISSUERS["kubernetes"]:
                lines.insert(1, f"  write the address that clients use into {config}, as tokens.issuer")
            lines += [
                f"  kubectl create configmap NAME-sidecar --from-file={config}    # NAME is that of your Deployment",
                f"  kubectl create secret generic NAME-sidecar {files}",
                "  and the component that adds the sidecar to that Deployment: deploy/k8s/README.md",
            ]
        case "login":
            lines += [
                f"  sidecar serve --config {config}",
                "  and have your app send its users to /oauth/authorize: docs/login.md",
            ]
        case _:
            secret, url = shlex.quote(str(folder / "reporting-secret")), shlex.quote(f"{answers.issuer}/oauth/token")
            lines += [
                f"  sidecar serve --config {config}",
                f'  curl -s {url} -u "reporting:$(cat {secret})" -d grant_type=client_credentials',
            ]
    return "\n".join(lines)
