"""The pods with the sidecar: what a cluster showed to go wrong is right, and the configuration is true to the program."""

import re
from pathlib import Path

import pytest

from sidecar.config.advice import advice
from sidecar.core.capacity import fitting, for_clients, price
from sidecar.runtime.ending import GRACE
from tests.support.manifests import (
    K8S,
    OVERLAYS,
    REDIS_URL,
    Document,
    container,
    containers,
    memory,
    named,
    pod,
    rendered,
    settings_of,
)  # fmt: skip

MIB = 1024**2
PROCESS = 80 * MIB
"""Of a sidecar that has no client, and of a command beside it: `sidecar drain` in preStop, or `sidecar doctor`."""
NATIVE = [overlay for overlay in OVERLAYS if overlay not in ("classic", "standalone")]
IN_THE_POD = [overlay for overlay in OVERLAYS if overlay != "standalone"]


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def sidecar(overlay: str) -> Document:
    return container(rendered(overlay), "sidecar")


def spec(overlay: str) -> Document:
    return pod(named(rendered(overlay), "Deployment"))


def test_its_configuration_is_accepted(overlay: str, tmp_path: Path) -> None:
    """By our own loader, from the files of the mounted folder, and without a remark."""
    settings = settings_of(rendered(overlay), tmp_path)
    assert advice(settings, now=0) == []
    ports = {port["name"]: port["containerPort"] for port in sidecar(overlay)["ports"]}
    assert ports == {"http": settings.listen.address.port, "metrics": settings.admin.listen.port}
    assert settings.store.url.get_secret_value() == REDIS_URL


def test_the_secrets_are_those_of_the_readme(tmp_path: Path) -> None:
    asked = set(re.findall(r"\$\{file:([^}]+)\}", (K8S / "orders-api" / "sidecar.yaml").read_text()))
    made = set(re.findall(r"(?:--out|>) secrets/([\w.-]+)", (K8S / "README.md").read_text()))
    assert asked <= made
    assert asked == named(rendered("example"), "Secret", "orders-api-sidecar")["data"].keys()


@pytest.mark.parametrize("overlay", IN_THE_POD)
def test_the_api_is_reachable_through_the_sidecar_only(overlay: str, tmp_path: Path) -> None:
    api = container(rendered(overlay), "api")
    listen = api["command"][-1]
    assert listen.startswith("127.0.0.1:")
    assert settings_of(rendered(overlay), tmp_path).upstream.url == (f"http://{listen}",)
    assert "ports" not in api
    assert not [probe for probe in api if probe.endswith("Probe")], "the kubelet does not reach loopback"


@pytest.mark.parametrize("overlay", NATIVE)
def test_the_sidecar_is_native_and_starts_first(overlay: str) -> None:
    first = spec(overlay)["initContainers"][0]
    assert (first["name"], first["restartPolicy"]) == ("sidecar", "Always")


@pytest.mark.parametrize("overlay", ["classic", "standalone"])
def test_elsewhere_it_is_an_ordinary_container(overlay: str) -> None:
    """Otherwise the same."""
    assert "initContainers" not in spec(overlay)
    assert sidecar(overlay) == {key: value for key, value in sidecar("example").items() if key != "restartPolicy"}


# What a cluster showed.


@pytest.mark.parametrize("overlay", NATIVE)
def test_a_native_sidecar_drains_before_the_api_ends(overlay: str, tmp_path: Path) -> None:
    """It gets SIGTERM only after the API has ended. So its own preStop begins the drain, beside the preStop of the API."""
    settings = settings_of(rendered(overlay), tmp_path)
    assert sidecar(overlay)["lifecycle"]["preStop"]["exec"]["command"] == [
        "sidecar", "drain", "--config", "/etc/sidecar/sidecar.yaml",
    ]  # fmt: skip
    sleep = container(rendered(overlay), "api")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep > settings.drain.delay
    assert sleep >= settings.drain.delay + settings.drain.timeout, "requests have drain.timeout before the API is told"
    for_the_api = 30
    assert spec(overlay)["terminationGracePeriodSeconds"] >= sleep + for_the_api + settings.drain.timeout + GRACE


