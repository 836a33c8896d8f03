"""The Grafana dashboard: what is on it, and its JSON. `make docs` writes `deploy/grafana/sidecar.json` from it.

The panels are a table here, so that a test can ask a real Prometheus for each of their queries.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

_PICK: Final = 'job=~"$job", instance=~"$instance"'
_WINDOW: Final = "$__rate_interval"


class Query(NamedTuple):
    """An expression, in which `{}` stands for the chosen jobs and instances, and the name of its series."""

    text: str
    legend: str = ""

    @property
    def expr(self) -> str:
        """As Grafana gets it."""
        return (
            self.text.replace("{}", "{" + _PICK + "}").replace("{,", "{" + _PICK + ",").replace("[w]", f"[{_WINDOW}]")
        )

    @property
    def plain(self) -> str:
        """As one would ask Prometheus, for every job and instance, over a minute."""
        return self.expr.replace(_WINDOW, "1m").replace("$job", ".*").replace("$instance", ".*")


class Panel(NamedTuple):
    """A panel: `unit` is one of Grafana's. `wide`: of 24 columns. `stacked`: the series add up to something. `empty`: the
    query has no result on a sidecar without this feature."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    about: str
    kind: str = "timeseries"
    wide: int = 8
    stacked: bool = False
    empty: bool = False
    steps: tuple[tuple[float | None, str], ...] = ()


class Row(NamedTuple):
    """A row of panels."""

    title: str
    panels: tuple[Panel, ...]


