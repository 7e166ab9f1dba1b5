"""Metrics of an app, counted in shared memory and summed over all processes of the server.

`counter`, `gauge` and `histogram` declare one, best where its module is imported; `docs/metrics.md` tells the rest.
"""

from prefork.metrics.declaring import counter, gauge, histogram
from prefork.metrics.series import Counter, Gauge, Histogram

__all__ = ["Counter", "Gauge", "Histogram", "counter", "gauge", "histogram"]
