"""The text of docs/metrics.md: its tables are made from the declarations, the rest stands here."""

from typing import Final

from prefork.http.recorder import KNOWN_METHODS
from prefork.metrics import ours
from prefork.metrics.counting import LABEL_CHARACTERS, LABEL_SETS
from prefork.metrics.declaring import our_declarations
from prefork.metrics.kinds import SECONDS, Declaration, Kind
from prefork.system.ledger import PLACE_BYTES

PAGE: Final = """\
# Metrics

<!-- Written by `{command}` from prefork/metrics/ours.py and prefork/cli/metrics_page.py. Do not edit. -->

Every process of a server counts in shared memory, in a place of its own. Whoever reads the metrics adds the places up.
So there are no files to clean up, a scrape asks no worker (one that is blocked is no gap), and a worker that is
restarted or killed loses nothing: the next one in its slot goes on counting in the same place.

## Read them

- **The admin server**: `prefork serve main:app --admin 127.0.0.1:9000`, then `curl http://127.0.0.1:9000/metrics`. It
  works also while every worker is blocked. Prometheus text is the default; a client that accepts
  `application/openmetrics-text` gets OpenMetrics. However many read, it is worked out once a second.
- **A route of your own**: `metrics.text()` gives what all processes of the server have counted, in any of them.

```python
from prefork import App, Request, Response, metrics

app = App()


@app.get("/metrics")
def tell(request: Request) -> Response:  # no `async`: it runs in a thread, for with many series it takes a while
    return Response(metrics.text(), content_type="text/plain; version=0.0.4; charset=utf-8")
```

Both need `prometheus-client` (`pip install 'prefork[standard]'`). What a look at the processes adds (the last table
below) only the admin server tells. `--no-metrics` turns the shared memory off: then each process counts for itself, and
the admin server has no `/metrics`.

```yaml
scrape_configs:
  - job_name: prefork
    static_configs:
      - targets: ["127.0.0.1:9000"]
```

## What the server counts

Times are histograms in seconds, with the bounds {bounds}.

{counted}
The admin server adds what it sees when it looks at the processes that live:

{seen}
**`route`** is the template of the path, such as `/users/{{id}}`, never the path itself: a stranger cannot make up
series. It is empty where none is known: for what has no route (404, 405), and for bare handlers. For the same reason
the **`method`** of a request is one of {methods}, or `(other)`.

| app | its route |
| --- | --- |
| `prefork.App` | the path as it was declared, with the mounts above it |
| FastAPI, Starlette | the same, also behind mounts and `include_router` |
| Litestar | `path_template` |
| Flask, Bottle | the rule |
| any other ASGI app | `scope["prefork.route"]`, set before the response starts |
| any other WSGI app | `environ["prefork.route"]`, set before `start_response` is called |

Django, for one, needs a middleware:

```python
def tell_route(get_response):
    def middleware(request):
        response = get_response(request)
        if request.resolver_match is not None:
            request.META["prefork.route"] = request.resolver_match.route
        return response

    return middleware
```

(With `asgi.py` it is `request.scope["prefork.route"]`.)

## Count in an app

```python
from prefork import metrics

orders = metrics.counter("orders_total", "Orders.", ["kind"])
queue = metrics.gauge("queue_length", "Orders that wait.")
packing = metrics.histogram("packing_seconds", "Time to pack an order.")

orders.labels("book").inc()
orders.labels(kind="food").inc(2)
queue.set(7)
with packing.time():
    pack()
```

Declare them where a module is imported, and count anywhere: in handlers, in threads, in offloaded jobs, in actors and
in forked children. It is one number for the whole server. A few rules:

- **A counter** only grows. Its name may end with `_total` or not; where it is read, it does.
- **A gauge** is what processes say that live: their sum, or with `across="max"` or `"min"` the largest or smallest. Set
  it where the process runs (a start-up hook, a handler): what is counted while the app is imported stays with the
  process that imports it.
- **A histogram** has buckets for seconds unless you say `buckets=(...)`. `time()` is a context manager and a decorator.
- A name can be declared again in the same words, and gives the same metric. Anything else is a ValueError with the
  reason; so are names that begin with `prefork_`, and names that another metric takes where it is read (`x` and
  `x_total`, or a histogram's `x_count`).
- After a reload with other labels or buckets, the new generation's numbers are told, as soon as it has counted; after
  a rollback, those of the old one.
- `children.fork(..., fresh=True)` and programs (`children.exec`) are other interpreters and count for themselves.
  So does what you fork yourself, and what runs in no server: there `metrics.text()` tells what this process counted.

## Bounds

A place has {place} KiB. A metric has at most {sets} sets of labels in a process; what is more is counted together, with
`(other)` as each label, and a warning names the metric. A label's value is cut at {characters} characters. When a place
is full, what is new is not counted, and a warning says so; what is there already goes on.

## What it costs

A request costs 0.3 µs of CPU for being counted (`make bench` has it as a bar of 0.5 µs, beside `prefork --no-metrics`),
a job 0.4 µs. Of your own metrics, measured on one core of the reference machine: `inc()` 0.2 µs, `set()` 0.2 µs,
`observe()` 0.3 µs, `labels(...)` another 0.4 µs: keep what it returns where it is used often.
A scrape of 1,000 histograms takes the admin server 0.1 s, and no worker anything.

## PromQL

Requests a second, by route:

```promql
sum by (route) (rate(prefork_request_seconds_count[1m]))
```

Share of errors:

```promql
sum(rate(prefork_request_seconds_count{{status="5xx"}}[5m])) / sum(rate(prefork_request_seconds_count[5m]))
```

The 99th percentile of a route:

```promql
histogram_quantile(0.99, sum by (le) (rate(prefork_request_seconds_bucket{{route="/users/{{id}}"}}[5m])))
```

Connections wait for a worker (a blocked loop, or too few workers):

```promql
histogram_quantile(0.99, sum by (le) (rate(prefork_queue_wait_seconds_bucket[5m]))) > 0.5
```

Event loops are held up:

```promql
histogram_quantile(0.99, sum by (le) (rate(prefork_loop_lag_seconds_bucket[5m]))) > 0.1
```

Jobs that failed, by function and how:

```promql
sum by (function, outcome) (rate(prefork_jobs_total{{outcome!="done"}}[5m]))
```

Workers that ended for a reason nobody asked for:

```promql
sum by (reason) (increase(prefork_worker_exits_total{{reason!~"reload|scale-down"}}[15m])) > 0
```

Memory of the whole tree, and processor time by role:

```promql
sum(prefork_process_proportional_bytes)
sum by (role) (rate(prefork_process_cpu_seconds_total[1m]))
```
"""

TABLE: Final = """\
| metric | kind | labels | meaning |
| --- | --- | --- | --- |
"""


def metrics_page(command: str) -> str:
    """The text of docs/metrics.md."""
    seen = [metric.declaration for metric in ours.SEEN]
    counted = [declaration for declaration in our_declarations() if declaration not in seen]
    return PAGE.format(
        command=command,
        bounds=", ".join(f"{bound:g}" for bound in SECONDS),
        counted=TABLE + "".join(map(_row, counted)),
        seen=TABLE + "".join(map(_row, seen)),
        place=PLACE_BYTES // 1024,
        sets=f"{LABEL_SETS:,}",
        characters=LABEL_CHARACTERS,
        methods=", ".join(sorted(KNOWN_METHODS)),
    )


def _row(declaration: Declaration) -> str:
    kind = {Kind.COUNTER: "counter", Kind.GAUGE: "gauge", Kind.HISTOGRAM: "histogram"}[declaration.kind]
    labels = ", ".join(f"`{label}`" for label in declaration.labels)
    return f"| `{declaration.name}` | {kind} | {labels} | {declaration.help} |\n"
