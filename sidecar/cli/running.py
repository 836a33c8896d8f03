"""`sidecar reload`, `drain` and `roll`: what an operator asks of a sidecar that runs, through its admin listener."""

import http.client
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import click
from pydantic_core import PydanticCustomError

from sidecar.cli.terminal import at_work, config_option, fail, json_option, print_json
from sidecar.config.document import read_document
from sidecar.config.sections.listen import Admin
from sidecar.config.values import Address, parse_address

_ANSWERED_WITHIN: Final = 600.0  # seconds: each worker may take a while to start

_config = config_option("The file of that sidecar, which names its admin listener.", required=False)
_admin = click.option("--admin", metavar="HOST:PORT", help="The admin listener; default: as in the file.")


@click.command("reload", short_help="Have a running sidecar read its file again.")
@_config
@_admin
@json_option
def reload(config: Path | None, admin: str | None, *, as_json: bool) -> None:
    """Have a running sidecar read its configuration file again, and show what changed.

    SIGHUP does the same, and the sidecar does it by itself when a file changes. Run this on the same machine. Exit code 1: the
    file has faults, and nothing changed.
    """
    with at_work("reloading"):
        status, answer = _post(_address(config, admin), "/reload")
    if as_json:
        print_json(answer)
        sys.exit(int(status == 422))
    if status == 422:
        for fault in answer["faults"]:
            click.echo(fault, err=True)
        fail("nothing was changed")
    for change in answer["changed"]:
        click.echo(f"changed: {change}")
    for change in answer["needs_restart"]:
        click.echo(f"needs a restart: {change}")
    if answer["status"] == "unchanged":
        click.echo("nothing has changed")


@click.command("drain", short_help="Have a running sidecar prepare to leave.")
@_config
@_admin
@click.option("--no-wait", is_flag=True, help="Do not wait for the end of drain.delay.")
def drain(config: Path | None, admin: str | None, *, no_wait: bool) -> None:
    """Begin the soft drain of a running sidecar, and wait until it may be stopped with SIGTERM.

    From now on /readyz answers 503, and each response ends its connection. New connections are still served. The command
    returns after drain.delay. As a preStop hook of Kubernetes it gives the balancers time to notice.
    """
    _, answer = _post(_address(config, admin), "/drain")
    click.echo(f"draining; balancers have {answer['delay']:g} s to notice")
    if not no_wait:
        with at_work("waiting for the balancers"):
            time.sleep(answer["delay"])


@click.command("roll", short_help="Replace the workers of a running sidecar one by one.")
@_config
@_admin
@json_option
def roll(config: Path | None, admin: str | None, *, as_json: bool) -> None:
    """Replace each worker of a running sidecar by a new one, without refusing a connection.

    The old worker finishes its requests after the new one has begun to accept connections.
    """
    with at_work("replacing the workers"):
        _, answer = _post(_address(config, admin), "/roll")
    if as_json:
        print_json(answer)
        return
    for line in answer["workers"]:
        click.echo(line)


def _address(config: Path | None, admin: str | None) -> Address:
    """The admin listener, also when the rest of the file has faults."""
    given: object = admin
    if admin is None:
        document = None
        if config is not None:
            document, faults = read_document(config)
            if document is None:
                fail("\n".join(map(str, faults)), 2)
        section = (document or {}).get("admin")
        given = section.get("listen") if isinstance(section, dict) else None
    try:
        address = Admin().listen if given is None else parse_address(given)
    except PydanticCustomError as exc:
        fail(f"{'admin.listen' if admin is None else '--admin'}: {exc}", 2)
    if not address.port:
        fail("admin.listen has port 0: name the port that the log shows with --admin HOST:PORT", 2)
    return address.nearby


def _post(address: Address, path: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_ANSWERED_WITHIN)
    try:
        connection.request("POST", path, headers={"Content-Length": "0"})
        response = connection.getresponse()
        answer = json.loads(response.read())
    except OSError as exc:
        fail(f"no sidecar answers at {address}: {exc.strerror or exc}")
    except (ValueError, http.client.HTTPException):
        fail(f"what answers at {address} is not the admin listener of a sidecar")
    finally:
        connection.close()
    if not isinstance(answer, dict) or response.status not in (200, 202, 422):
        fail(
            answer["error"]
            if isinstance(answer, dict) and "error" in answer
            else f"{address} answers {response.status}"
        )
    return response.status, answer
