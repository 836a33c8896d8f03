"""Known vulnerabilities of installed packages, by pip-audit. `python -m tests.support.audit FOLDER`, in an environment with
pip-audit. What its service does not know is said: silence would look like a clean result. Exit code 1 for a vulnerability.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

_OURS: Final = "auth-sidecar"


class Audit(NamedTuple):
    """What is known: vulnerabilities, each in a line; the packages without one; and those that nobody knows anything about."""

    vulnerable: list[str]
    clean: list[str]
    unknown: list[str]


def read(packages: Iterable[Mapping[str, Any]]) -> Audit:
    """Sort the entries of pip-audit's JSON. A package of ours is left out."""
    found = Audit([], [], [])
    for each in packages:
        if each["name"] == _OURS:
            continue
        if "skip_reason" in each:
            found.unknown.append(each["name"])
        elif each["vulns"]:
            found.vulnerable.extend(
                f"{each['name']} {each['version']}: {vuln['id']}, fixed in {', '.join(vuln['fix_versions']) or 'no version'}"
                for vuln in each["vulns"]
            )
        else:
            found.clean.append(each["name"])
    return found


def main(folder: str) -> int:
    tool = Path(sys.executable).with_name("pip-audit")
    words = [str(tool), "--format", "json", "--progress-spinner", "off", "--path", folder]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        audit = read(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        print(done.stderr, file=sys.stderr)
        return 1
    for line in audit.vulnerable:
        print(f"VULNERABLE {line}")
    if audit.unknown:
        print(f"NOT AUDITED, because the service did not answer for them: {', '.join(audit.unknown)}")
    print(f"{len(audit.clean)} packages without a known vulnerability")
    return 1 if audit.vulnerable else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
