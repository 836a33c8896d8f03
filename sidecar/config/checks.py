"""Checks that span sections.

Each check works on the document as read, not on the models, so that its faults are reported together with those within the
sections.
"""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from sidecar.config.document import entries
from sidecar.config.faults import NAMED, Fault
from sidecar.config.settings import SigningKey
from sidecar.config.values import parse_address
from sidecar.core.jose.keys import Window
from sidecar.core.partitions import hash_tag


def cross_faults(document: dict[str, Any]) -> list[Fault]:
    """Return every fault between sections, and between the entries of a list."""
    return [
        *_duplicates(document, "clients"),
        *_duplicates(document, "users"),
        *_users_named_like_clients(document),
        *_duplicates(document, "tokens.signing_keys"),
        *_workers_share_state(document),
        *_keys_have_a_slot(document),
        *_proxies_are_known(document),
        *_upstream_is_ourselves(document),
    ]


def signing_faults(signing_keys: tuple[SigningKey, ...], now: float) -> list[Fault]:
    """Return a fault when no key may sign at `now` (epoch seconds)."""
    windows = [Window(key.not_before, key.not_after) for key in signing_keys if key.public_key is None]
    if any(window.holds(now) for window in windows):
        return []
    text = "no key may sign now: each is retired (not_after) or not yet begun (not_before); see sidecar keys list"
    return [Fault("tokens.signing_keys", text)]


def _duplicates(document: dict[str, Any], where: str) -> list[Fault]:
    key, first = NAMED[where], dict[str, int]()
    faults = []
    for index, item in enumerate(entries(document, where)):
        name = _get(item, key)
        if not isinstance(name, str):
            continue
        if name in first:
            faults.append(Fault(f"{where}[{index}].{key}", f"is the same as {where}[{first[name]}].{key}"))
        first.setdefault(name, index)
    return faults


def _get(entry: object, key: str) -> object:
    return entry.get(key) if isinstance(entry, dict) else None


def _users_named_like_clients(document: dict[str, Any]) -> list[Fault]:
    """A user must not share a name with a client: the tokens of both would have the same `sub` (RFC 9700 section 4.15)."""
    users, clients = entries(document, "users"), entries(document, "clients")
    ids = {name: index for index, client in enumerate(clients) if isinstance(name := _get(client, "client_id"), str)}
    return [
        Fault(
            f"users[{index}].username",
            f"is the same as clients[{ids[name]}].client_id: name one of them otherwise",
        )
        for index, user in enumerate(users)
        if isinstance(name := _get(user, "username"), str) and name in ids
    ]


def _workers_share_state(document: dict[str, Any]) -> list[Fault]:
    workers, store = document.get("workers", 1), document.get("store") or {}
    url = store.get("url", "memory://") if isinstance(store, dict) else ""
    if isinstance(workers, int) and workers > 1 and isinstance(url, str) and url.startswith("memory:"):
        text = "more than one worker needs a store they share: set store.url to redis://…, or workers to 1"
        return [Fault("workers", text)]
    return []


def _keys_have_a_slot(document: dict[str, Any]) -> list[Fault]:
    store = document.get("store")
    url, prefix = (_get(store, "url"), _get(store, "prefix") or "{sidecar}")
    if not isinstance(url, str) or not isinstance(prefix, str) or hash_tag(prefix) is not None:
        return []
    if url.startswith(("redis+cluster:", "rediss+cluster:")):
        text = (
            "needs a name in braces with a Cluster, such as {sidecar}: it keeps keys together that change in one step"
        )
        return [Fault("store.prefix", text)]
    return []


def _proxies_are_known(document: dict[str, Any]) -> list[Fault]:
    listen = document.get("listen")
    if isinstance(listen, dict) and listen.get("proxy_protocol") is True and not document.get("trusted_proxies"):
        text = "needs trusted_proxies: name the load balancers that may say who a client is, such as 10.0.0.0/8"
        return [Fault("listen.proxy_protocol", text)]
    return []


def _upstream_is_ourselves(document: dict[str, Any]) -> list[Fault]:
    upstream, admin = document.get("upstream"), document.get("admin") or {}
    url = upstream.get("url") if isinstance(upstream, dict) else None
    listen = document.get("listen", {})
    ours = {"listen": listen.get("address", "0.0.0.0:3030") if isinstance(listen, dict) else listen}
    if isinstance(admin, dict):
        ours["admin.listen"] = admin.get("listen", "127.0.0.1:9464")
    return [
        Fault("upstream.url", f"is the sidecar's own listener ({name}): name the API server's address")
        for each in (url if isinstance(url, list) else [url])
        for name, address in ours.items()
        if _is_at(each, address)
    ]


def _is_at(url: object, listener: object) -> bool:
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        address = parse_address(listener)
    except (ValueError, PydanticCustomError):
        return False
    return parts.hostname is not None and address.port == port and _same_host(parts.hostname, address.host)


def _same_host(upstream: str, listener: str) -> bool:
    def kind(host: str) -> str:
        if host == "localhost":
            return "loopback"
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host.lower()
        if address.is_unspecified:
            return "any"
        return "loopback" if address.is_loopback else str(address)

    left, right = kind(upstream), kind(listener)
    return left == right or "any" in (left, right)
