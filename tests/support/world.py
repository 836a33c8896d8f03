"""Everything that can fail, as real processes, with clients of every kind that are watched: `world`."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.api import ApiServer
from tests.support.probes import GOOD, Probes
from tests.support.process import COMMAND, Sidecar, configuration
from tests.support.redis import RedisServer, free_port
from tests.support.switch import Switch
from tests.support.topologies import ClusterSet, SentinelSet
from tests.support.traffic import CLIENTS

QUICK: Final = {"timeout": "500ms", "max_staleness": "2s"}
"""A section `store` for faults that are over sooner. Otherwise the defaults hold."""
_DEFAULT_STALENESS: Final = "5s"
_LATE: Final = 0.5  # seconds by which an answer may be seen late on a busy machine
_TABLE: Final = os.environ.get("FAULTS_TABLE", "")

Servers = RedisServer | SentinelSet | ClusterSet


class World:
    """A sidecar between clients, an API server and its store. `link` is between the sidecar and a single Redis."""

    def __init__(
        self, folder: Path, servers: Servers, link: Switch | None, api: ApiServer, config: dict[str, Any]
    ) -> None:
        self.folder = folder
        self.servers = servers
        self.api = api
        self.config = config
        self.sidecar: Sidecar
        self._link = link

    @property
    def redis(self) -> RedisServer:
        """The single server."""
        assert isinstance(self.servers, RedisServer)
        return self.servers

    @property
    def link(self) -> Switch:
        """The network to the single server."""
        assert self._link
        return self._link

    def stop(self, *raised: Any) -> None:
        """End the sidecar that serves now, as when its context is left."""
        self.sidecar.__exit__(*raised)

    def probes(self, *, extra: Mapping[str, Sequence[str]] | None = None, everywhere: Sequence[str] = ()) -> Probes:
        """Clients. While the fault lasts, a kind may also get its `extra` codes, and each kind those of `everywhere`."""
        staleness = float(self.config["store"].get("max_staleness", _DEFAULT_STALENESS).removesuffix("s"))
        more = {kind: [*(extra or {}).get(kind, ()), *everywhere] for kind in GOOD}
        return Probes(lambda: self.sidecar, workers=self.config["workers"], bound=staleness + _LATE, more=more)


@contextlib.contextmanager
def world(
    folder: Path,
    *,
    workers: int,
    servers: Servers | None = None,
    linked: bool = False,
    store: Mapping[str, Any] | None = None,
    command: Sequence[str] = COMMAND,
    kind: type[Sidecar] = Sidecar,
    **sections: Any,
) -> Iterator[World]:
    """A world that is ready. `servers` is its store, a `RedisServer` unless it is given; `linked`: with a `link` to it."""
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(ApiServer())
        used = servers or stack.enter_context(RedisServer())
        link = stack.enter_context(Switch(used.port)) if linked and isinstance(used, RedisServer) else None
        config = configuration(
            api.url,
            clients=CLIENTS,
            workers=workers,
            listen=f"127.0.0.1:{free_port()}",
            admin={"listen": f"127.0.0.1:{free_port()}"},
            store={"url": link.url if link else used.url, **(store or {})},
            routes=[{"path": "/open/**", "access": "public"}, {"path": "/open", "access": "public"}],
        )
        made = World(folder, used, link, api, {**config, **sections})
        made.sidecar = kind(folder, made.config, command)
        stack.push(made.stop)
        made.sidecar.ready(within=20)
        yield made
        assert not made.sidecar.records("internal_error")
        assert "Traceback" not in "".join(made.sidecar.logs)


def told(name: str, probes: Probes, recovery: float) -> None:
    """Add a row to the table of what clients saw, in the file that the environment variable FAULTS_TABLE names."""
    if _TABLE:
        cells = [name, *(probes.summary(kind) for kind in GOOD), f"{probes.longest:.2f}", f"{recovery:.1f}"]
        with Path(_TABLE).open("a") as table:
            table.write(f"| {' | '.join(cells)} |\n")
