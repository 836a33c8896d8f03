"""Where a new connection goes."""

from sidecar.core.ports import StoreUnavailable
from sidecar.core.store_address import Host
from sidecar.stores.redis.route import ROUND_TRIPS, FixedRoute, FollowedRoute

FIRST, SECOND = Host("a", 1), Host("b", 2)


class Moving:
    """A route to a server that moves."""

    checks_role = True

    def __init__(self) -> None:
        self.host = FIRST
        self.doubted: list[Host] = []
        self.closed = False

    async def find(self) -> Host:
        return self.host

    def doubt(self, host: Host) -> None:
        self.doubted.append(host)

    def moved(self, to: Host | None) -> bool:
        return to is not None

    async def close(self) -> None:
        self.closed = True


async def test_a_fixed_route_leads_to_one_server() -> None:
    route = FixedRoute(FIRST)
    route.doubt(FIRST)
    assert not route.moved(SECOND)
    await route.close()
    assert await route.find() == FIRST
    assert not route.checks_role


async def test_a_followed_route_knows_where_it_led_last() -> None:
    moving = Moving()
    route = FollowedRoute(moving, Host("not asked", 0))
    assert str(route) == "not asked:0"
    assert await route.find() == route.last == FIRST
    moving.host = SECOND
    assert route.last == FIRST
    assert await route.find() == route.last == SECOND
    route.doubt()
    route.doubt(FIRST)
    assert moving.doubted == [SECOND, FIRST]
    assert (route.moved(SECOND), route.moved(None), route.checks_role) == (True, False, True)
    await route.close()
    assert moving.closed


async def test_an_attempt_that_came_to_nothing_gives_the_next_one_more_time_until_there_is_another_server() -> None:
    moving = Moving()
    route = FollowedRoute(moving, FIRST)
    given = [route.patience]
    for _ in range(4):
        route.late()
        given.append(route.patience)
    assert given == [1, 2, 4, ROUND_TRIPS, ROUND_TRIPS]
    await route.find()
    assert route.patience == ROUND_TRIPS
    moving.host = SECOND
    await route.find()
    assert route.patience == 1
    assert FollowedRoute(FixedRoute(FIRST), FIRST).patience == ROUND_TRIPS


async def test_a_search_that_fails_changes_nothing() -> None:
    moving = Moving()
    route = FollowedRoute(moving, FIRST)

    async def fail() -> Host:
        raise StoreUnavailable("nobody answers")

    moving.find = fail  # type: ignore[method-assign]
    try:
        await route.find()
    except StoreUnavailable:
        assert route.last == FIRST