def p99(histogram: str, by: str = "", pick: str = "{}", share: float = 0.99) -> str:
    """A quantile of a histogram."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{pick}[w])))"


GOOD_IS_ONE: Final = ((None, "red"), (1, "green"))
GOOD_IS_ZERO: Final = ((None, "green"), (1, "red"))
BAD_FROM: Final = {value: ((None, "green"), (value, "red")) for value in (0.001, 3.0)}

ROWS: Final = (
    Row(
        "Now",
        (
            Panel(
                "Requests",
                "reqps",
                (Query("sum(rate(sidecar_requests_total{}[w]))"),),
                "All requests on the public listener.",
                "stat",
                4,
            ),
            Panel(
                "Refused",
                "percentunit",
                (
                    Query(
                        'sum(rate(sidecar_requests_total{,decision="refused"}[w])) / sum(rate(sidecar_requests_total{}[w]))'
                    ),
                ),
                "The share of requests that were not let through.",
                "stat",
                4,
            ),
            Panel(
                "Failed by the sidecar",
                "percentunit",
                (Query("sum(rate(sidecar_own_failures_total{}[w])) / sum(rate(sidecar_requests_total{}[w]))"),),
                "Overload, the store, defects: never the caller's or the API's fault.",
                "stat",
                4,
                steps=BAD_FROM[0.001],
            ),
            Panel(
                "Store",
                "bool_on_off",
                (Query("min(sidecar_store_up{})"),),
                "1 while every process reaches its store.",
                "stat",
                3,
                steps=GOOD_IS_ONE,
            ),
            Panel(
                "Knowledge of revocations",
                "s",
                (Query("max(sidecar_revocation_feed_staleness_seconds{})"),),
                "Its age in the process that is furthest behind. Beyond store.max_staleness (5 s), protected requests get 503.",
                "stat",
                3,
                steps=BAD_FROM[3.0],
            ),
            Panel(
                "API",
                "bool_on_off",
                (Query("min(sidecar_upstream_up{})"),),
                "1 while every address of the API answers.",
                "stat",
                3,
                steps=GOOD_IS_ONE,
            ),
            Panel(
                "Workers missing",
                "none",
                (Query("sum(sidecar_workers_configured{}) - sum(sidecar_workers{})"),),
                "Configured workers that do not answer.",
                "stat",
                3,
                steps=GOOD_IS_ZERO,
            ),
        ),
    ),
    Row(
        "Requests",
        (
            Panel(
                "Requests by decision",
                "reqps",
                (Query("sum by (decision) (rate(sidecar_requests_total{}[w]))", "{{decision}}"),),
                "admitted: with a token. public: needed none. refused: not let through. local: the sidecar's own endpoints.",
                stacked=True,
            ),
            Panel(
                "Requests by status",
                "reqps",
                (Query("sum by (code) (rate(sidecar_requests_total{}[w]))", "{{code}}"),),
                "What clients got.",
                stacked=True,
            ),
            Panel(
                "Time of admitted requests",
                "s",
                (
                    Query(p99("sidecar_request_duration_seconds", pick='{,decision="admitted"}', share=0.5), "p50"),
                    Query(p99("sidecar_request_duration_seconds", pick='{,decision="admitted"}'), "p99"),
                    Query(p99("sidecar_upstream_first_byte_seconds"), "p99 until the API's first byte"),
                ),
                "Without streams and tunnels. If the API's first byte takes as long, the API is slow.",
            ),
            Panel(
                "Refusals by reason",
                "reqps",
                (
                    Query(
                        'sum by (reason) (rate(sidecar_auth_failures_total{,plane="protected"}[w])) > 0', "{{reason}}"
                    ),
                ),
                "Credentials and rights: for the security team.",
                stacked=True,
            ),
            Panel(
                "Bad requests by reason",
                "reqps",
                (Query("sum by (reason) (rate(sidecar_bad_requests_total{}[w]))", "{{reason}}"),),
                "Malformed, too large, too slow: for the authors of clients.",
                stacked=True,
            ),
            Panel(
                "Failures of the sidecar by reason",
                "reqps",
                (Query("sum by (reason) (rate(sidecar_own_failures_total{}[w]))", "{{reason}}"),),
                "For the operators of the sidecar.",
                stacked=True,
            ),
        ),
    ),
    Row(
        "Tokens and logins",
        (
            Panel(
                "Own endpoints",
                "reqps",
                (Query("sum by (endpoint, code) (rate(sidecar_oauth_requests_total{}[w]))", "{{endpoint}} {{code}}"),),
                "Requests to /oauth/… by status.",
                stacked=True,
            ),
            Panel(
                "Time of own endpoints (p99)",
                "s",
                (Query(p99("sidecar_oauth_request_duration_seconds", "endpoint"), "{{endpoint}}"),),
                "Short client secrets and passwords are hashed slowly, on purpose.",
            ),
            Panel(
                "Failed authentications",
                "reqps",
                (Query('sum by (reason) (rate(sidecar_auth_failures_total{,plane="token"}[w])) > 0', "{{reason}}"),),
                "At the token endpoint and on the login page.",
                stacked=True,
            ),
            Panel(
                "Tokens issued and revoked",
                "ops",
                (
                    Query("sum by (grant_type) (rate(sidecar_tokens_issued_total{}[w]))", "{{grant_type}}"),
                    Query("sum(rate(sidecar_tokens_revoked_total{}[w]))", "revoked"),
                ),
                "Access tokens.",
            ),
            Panel(
                "Logins and logouts",
                "ops",
                (
                    Query("sum by (result) (rate(sidecar_logins_total{}[w]))", "login {{result}}"),
                    Query("sum by (result) (rate(sidecar_logouts_total{}[w]))", "logout {{result}}"),
                ),
                "By result.",
            ),
            Panel(
                "Slow hashes",
                "none",
                (
                    Query("sum by (queue) (sidecar_slow_hashes{})", "{{queue}}"),
                    Query("sum by (queue) (sidecar_slow_hashes_limit{})", "{{queue}} limit"),
                ),
                "Passwords and short secrets that are checked or wait.",
            ),
        ),
    ),
    Row(
        "API",
        (
            Panel(
                "API servers",
                "bool_on_off",
                (Query("min by (address) (sidecar_upstream_up{})", "{{address}}"),),
                "0 while a server failed last.",
            ),
            Panel(
                "Failures of the API by reason",
                "reqps",
                (Query("sum by (reason) (rate(sidecar_upstream_failures_total{}[w]))", "{{reason}}"),),
                "No proper answer. The API's own 500 is not among them.",
                stacked=True,
            ),
            Panel(
                "Causes",
                "reqps",
                (Query("sum by (cause) (rate(sidecar_failure_causes_total{}[w]))", "{{cause}}"),),
                "docs/failures.md says what to look at for each.",
                stacked=True,
            ),
            Panel(
                "Connections to the API",
                "none",
                (
                    Query("sum by (state) (sidecar_upstream_connections{})", "{{state}}"),
                    Query("sum(sidecar_upstream_connections_limit{})", "limit"),
                ),
                "Busy ones cannot be more than the limit.",
            ),
            Panel(
                "Streams and tunnels",
                "none",
                (
                    Query("sum(sidecar_streams{})", "streams"),
                    Query("sum(sidecar_tunnels{})", "tunnels"),
                    Query("sum(sidecar_tunnels_limit{})", "tunnels limit"),
                ),
                "Open now.",
            ),
            Panel(
                "Time of the API",
                "s",
                (
                    Query(p99("sidecar_upstream_duration_seconds", share=0.5), "p50"),
                    Query(p99("sidecar_upstream_duration_seconds"), "p99"),
                ),
                "From sending a request to the end of its response.",
            ),
        ),
    ),
    Row(
        "Store",
        (
            Panel(
                "Answers of the store (p99)",
                "s",
                (Query(p99("sidecar_store_duration_seconds", "operation"), "{{operation}}"),),
                "By kind of operation. The heartbeat is sent each second.",
            ),
            Panel(
                "Errors of the store",
                "ops",
                (
                    Query("sum by (operation) (rate(sidecar_store_errors_total{}[w]))", "{{operation}}"),
                    Query('sum(rate(sidecar_store_changes_total{,state="down"}[w]))', "lost"),
                ),
                "Operations without an answer, and how often the store was lost.",
            ),
            Panel(
                "Age of that knowledge",
                "s",
                (Query("max by (instance) (sidecar_revocation_feed_staleness_seconds{})", "{{instance}}"),),
                "By process. Below a second while all is well.",
            ),
            Panel(
                "Revocations in memory",
                "none",
                (Query("max by (instance) (sidecar_revocations{})", "{{instance}}"),),
                "Of tokens that have not expired.",
            ),
            Panel(
                "Clock of the store",
                "s",
                (Query("sidecar_store_clock_skew_seconds{}", "{{instance}}"),),
                "By how much it is ahead.",
            ),
            Panel(
                "Writable",
                "bool_on_off",
                (Query("min by (instance) (sidecar_store_writable{})", "{{instance}}"),),
                "0 while nothing can be revoked.",
            ),
        ),
    ),
    Row(
        "Processes",
        (
            Panel(
                "CPU",
                "percentunit",
                (Query("rate(sidecar_process_cpu_seconds_total{}[w])", "{{instance}} {{process}}"),),
                "Of one core, by process.",
            ),
            Panel(
                "Memory",
                "bytes",
                (
                    Query("sidecar_process_resident_memory_bytes{}", "{{instance}} {{process}}"),
                    Query("sum(sidecar_memory_held_bytes{})", "held for clients"),
                    Query("sum(sidecar_memory_limit_bytes{})", "may be held for clients"),
                ),
                "Resident memory by process; what they share counts in each.",
            ),
            Panel(
                "Event loop late by (p99)",
                "s",
                (Query(p99("sidecar_event_loop_lag_seconds", "instance"), "{{instance}}"),),
                "What delays it delays every request.",
            ),
            Panel(
                "Connections and requests in flight",
                "none",
                (
                    Query("sum(sidecar_connections{})", "connections"),
                    Query("sum(sidecar_connections_limit{})", "connections limit"),
                    Query("sum(sidecar_in_flight_requests{})", "in flight"),
                    Query("sum(sidecar_in_flight_requests_limit{})", "in flight limit"),
                ),
                "Beside their limits.",
            ),
            Panel(
                "File descriptors",
                "percentunit",
                (Query("sidecar_process_open_fds{} / sidecar_process_max_fds{}", "{{instance}} {{process}}"),),
                "The share of the limit.",
            ),
            Panel(
                "Workers replaced, reloads, dropped log lines",
                "none",
                (
                    Query("sum by (cause) (increase(sidecar_workers_replaced_total{}[w]))", "worker {{cause}}"),
                    Query("sum by (result) (increase(sidecar_config_reloads_total{}[w]))", "reload {{result}}"),
                    Query("sum(increase(sidecar_log_lines_dropped_total{}[w]))", "log lines dropped"),
                ),
                "What should be rare.",
            ),
            Panel(
                "Certificates expire in",
                "s",
                (Query("min by (of) (sidecar_certificate_expiry_timestamp_seconds{}) - time()", "{{of}}"),),
                "Of the listener, the sidecar's own, and CAs.",
                empty=True,
            ),
            Panel(
                "Signing keys",
                "none",
                (Query("max by (kid, alg) (sidecar_signing_key_signs{})", "{{kid}} {{alg}}"),),
                "1 for the key that signs.",
            ),
            Panel(
                "Client secrets: last used",
                "dateTimeFromNow",
                (
                    Query(
                        "max by (client_id, secret) (sidecar_client_secret_last_used_timestamp_seconds{}) * 1000",
                        "{{client_id}} {{secret}}",
                    ),
                ),
                "The second of two secrets is the old one.",
                "stat",
            ),
        ),
    ),
)


def panels() -> Iterator[Panel]:
    """All of them, in order."""
    for row in ROWS:
        yield from row.panels


def dashboard() -> dict[str, Any]:
    """The JSON that Grafana imports."""
    return {
        "uid": "auth-sidecar",
        "title": "auth-sidecar",
        "description": "Requests, refusals by reason, tokens, the API, the store and the processes.",
        "tags": ["auth-sidecar"],
        "schemaVersion": 41,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                _source(),
                _variable("job", "sidecar_build_info"),
                _variable("instance", 'sidecar_build_info{job=~"$job"}'),
            ]
        },
        "panels": list(_placed()),
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, of: str) -> dict[str, Any]:
    query = f"label_values({of}, {name})"
    return {
        "name": name, "type": "query", "datasource": _DATASOURCE, "query": {"query": query, "refId": name}, "refresh": 2, "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip


_DATASOURCE: Final = {"type": "prometheus", "uid": "$source"}
_HEIGHT: Final = {"stat": 4, "timeseries": 8}
_COLUMNS: Final = 24


def _placed() -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for row in ROWS:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1},
        }
        number, y, x, height = number + 1, y + 1, 0, 0
        for panel in row.panels:
            if x + panel.wide > _COLUMNS:
                x, y, height = 0, y + height, 0
            yield _panel(panel, number, {"x": x, "y": y, "w": panel.wide, "h": _HEIGHT[panel.kind]})
            number, x, height = number + 1, x + panel.wide, max(height, _HEIGHT[panel.kind])
        y += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": _DATASOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
        }
        for index, query in enumerate(panel.queries)
    ]
    thresholds = {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in panel.steps]}
    custom = {
        "lineWidth": 1,
        "fillOpacity": 20 if panel.stacked else 0,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none"},
    }
    defaults: dict[str, Any] = (
        {"unit": panel.unit, "min": 0} if panel.unit != "dateTimeFromNow" else {"unit": panel.unit}
    )
    if panel.steps:
        defaults["thresholds"] = thresholds
    if panel.kind == "timeseries":
        defaults["custom"] = custom
    options = (
        {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
        if panel.kind == "timeseries"
        else {
            "reduceOptions": {"calcs": ["lastNotNull"], "values": False},
            "colorMode": "value" if panel.steps else "none",
            "textMode": "auto",
        }
    )
    return {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.about, "gridPos": place, "datasource": _DATASOURCE,
        "targets": targets, "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options,
    }  # fmt: skip


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
