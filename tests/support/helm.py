"""Helm's own library, in a process of its own: it brings the threads and signal handlers of Go, which do not suit the tests that fork."""

import json
import subprocess
import sys
from functools import cache
from typing import Any, Final

import yaml

from tests.support.documents import ROOT

CHART: Final = ROOT / "deploy" / "helm" / "auth-sidecar"
_REFUSED: Final = 3  # the exit code; 1 would be that of a defect


class Refused(Exception):
    """Helm refused the values; the text says why."""


def lint(values: dict[str, Any]) -> list[str]:
    """What Helm remarks about the chart."""
    return [message["error"] for message in _ask("lint", json.dumps(values))["messages"]]


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    """What a release named `orders` applies. Raises `Refused`."""
    files = _ask("render", json.dumps(values))
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


@cache
def _ask(what: str, values: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", __name__, what],
        input=values,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == _REFUSED:
        raise Refused(done.stderr)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def main() -> None:
    import helm_python  # noqa: PLC0415  in this process only

    values = json.load(sys.stdin)
    try:
        if sys.argv[1] == "lint":
            answer = helm_python.lint(str(CHART), values, strict=True)
        else:
            with helm_python.Chart.load(str(CHART)) as chart:
                answer = chart.render(values, name="orders", namespace="prod")
    except helm_python.HelmError as exc:
        sys.stderr.write(str(exc))
        sys.exit(_REFUSED)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
