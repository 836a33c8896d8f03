"""`sidecar doctor`."""

import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from sidecar.cli.terminal import at_work, config_option, counted, json_option, load_settings, print_json
from sidecar.config.document import secret_files
from sidecar.config.load import SettingsError, load
from sidecar.doctor.examination import end, examine_all
from sidecar.doctor.findings import Finding, Status, counts, worst
from sidecar.runtime.descriptors import raise_descriptor_limit

_WIDEST, _NARROWEST = 100, 60  # columns
_COLOURS: Final = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "red", Status.SKIPPED: "bright_black"}
_STATUS_WIDTH: Final = max(map(len, Status))
_NAME_WIDTHS: Final = (24, 40)  # at least, at most: as the longest word needs


@click.command("doctor", short_help="Look at everything that the sidecar depends on, and say what to do.")
@config_option("The file of the sidecar to look at.")
@json_option
def doctor(config: Path, *, as_json: bool) -> None:
    """Look at all that the sidecar depends on: the API, certificates with the days left, Redis, clocks, ports, signing keys,
    descriptors and memory. Print a table with a remedy for each fault.

    Run it where the sidecar runs, also while that runs. It takes up to 6 s, prints no secret, and changes nothing: the API gets
    OPTIONS *, and Redis one key for a second. Exit codes: 0, nothing failed; 1, something failed; 2, the configuration has
    faults.
    """
    now = time.time()
    if as_json:
        try:
            settings = load(config, now=now)
        except SettingsError as exc:
            _print_json([Finding("configuration", Status.FAILED, str(fault)) for fault in exc.faults])
            sys.exit(2)
    else:
        settings = load_settings(config, now=now)
    raise_descriptor_limit()
    with at_work("looking at everything"):
        findings, hanging = examine_all(settings, now=now, files=secret_files(config))
    if as_json:
        _print_json(findings)
    else:
        for line in table(findings, min(_WIDEST, max(_NARROWEST, shutil.get_terminal_size((_WIDEST, 24)).columns))):
            click.echo(line)
    code = int(worst(findings) is Status.FAILED)
    sys.stdout.flush()
    if hanging:
        end(code)
    sys.exit(code)


def _print_json(findings: Sequence[Finding]) -> None:
    checks = [{**finding._asdict(), "status": finding.status.value} for finding in findings]
    summary = {status.value: count for status, count in counts(findings).items()}
    print_json({"status": worst(findings).value, "summary": summary, "checks": checks})


def table(findings: Sequence[Finding], width: int) -> Iterator[str]:
    """The lines of the table, none wider than `width` columns, and a summary."""
    least, most = _NAME_WIDTHS
    longest = max((len(word) for finding in findings for word in finding.check.split()), default=0)
    columns = min(max(least, longest), most, width // 2)
    for finding in findings:
        yield from _row(finding, width, columns)
    found = counts(findings)
    yield ""
    yield ", ".join(
        (
            f"{found[Status.FAILED]} failed",
            counted(found[Status.WARNING], "warning"),
            f"{found[Status.SKIPPED]} skipped",
            f"{found[Status.OK]} ok",
        )
    )


def _row(finding: Finding, width: int, columns: int) -> Iterator[str]:
    """`columns` are for the name of the check."""
    indent = _STATUS_WIDTH + 2 + columns + 2
    names = textwrap.wrap(finding.check, columns)
    texts = textwrap.wrap(finding.found, width - indent, break_on_hyphens=False)
    if finding.remedy:
        texts += textwrap.wrap(f"-> {finding.remedy}", width - indent, subsequent_indent="   ", break_on_hyphens=False)
    for number in range(max(len(names), len(texts))):
        status = (
            click.style(f"{finding.status:{_STATUS_WIDTH}}", _COLOURS[finding.status])
            if number == 0
            else " " * _STATUS_WIDTH
        )
        name, text = (column[number] if number < len(column) else "" for column in (names, texts))
        yield f"{status}  {name:{columns}}  {text}".rstrip()
