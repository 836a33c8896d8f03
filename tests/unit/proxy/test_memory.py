"""proxy.memory: the sum is exact, and the right ones are refused."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from sidecar.proxy.memory import MemoryBudget


class Client:
    """Holds what it is told; `shrinks_to` is what it finds when it is weighed."""

    def __init__(self, name: str, budget: "MemoryBudget[Client]", *, admitted: bool = False) -> None:
        self.name = name
        self.held = 0
        self.admitted = admitted
        self.shrinks_to: int | None = None
        self._budget = budget

    def weigh(self) -> None:
        if self.shrinks_to is not None:
            self._budget.hold(self, self.shrinks_to)


class Worker:
    """A budget of `limit` bytes, and who was `refused`."""

    def __init__(self, limit: int, *, each: int = 0, connections: int = 0) -> None:
        self.refused: list[str] = []
        self.connections = connections
        self.budget: MemoryBudget[Client] = MemoryBudget(
            limit, each, connections=lambda: self.connections, refuse=self.refuse
        )

    def refuse(self, client: Client) -> None:
        self.refused.append(client.name)
        self.budget.hold(client, 0)
        self.budget.relieve()  # as a client does that holds something else then

    def clients(self, sizes: Sequence[int], *, admitted: bool = False, prefix: str = "") -> list[Client]:
        made = [Client(f"{prefix}{number}", self.budget, admitted=admitted) for number in range(len(sizes))]
        for client, size in zip(made, sizes, strict=True):
            self.budget.hold(client, size)
        return made


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1000)), max_size=50), st.integers(0, 10))
def test_the_sum_is_that_of_the_parts(steps: list[tuple[int, int]], connections: int) -> None:
    worker = Worker(10**9, each=7, connections=connections)
    clients = worker.clients([0] * 5)
    for which, size in steps:
        worker.budget.hold(clients[which], size)
        assert worker.budget.held == sum(client.held for client in clients) + 7 * connections
        assert f"{sum(client.held > 0 for client in clients)} holders" in repr(worker.budget)


def test_within_the_limit_no_one_is_refused() -> None:
    worker = Worker(100)
    worker.clients([50, 50])
    worker.budget.relieve()
    assert worker.refused == []


def test_those_who_hold_most_are_refused_until_an_eighth_is_free() -> None:
    worker = Worker(800)
    worker.clients([300, 10, 200, 250, 50, 60])
    worker.budget.relieve()
    assert worker.refused == ["0"]
    assert worker.budget.held == 570
    worker = Worker(800)
    worker.clients([100, 90, 80, 110, *[60] * 8])
    worker.budget.relieve()
    assert worker.refused == ["3", "0"]
    assert worker.budget.held == 650


def test_of_several_who_hold_the_same_the_newest_are_refused() -> None:
    worker = Worker(80)
    clients = worker.clients([10] * 9)
    worker.budget.hold(clients[0], 9)
    worker.budget.hold(clients[0], 10)  # it still is the first who began
    worker.budget.relieve()
    assert worker.refused == ["8", "7"]


def test_who_begins_anew_is_new() -> None:
    worker = Worker(80)
    clients = worker.clients([10] * 9)
    worker.budget.hold(clients[0], 0)
    worker.budget.hold(clients[0], 10)
    worker.budget.relieve()
    assert worker.refused == ["0", "8"]


def test_owners_of_tokens_come_last_and_lose_no_more_than_necessary() -> None:
    worker = Worker(800)
    worker.clients([200] * 4, admitted=True, prefix="owner ")
    worker.clients([20, 10], prefix="stranger ")
    worker.budget.relieve()
    assert worker.refused == ["stranger 0", "stranger 1"]
    assert worker.budget.held == 800
    worker.clients([100], admitted=True, prefix="late owner ")
    worker.budget.relieve()
    assert worker.refused[2:] == ["owner 3"]


def test_who_holds_less_by_now_is_not_refused_for_what_it_held() -> None:
    worker = Worker(100)
    first, _ = worker.clients([90, 20])
    first.shrinks_to = 5
    worker.budget.relieve()
    assert worker.refused == []
    assert worker.budget.held == 25


def test_connections_have_their_price() -> None:
    worker = Worker(100, each=10, connections=5)
    worker.clients([50])
    worker.budget.relieve()
    assert worker.refused == []
    worker.connections = 6
    worker.budget.relieve()
    assert worker.refused == ["0"]
    assert worker.budget.held == 60


def test_limit_and_price_can_be_replaced_at_any_time() -> None:
    worker = Worker(100, each=10, connections=1)
    worker.clients([40, 45])
    worker.budget.limit = 90
    worker.budget.relieve()
    assert worker.refused == ["1"]
    worker.budget.each = 60
    worker.budget.relieve()
    assert worker.refused == ["1", "0"]
