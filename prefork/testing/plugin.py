"""The pytest fixtures `prefork_server` and `prefork_cluster`. Whatever they start is ended with the test.

pytest loads this at every start, in projects that do not use it too: what is heavy is imported by the fixtures.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from prefork.testing.cluster import Cluster
    from prefork.testing.thread import ThreadedServer


class StartCluster(Protocol):
    """The type of `prefork_cluster`."""

    def __call__(self, target: object, *, workers: int = 2, **settings: Any) -> "Cluster":
        """Start, and wait until the workers serve. Raises ClusterError with the log."""


@pytest.fixture
def prefork_server() -> "Iterator[Callable[..., ThreadedServer]]":
    """`server = prefork_server(app, **settings)` serves an app in this process, on a thread with a loop of its own, at
    `server.url`. Takes what `prefork.Server` takes, and raises what its start raises."""
    from prefork.testing.thread import ThreadedServer

    servers: list[ThreadedServer] = []

    def start(app: object, **settings: Any) -> ThreadedServer:
        server = ThreadedServer(app, **settings)
        servers.append(server)
        return server

    yield start
    errors = []
    for server in reversed(servers):
        try:
            server.stop()
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


@pytest.fixture
def prefork_cluster() -> Iterator[StartCluster]:
    """`cluster = prefork_cluster("module:app", workers=2, **settings)` serves an app with real processes, at
    `cluster.url`: `prefork serve`, as an operator runs it. What it logs is shown when the test fails."""
    from prefork.testing.cluster import Cluster

    clusters: list[Cluster] = []

    def start(target: object, *, workers: int = 2, **settings: Any) -> Cluster:
        cluster = Cluster(target, workers=workers, **settings)
        clusters.append(cluster)
        cluster.wait_ready()
        return cluster

    yield start
    for cluster in reversed(clusters):
        cluster.close()
        print(f"log of prefork serve {cluster.target}:\n{cluster.log}")  # noqa: T201  # pytest shows it where it matters
