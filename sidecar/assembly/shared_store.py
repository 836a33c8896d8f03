"""The store that running sidecars share, opened by a command that is not one of them."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidecar.config.settings import Settings
from sidecar.core.ports import Store
from sidecar.stores import open_store


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """The store of the settings, until the block ends."""
    store = open_store(
        settings.store.url.get_secret_value(),
        prefix=settings.store.prefix,
        partitions=settings.store.partitions,
        timeout=settings.store.timeout,
        max_staleness=settings.store.max_staleness,
        clock=time.time,
        monotonic=time.monotonic,
        emit=lambda _: None,
    )
    try:
        yield store
    finally:
        await store.close()
