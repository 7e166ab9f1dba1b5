"""The server's own metrics, all on this page. `docs/metrics.md` has them as a table, made from it.

Who counts is said in brackets. What a reader works out of other sources (/proc, the scoreboards) is at the end: no
process counts it.
"""

from typing import Final

from prefork.metrics.declaring import our_counter, our_gauge, our_histogram

# -- requests (workers)

REQUEST_LABELS: Final = ("method", "status", "route")
request_seconds = our_histogram(
    "prefork_request_seconds",
    "Time from a request's head to the end of its response, by class of status: 2xx, or none without a response.",
    REQUEST_LABELS,
)
response_bytes = our_counter("prefork_response_bytes_total", "Bytes of response bodies, as sent.", REQUEST_LABELS)
request_bytes = our_counter("prefork_request_bytes_total", "Bytes of request bodies, as received.", REQUEST_LABELS)
lost_requests = our_counter("prefork_requests_lost_total", "Requests that ended with their worker (master).")
refused_requests = our_counter(
    "prefork_refused_requests_total", "What was answered with an error before it became a request.", ("status",)
)

# -- connections

accepted = our_counter("prefork_connections_accepted_total", "Connections accepted (master; workers: balance kernel).")
handed_out = our_counter("prefork_connections_handed_out_total", "Connections the master gave to a worker.")
taken_back = our_counter(
    "prefork_connections_taken_back_total", "Connections that a worker had not read and another one got."
)
handed_back = our_counter(
    "prefork_connections_handed_back_total", "Idle connections that a draining worker gave back for another."
)
refused_connections = our_counter(
    "prefork_connections_refused_total",
    "Connections that ended before HTTP: gone when opened, lost (too many open files), tls, proxy, or unserved (the"
    " server stopped first).",
    ("reason",),
)
open_connections = our_gauge("prefork_connections_open", "Connections that workers hold.")
waiting_connections = our_gauge("prefork_connections_waiting", "Connections accepted that no worker may take yet.")
queue_wait = our_histogram(
    "prefork_queue_wait_seconds",
    "Time from accept to the first bytes of a connection's first request; a client that connects early waits too.",
)
loop_lag = our_histogram(
    "prefork_loop_lag_seconds", "How much later than planned a worker's event loop came round, at each heartbeat."
)

# -- jobs and calls of actors (workers, and scripts)

JOB_LABELS: Final = ("actor", "function")
jobs_ended = our_counter(
    "prefork_jobs_total",
    "Jobs and calls that are over, by how: done, failed, timed out, cancelled, crashed or refused. `actor` is empty for"
    " offloaded jobs.",
    (*JOB_LABELS, "outcome"),
)
job_wait = our_histogram(
    "prefork_job_wait_seconds", "Time a job did not run: in the queue, and on its way there and back.", JOB_LABELS
)
job_run = our_histogram("prefork_job_run_seconds", "Time a job ran.", JOB_LABELS)
jobs_waiting = our_gauge("prefork_jobs_waiting", "Jobs in the queue, as of the last heartbeats.", ("actor",))
jobs_running = our_gauge("prefork_jobs_running", "Jobs given to a process, as of the last heartbeats.", ("actor",))

# -- processes (master)

worker_exits = our_counter(
    "prefork_worker_exits_total",
    "Workers that ended, but for the stop of the server, by why: reload, scale-down and other reasons to retire; or"
    " boot, hang, out of memory, a signal, an exit status.",
    ("slot", "reason"),
)
actor_exits = our_counter(
    "prefork_actor_exits_total",
    "Processes of actors that ended and had to be started again, by how.",
    ("actor", "reason"),
)

# -- logs (everybody)

lost_lines = our_counter(
    "prefork_log_lines_lost_total",
    "Lines of the log or the access log that could not be written: the disk is full, or nobody reads them.",
    ("log",),
)

# -- what is worked out by who reads it

build_info = our_gauge("prefork_build_info", "Always 1; its labels tell what serves.", ("version", "python"))
processes = our_gauge("prefork_processes", "Processes, by role; workers by state.", ("role", "state"))
in_flight = our_gauge("prefork_requests_in_flight", "Requests that have begun and not ended.", ("slot",))
resident = our_gauge(
    "prefork_process_resident_bytes",
    "Resident memory; pages that processes share count for each of them.",
    ("role", "slot"),
)
proportional = our_gauge(
    "prefork_process_proportional_bytes",
    "Proportional memory (PSS): pages that processes share count in part, so that the sum is what all take.",
    ("role", "slot"),
)
cpu = our_counter("prefork_process_cpu_seconds_total", "Processor time, user and system.", ("role", "slot"))

SEEN: Final = (build_info, processes, in_flight, resident, proportional, cpu)
