"""OpenTelemetry's tracer provider: the app's, or one that the standard OTEL_* variables describe, made after the fork.

Nothing of OpenTelemetry is imported before it is asked for (--otel), and never in the master.
"""

import atexit
import importlib.util
import os
import socket
import threading
from importlib.metadata import entry_points
from typing import Any, Final

from prefork.errors import UsageError
from prefork.system import log

FLUSH_SECONDS: Final = 1.0  # for what a process has not sent yet when it ends; the rest is lost
DEFAULT_EXPORTER: Final = "otlp"
_EXPORTERS: Final = "opentelemetry_traces_exporter"  # the group of entry points that exporters register in
_OTLP: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}  # the protocol we prefer comes first

service = "prefork"  # its name, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has one
_ensured = False


def check() -> None:
    """Whether there can be traces. Raises UsageError."""
    try:
        found = importlib.util.find_spec("opentelemetry.trace")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise UsageError("--otel needs opentelemetry-api: pip install prefork[otel]")


def load() -> None:
    """Import what reads the environment. Raises UsageError for a propagator that is not there."""
    try:
        import opentelemetry.propagate  # noqa: F401 (for what it does)
    except ValueError as error:
        raise UsageError(f"OTEL_PROPAGATORS: {error}") from None


def ensure_provider() -> None:
    """Have a tracer provider in this process, which forks no more: the app's, if it has set one. Raises UsageError when
    ours cannot be made."""
    global _ensured
    if _ensured:
        return
    _ensured = True
    from opentelemetry import trace

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(_make_provider())
    atexit.register(flush)


def flush() -> None:
    """Send what has not been sent, for FLUSH_SECONDS at most: a collector that does not answer holds up nobody."""
    from opentelemetry import trace

    send: Any = getattr(trace.get_tracer_provider(), "force_flush", None)
    if send is not None:
        thread = threading.Thread(target=_try, args=(send,), name="prefork-otel-flush", daemon=True)
        thread.start()
        thread.join(FLUSH_SECONDS)


def _try(send: Any) -> None:
    try:
        send(int(FLUSH_SECONDS * 1000))
    except Exception:
        pass  # exporters log what they cannot send


def _make_provider() -> Any:
    """As `opentelemetry-instrument` would make it: sampler, limits, resource and exporters from the environment."""
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise UsageError(
            "--otel: the app sets no tracer provider, and ours needs opentelemetry-sdk: pip install prefork[otel]"
        ) from None
    try:
        # Without the SDK's own handler at exit, which would wait for a collector that does not answer.
        provider = TracerProvider(resource=Resource.create(_resource()), shutdown_on_exit=False)
        for name in os.environ.get("OTEL_TRACES_EXPORTER", DEFAULT_EXPORTER).split(","):
            if name.strip() not in ("", "none"):
                provider.add_span_processor(BatchSpanProcessor(_exporter(name.strip())))
    except ValueError as error:
        raise UsageError(f"--otel: OpenTelemetry refuses an OTEL_* variable: {error}") from None
    return provider


def _resource() -> dict[str, str | int]:
    about: dict[str, str | int] = {"process.pid": os.getpid(), "host.name": socket.gethostname()}
    about |= {f"prefork.{key}": value for key, value in log.identity().items() if isinstance(value, str | int)}
    given = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in given:
        about["service.name"] = service
    return about


def _exporter(name: str) -> Any:
    wanted = [name]
    if name == DEFAULT_EXPORTER:
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        if protocol and protocol not in _OTLP:
            raise UsageError(f"OTEL_EXPORTER_OTLP_PROTOCOL = {protocol}: must be one of {', '.join(_OTLP)}")
        wanted = [_OTLP[protocol]] if protocol else list(_OTLP.values())
    for one in wanted:
        for entry in entry_points(group=_EXPORTERS, name=one):
            try:
                return entry.load()()
            except ImportError as error:
                raise UsageError(f"OTEL_TRACES_EXPORTER = {name}: {error}") from None
    package = f"opentelemetry-exporter-{wanted[0].replace('_', '-')}"
    raise UsageError(f"--otel: there is no exporter {name} (OTEL_TRACES_EXPORTER): pip install {package}")
