"""The demo's API server: orders without any authentication. Most responses echo the request that it received."""

import json
import sys
from typing import Final

import click
from aiohttp import web

ORDERS: Final = {1: {"id": 1, "item": "lamp", "price": 30}, 2: {"id": 2, "item": "chair", "price": 80}}


def orders_api() -> web.Application:
    """The API: `/orders` (200), `/orders/{id}` (200, 204, 404), `/broken` (500), `/health` (200)."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/health", _health),
            web.get("/orders", _orders),
            web.get(r"/orders/{id:\d+}", _order),
            web.delete(r"/orders/{id:\d+}", _delete),
            web.post("/orders", _create),
            web.get("/broken", _broken),
        ]
    )
    return app


async def _answer(request: web.Request, status: int, **fields: object) -> web.Response:
    received = {
        "method": request.method,
        "target": request.raw_path,
        "headers": [[name, value] for name, value in request.headers.items()],
        "body": (await request.read()).decode("utf-8", "replace"),
    }
    text = json.dumps({**fields, "received": received}, indent=2) + "\n"
    return web.Response(status=status, text=text, content_type="application/json")


async def _health(_: web.Request) -> web.Response:
    return web.Response(text='{"status": "ok"}\n', content_type="application/json")


async def _orders(request: web.Request) -> web.Response:
    return await _answer(request, 200, orders=list(ORDERS.values()))


async def _order(request: web.Request) -> web.Response:
    order = ORDERS.get(int(request.match_info["id"]))
    if order is None:
        return await _answer(request, 404, error="no such order")
    return await _answer(request, 200, order=order)


async def _create(request: web.Request) -> web.Response:
    return await _answer(request, 201)


async def _delete(_: web.Request) -> web.Response:
    return web.Response(status=204)


async def _broken(request: web.Request) -> web.Response:
    return await _answer(request, 500, error="broken on purpose")


@click.command()
@click.option("--listen", default="127.0.0.1:3080", show_default=True, help="HOST:PORT")
def main(listen: str) -> None:
    """Run the API on its own: something to protect when there is nothing yet."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise click.UsageError("write --listen as HOST:PORT, such as 127.0.0.1:3080")
    try:
        where = f"http://{host}:{port}"
        shown = f"the orders API listens on {where}; try: curl {where}/orders (Ctrl-C ends it)"
        web.run_app(
            orders_api(), host=host.strip("[]"), port=int(port), access_log=None, print=lambda *_: click.echo(shown)
        )
    except OSError as exc:
        click.echo(f"Error: cannot listen on {listen}: {exc.strerror or exc}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
