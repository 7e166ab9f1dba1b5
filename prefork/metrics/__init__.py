"""Metrics of an app, counted in shared memory and summed over all processes of the server.

`counter`, `gauge` and `histogram` declare one, best where its module is imported; `docs/metrics.md` tells the rest.
"""

from prefork.metrics.counting import places as _places
from prefork.metrics.declaring import counter, gauge, histogram
from prefork.metrics.families import gather as _gather
from prefork.metrics.rendering import exposition as _exposition
from prefork.metrics.series import Counter, Gauge, Histogram

__all__ = ["Counter", "Gauge", "Histogram", "counter", "gauge", "histogram", "text"]


def text(openmetrics: bool = False) -> str:
    """All metrics that the processes of this server have counted together, as Prometheus reads them, or as OpenMetrics.
    In a process that is in no server: what it has counted itself. Raises UsageError without prometheus-client."""
    return _exposition(_gather(_places()).values(), openmetrics).decode()