def test_the_api_outlives_an_ordinary_sidecar(tmp_path: Path) -> None:
    """Both get SIGTERM after their own preStop."""
    settings = settings_of(rendered("classic"), tmp_path)
    drained = settings.drain.delay + settings.drain.timeout + GRACE
    program, sleep = container(rendered("classic"), "api")["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert drained < int(sleep) < spec("classic")["terminationGracePeriodSeconds"]


def test_a_standalone_sidecar_has_the_time_to_drain(tmp_path: Path) -> None:
    settings = settings_of(rendered("standalone"), tmp_path)
    drained = settings.drain.delay + settings.drain.timeout + GRACE
    assert drained < spec("standalone")["terminationGracePeriodSeconds"]


def test_services_and_policies_have_numbers_for_ports(overlay: str, tmp_path: Path) -> None:
    """Names of ports of init containers resolve from Kubernetes 1.33 on, and in some network plugins not at all."""
    settings = settings_of(rendered(overlay), tmp_path)
    for document in rendered(overlay):
        if document["kind"] == "Service":
            assert all(isinstance(port["targetPort"], int) for port in document["spec"]["ports"])
        if document["kind"] == "NetworkPolicy":
            for rule in (*document["spec"].get("ingress", []), *document["spec"].get("egress", [])):
                assert all(isinstance(port["port"], int) for port in rule["ports"])
    name = named(rendered(overlay), "Deployment")["metadata"]["name"]
    service = named(rendered(overlay), "Service", name)
    assert [port["targetPort"] for port in service["spec"]["ports"]] == [settings.listen.address.port]


def test_replicas_are_spread(overlay: str) -> None:
    """Without a selector, all of them may run on one node. `test_manifests` compares the selector with the pods."""
    (constraint,) = spec(overlay)["topologySpreadConstraints"]
    assert constraint["labelSelector"]["matchLabels"]
    assert constraint["matchLabelKeys"] == ["pod-template-hash"]


def test_pods_that_are_not_ready_do_not_stop_a_drain_of_the_node(overlay: str) -> None:
    for document in rendered(overlay):
        if document["kind"] == "PodDisruptionBudget":
            assert document["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
            assert document["spec"]["maxUnavailable"] == 1


def test_without_redis_the_pods_stay_ready(overlay: str, tmp_path: Path) -> None:
    """Otherwise the Service refuses connections, and clients learn nothing."""
    assert settings_of(rendered(overlay), tmp_path).admin.ready_needs_store is False


def test_memory_and_limits_fit(overlay: str, tmp_path: Path) -> None:
    """Clients without a token fill what limits.memory allows. A command beside the process still fits, and no connection that is
    configured is one too many."""
    settings = settings_of(rendered(overlay), tmp_path)
    assert settings.workers == 1
    assert settings.limits.memory is not None
    limit = memory(sidecar(overlay)["resources"]["limits"]["memory"])
    assert settings.limits.memory <= for_clients(limit - 2 * PROCESS)
    wanted = settings.limits.connections
    assert fitting(wanted, settings.limits.memory, price(secure=settings.tls is not None)) == wanted


def test_changes_reach_the_process(overlay: str) -> None:
    """A folder is mounted. With subPath, the kubelet would never change it; and no other container has the secrets."""
    for each in containers(spec(overlay)):
        assert not [mount for mount in each.get("volumeMounts", []) if "subPath" in mount]
        if each["name"] != "sidecar":
            assert "volumeMounts" not in each
    mounts = {mount["name"]: mount["mountPath"] for mount in sidecar(overlay)["volumeMounts"]}
    assert mounts["sidecar"] == "/etc/sidecar"
    for document in rendered(overlay):
        if document["kind"] in ("ConfigMap", "Secret"):
            assert not re.search(r"-[a-z0-9]{10}$", document["metadata"]["name"]), "a hash would make another object"


def test_a_configuration_with_faults_shows_in_describe(overlay: str) -> None:
    assert sidecar(overlay)["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_probes_use_the_admin_listener(overlay: str) -> None:
    paths = {probe: sidecar(overlay)[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {call["port"] for call in paths.values()} == {9464}
    assert [call["path"] for call in paths.values()] == ["/healthz", "/readyz", "/healthz"]


def test_the_admin_port_is_closed_to_most(overlay: str) -> None:
    name = named(rendered(overlay), "Deployment")["metadata"]["name"]
    public, admin = named(rendered(overlay), "NetworkPolicy", f"{name}-ingress")["spec"]["ingress"]
    assert [port["port"] for port in public["ports"]] == [3030]
    assert [port["port"] for port in admin["ports"]] == [9464]
    assert admin["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_what_the_pods_may_reach_is_limited(overlay: str) -> None:
    name = named(rendered(overlay), "Deployment")["metadata"]["name"]
    policy = named(rendered(overlay), "NetworkPolicy", f"{name}-egress")["spec"]
    assert policy["policyTypes"] == ["Egress"]
    assert all(rule["to"] for rule in policy["egress"]), "no rule is for every address"
    reached = [sorted({port["port"] for port in rule["ports"]}) for rule in policy["egress"]]
    assert reached == [[53], [6379, 26379]] + ([[3080]] if overlay == "standalone" else [])


def test_the_standalone_sidecar_is_the_only_way_to_the_api() -> None:
    policy = named(rendered("standalone"), "NetworkPolicy", "orders-api-behind-sidecar")["spec"]
    labels = named(rendered("standalone"), "Deployment")["spec"]["selector"]["matchLabels"]
    (rule,) = policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": labels}}]


def test_the_pods_of_redis_admit_only_those_of_the_application() -> None:
    policy = named(rendered("redis-sentinel"), "NetworkPolicy", "redis")["spec"]
    (rule,) = policy["ingress"]
    for name in ("Deployment", "StatefulSet"):
        labels = named(rendered("redis-sentinel"), name)["spec"]["template"]["metadata"]["labels"]
        assert rule["from"][0]["podSelector"]["matchLabels"].items() <= labels.items()
