"""A collector of traces on loopback: takes what OTLP exporters send over HTTP, and lets a test wait for spans."""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.processes.patience import GUARD_SECONDS

KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"]
FAILED = 2  # the code of a status


@dataclass(frozen=True)
class Received:
    """A span as it came."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    failed: bool


class Collector:
    """Listens from its start to its end. With `hold` it takes requests and never answers."""

    def __init__(self, hold: bool = False) -> None:
        self.spans: list[Received] = []
        self._news = threading.Condition()
        self._over = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                if hold:
                    collector._over.wait()
                    return
                collector._take(ExportTraceServiceRequest.FromString(data))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Collector":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def wait(self, name: str) -> Received:
        """The first span of that name."""
        with self._news:
            assert self._news.wait_for(lambda: self.named(name), GUARD_SECONDS), [span.name for span in self.spans]
            return self.named(name)[0]

    def named(self, name: str) -> list[Received]:
        return [span for span in self.spans if span.name == name]

    def _take(self, request: Any) -> None:
        with self._news:
            for group in request.resource_spans:
                resource = _plain(group.resource.attributes)
                for span in (span for scope in group.scope_spans for span in scope.spans):
                    self.spans.append(
                        Received(
                            span.name,
                            KINDS[span.kind],
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            _plain(span.attributes),
                            resource,
                            span.status.code == FAILED,
                        )
                    )
            self._news.notify_all()


def _plain(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}
