"""`sidecar serve`, `check-config` and `demo`: the commands that run the sidecar or check its configuration beforehand."""

import sys
import time
from pathlib import Path

import click

from sidecar.cli.terminal import (
    CONFIG,
    CONFIG_VARIABLE,
    config_option,
    counted,
    fail,
    json_option,
    load_settings,
    print_json,
)
from sidecar.config.advice import advice
from sidecar.config.document import secret_files
from sidecar.config.load import SettingsError, load
from sidecar.ops.logs import configure
from sidecar.runtime import signals
from sidecar.runtime.ending import EndedBadly
from sidecar.runtime.sockets import StartError
from sidecar.runtime.worker import serve as serve_one
from sidecar.runtime.worker import start_logging


@click.command()
@config_option("The YAML file; see check-config.")
def serve(config: Path) -> None:
    """Run the sidecar until SIGTERM or Ctrl-C.

    Logs go to stderr, one JSON object a line. Exit code 2: the configuration has faults. Exit code 1: the sidecar cannot start,
    cannot continue, or did not end in order.

    SIGHUP reads the file again; so does a change of it. SIGUSR2 begins the soft drain (see drain). SIGQUIT and SIGUSR1 are
    logged and ignored.
    """
    signals.begin()
    settings = load_settings(config, now=time.time())
    try:
        start_logging(settings, alone=settings.workers == 1)
        if settings.workers == 1:
            serve_one(settings)
        else:
            from sidecar.runtime.supervisor import serve as serve_many  # noqa: PLC0415  a single worker saves its memory

            serve_many(settings)
    except StartError as exc:
        fail(str(exc))
    except EndedBadly:
        sys.exit(1)


@click.command("check-config", short_help="Check a configuration file and report every fault.")
@click.argument("file", type=CONFIG, required=False)
@config_option("In the place of FILE.", required=False)
@json_option
def check_config(file: Path | None, config: Path | None, *, as_json: bool) -> None:
    """Check FILE and report every fault at once, each with its path in the file.

    The command resolves references such as ${env:NAME}, so run it where the sidecar will run. Exit code 2 when there are
    faults; a warning is not a fault.
    """
    path = file or config
    if path is None:
        raise click.UsageError(f"Name a file: as FILE, with --config or in {CONFIG_VARIABLE}.")
    now = time.time()
    try:
        settings = load(path, now=now) if as_json else load_settings(path, now=now)
    except SettingsError as exc:
        print_json({"status": "faults", "faults": [each._asdict() for each in exc.faults], "warnings": []})
        sys.exit(2)
    warnings = advice(settings, now=now, files=secret_files(path))
    if as_json:
        print_json({"status": "ok", "faults": [], "warnings": [each._asdict() for each in warnings]})
        return
    for each in warnings:
        click.echo(f"warning: {each}", err=True)
    click.echo(f"{path}: ok ({counted(len(settings.clients), 'client')}, {counted(len(settings.routes), 'route')})")


@click.command(short_help="Show the sidecar at work on loopback; with --check: the smoke test.")
@click.option("--check", is_flag=True, help="Run the steps and tick them off. Exit code 0 or 1.")
@click.option("--store", default="memory://", show_default=True, help="The store, such as redis://127.0.0.1:6379/0.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 3030; with 0 or --check, a free port.")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="Default: 9464; with 0 or --check, a free port.")
@click.option("--open", "open_console", is_flag=True, help="Show the console in a browser.")
def demo(*, check: bool, store: str, port: int | None, admin_port: int | None, open_console: bool) -> None:
    """Show the sidecar at work, on loopback only, in front of a small example API.

    The command prints commands to paste. With --check it runs them itself, as the smoke test of an installation.
    """
    from sidecar.demo import demo as run_demo  # noqa: PLC0415  a worker saves its memory

    signals.begin()
    configure("error" if check else "warning", "auto")
    try:
        code = run_demo(
            check=check,
            store=store,
            port=(0 if check else 3030) if port is None else port,
            admin_port=(0 if check else 9464) if admin_port is None else admin_port,
            open_console=open_console,
        )
    except StartError as exc:
        fail(f"{exc}; choose others with --port and --admin-port")
    except ValueError as exc:
        fail(f"--store: {exc}", 2)
    sys.exit(code)
