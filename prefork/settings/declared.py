"""Declare every setting once: its name, type, default, bounds, unit and meaning.

Flags, `PREFORK_*` variables, file keys, help and docs are derived from this one struct.
"""

from typing import Annotated, Literal

from msgspec import Meta, field

from prefork.settings.about import KIB, LONGEST, MIB, TIB, about
from prefork.settings.operations import OperationSettings

WORKERS = r"^(auto|[1-9][0-9]{0,3}:[1-9][0-9]{0,3})$"


class Settings(OperationSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator chose. `Settings()` holds the defaults; `load()` reads the sources and checks the bounds."""

    bind: Annotated[
        list[str],
        Meta(min_length=1),
        about(
            "connections",
            "Address to listen on: HOST:PORT, [::1]:PORT, unix:/path or fd://N (an inherited socket). Port 0 takes "
            "a free one.",
            items="addresses",
        ),
    ] = field(default_factory=lambda: ["127.0.0.1:8000"])

    workers: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | Annotated[str, Meta(pattern=WORKERS)],
        about(
            "processes",
            "Number of worker processes. auto: one per CPU that affinity and the cgroup's quota allow; MIN:MAX: as "
            "many as there is work for.",
            forms=("auto", "MIN:MAX"),
        ),
    ] = "auto"
    balance: Annotated[
        Literal["round-robin", "least-connections", "kernel"],
        about(
            "processes",
            "How connections are spread over workers: strictly in turn, to the one with the fewest open, or by the "
            "kernel (SO_REUSEPORT).",
        ),
    ] = "round-robin"
    preload: Annotated[
        bool,
        about("processes", "Import the app once and fork workers from it. Without it each worker imports the app."),
    ] = True
    stall_seconds: Annotated[
        float,
        Meta(ge=0.05, le=LONGEST),
        about(
            "processes",
            "A worker whose event loop did not turn for this long gets no connections until it does; its stacks are "
            "logged.",
            "seconds",
        ),
    ] = 1.0
    hang_seconds: Annotated[
        float,
        Meta(ge=0, le=LONGEST),
        about("processes", "A worker stalled for this long is killed and replaced. 0: never.", "seconds"),
    ] = 60.0
    boot_seconds: Annotated[
        float,
        Meta(gt=0, le=LONGEST),
        about("processes", "How long a process may take to import the app and run its start-up hooks.", "seconds"),
    ] = 60.0
    drain_seconds: Annotated[
        float,
        Meta(ge=0, le=LONGEST),
        about("processes", "How long a retiring worker may finish open requests before it is killed.", "seconds"),
    ] = 30.0

    max_connections: Annotated[
        int,
        Meta(ge=1, le=65536),
        about("connections", "Open connections per worker. When all workers are full, new ones wait in the backlog."),
    ] = 8192
    backlog: Annotated[
        int,
        Meta(ge=1, le=65535),
        about("connections", "Connections the kernel holds until they are accepted; net.core.somaxconn caps it."),
    ] = 2048
    keep_alive_seconds: Annotated[
        float,
        Meta(gt=0, le=LONGEST),
        about(
            "connections",
            "How long an idle connection stays open. Keep it above your load balancer's (often 60).",
            "seconds",
        ),
    ] = 75.0
    header_seconds: Annotated[
        float,
        Meta(gt=0, le=LONGEST),
        about("connections", "How long a client may take to send a request's head; then 408.", "seconds"),
    ] = 10.0
    body_seconds: Annotated[
        float,
        Meta(gt=0, le=LONGEST),
        about("connections", "How long a request's body may pause between two pieces; then 408.", "seconds"),
    ] = 30.0
    disconnect_grace_seconds: Annotated[
        float,
        Meta(ge=0, le=LONGEST),
        about(
            "connections",
            "How long a handler goes on after its client closed or half-closed the connection, before it is cancelled.",
            "seconds",
        ),
    ] = 3.0

    max_target: Annotated[
        int,
        Meta(ge=16, le=64 * KIB),
        about("http", "Longest request target (path and query); beyond it 414.", "bytes"),
    ] = 8 * KIB
    max_headers: Annotated[
        int,
        Meta(ge=1, le=10_000),
        about("http", "Most header fields in a request; beyond it 431."),
    ] = 100
    max_header_bytes: Annotated[
        int,
        Meta(ge=256, le=MIB),
        about("http", "Most bytes of header fields in a request; beyond it 431.", "bytes"),
    ] = 32 * KIB
    max_body: Annotated[
        int,
        Meta(ge=0, le=TIB),
        about("http", "Largest request body; beyond it 413. A route may set its own.", "bytes"),
    ] = 16 * MIB
    server_header: Annotated[bool, about("http", "Send the Server header.")] = True

    websocket_max_message: Annotated[
        int,
        Meta(ge=1, le=TIB),
        about(
            "websocket", "Largest message a client may send, after decompression; beyond it close code 1009.", "bytes"
        ),
    ] = 16 * MIB
    websocket_queue: Annotated[
        int,
        Meta(ge=1, le=65536),
        about("websocket", "Messages of a connection that wait for the app; past it the socket is not read."),
    ] = 16
    websocket_ping_seconds: Annotated[
        float,
        Meta(ge=0, le=LONGEST),
        about("websocket", "How often an idle connection is pinged. 0: never.", "seconds"),
    ] = 20.0
    websocket_pong_seconds: Annotated[
        float,
        Meta(gt=0, le=LONGEST),
        about("websocket", "How long a client may take to answer a ping; then the connection is closed.", "seconds"),
    ] = 20.0
    websocket_compression: Annotated[
        bool, about("websocket", "Compress messages for clients that offer it (permessage-deflate).")
    ] = True

    tls_cert: Annotated[
        list[str],
        about(
            "tls",
            "Certificate chain in PEM. Give one per host name, each with its --tls-key in the same order; the name the "
            "client asks for (SNI) chooses, and the first is for all others.",
            items="files",
        ),
    ] = field(default_factory=list)
    tls_key: Annotated[
        list[str],
        about("tls", "Private key in PEM, not encrypted, of the certificate in the same place.", items="files"),
    ] = field(default_factory=list)
    tls_ca: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        about("tls", "Certificates in PEM of the authorities that sign client certificates."),
    ] = None
    tls_client_auth: Annotated[
        Literal["none", "optional", "required"],
        about("tls", "Whether clients are asked for a certificate, and whether they need one."),
    ] = "none"
    tls_ciphers: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        about("tls", "Ciphers of TLS 1.2, as OpenSSL lists them. none: those with forward secrecy and AEAD."),
    ] = None
    tls_handshake_seconds: Annotated[
        float,
        Meta(gt=0, le=LONGEST),
        about("tls", "How long a client may take for the handshake; then the connection is closed.", "seconds"),
    ] = 10.0
    tls_handshakes: Annotated[
        int,
        Meta(ge=1, le=65536),
        about(
            "tls",
            "Handshakes that a worker begins at a time; more wait, and one that takes a second gives up its turn.",
        ),
    ] = 256

    forwarded_allow: Annotated[
        list[str],
        about(
            "proxy",
            "Proxies whose X-Forwarded-For, -Proto, -Host and Forwarded fields are believed: networks such as "
            "10.0.0.0/8, addresses, or unix for what comes by a unix socket.",
            items="networks",
        ),
    ] = field(default_factory=list)
    proxy_protocol: Annotated[
        bool,
        about(
            "proxy",
            "Connections begin with a PROXY protocol header (version 1 or 2). Only peers in --forwarded-allow may "
            "connect then.",
        ),
    ] = False

    interface: Annotated[
        Literal["auto", "native", "asgi", "wsgi"],
        about("app", "What kind of app the target is. auto: by its signature."),
    ] = "auto"
    lifespan: Annotated[
        Literal["auto", "on", "off"],
        about(
            "app",
            "Whether an ASGI app is told of start-up and shutdown. auto: if it wants to be; on: it must want to; off: "
            "never.",
        ),
    ] = "auto"
    root_path: Annotated[
        str, about("app", "Path that a proxy cuts off before this server: ASGI's root_path, WSGI's SCRIPT_NAME.")
    ] = ""
    static: Annotated[
        list[str],
        about(
            "app",
            "Serve a folder's files below a path, without asking the app: /assets=dir.",
            items="mounts",
        ),
    ] = field(default_factory=list)
    threads: Annotated[
        int,
        Meta(ge=1, le=1024),
        about(
            "app",
            "Threads per worker that run blocking code: plain def handlers, WSGI apps, children.thread and "
            "asyncio.to_thread.",
        ),
    ] = 40
    thread_queue: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        about("app", "Requests of a WSGI app that wait for a thread, per worker; beyond it 503."),
    ] = 256
    app_dir: Annotated[str, Meta(min_length=1), about("app", "Folder the app is imported from.")] = "."
    debug: Annotated[bool, about("development", "Show tracebacks in responses. Never on a public server.")] = False
    reload: Annotated[bool, about("development", "Reload the app when its files change. For development only.")] = False
    reload_dir: Annotated[
        list[str],
        about("development", "Folder to watch, with all below it. None given: --app-dir.", items="folders"),
    ] = field(default_factory=list)
    reload_include: Annotated[
        list[str],
        about("development", "Glob of file names to watch beside *.py, such as *.html.", items="globs"),
    ] = field(default_factory=list)
    reload_exclude: Annotated[
        list[str],
        about("development", "Glob of file or folder names not to watch, such as test_*.", items="globs"),
    ] = field(default_factory=list)

    offload_timeout_seconds: Annotated[
        float,
        Meta(ge=0, le=LONGEST),
        about(
            "offload", "How long a job may take, from submission to result; then it is ended. 0: no limit.", "seconds"
        ),
    ] = 30.0
    offload_grace_seconds: Annotated[
        float,
        Meta(ge=0, le=LONGEST),
        about(
            "offload", "Time between SIGTERM and SIGKILL for a job that is ended, and its child processes.", "seconds"
        ),
    ] = 1.0
    offload_retries: Annotated[
        int,
        Meta(ge=0, le=100),
        about("offload", "How often an idempotent job is tried again when its process died; never after two deaths."),
    ] = 0
    offload_idempotent: Annotated[
        bool, about("offload", "Whether jobs that do not say may be run twice. Only such jobs are tried again.")
    ] = False
    offload_priority: Annotated[
        int,
        Meta(ge=-1000, le=1000),
        about("offload", "Of jobs that wait, the one with the highest priority runs first."),
    ] = 0
    offload_memory: Annotated[
        int,
        Meta(ge=0, le=TIB),
        about(
            "offload",
            "Address space a job may take beyond what its process had before (RLIMIT_AS). 0: no limit.",
            "bytes",
        ),
    ] = 0
    offload_cpu_seconds: Annotated[
        float,
        Meta(ge=0, le=LONGEST),
        about("offload", "CPU time a job may use, rounded up to whole seconds (RLIMIT_CPU). 0: no limit.", "seconds"),
    ] = 0.0
    offload_nice: Annotated[
        int,
        Meta(ge=0, le=19),
        about("offload", "Niceness of jobs (nice(2)): 0 competes with the workers, 19 yields to everybody."),
    ] = 5
    offload_min: Annotated[
        int, Meta(ge=0, le=1024), about("offload", "Offloaders that each worker keeps, also when they are idle.")
    ] = 0
    offload_max: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | Literal["auto"],
        about("offload", "Most offloaders of each worker. auto: CPUs divided by workers, at least 1."),
    ] = "auto"
    offload_idle_seconds: Annotated[
        float,
        Meta(gt=0, le=LONGEST),
        about("offload", "How long an offloader beyond the minimum may be idle before it ends.", "seconds"),
    ] = 60.0
    offload_queue: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        about("offload", "Most jobs that wait in each worker; beyond it QueueFull (503)."),
    ] = 64
    offload_wait_seconds: Annotated[
        float,
        Meta(gt=0, le=LONGEST),
        about("offload", "Longest estimated wait a job is accepted for; beyond it QueueFull (503).", "seconds"),
    ] = 10.0
    offload_max_jobs: Annotated[
        int, Meta(ge=0), about("offload", "An offloader is replaced after so many jobs. 0: never.")
    ] = 0
    offload_max_rss: Annotated[
        int,
        Meta(ge=0, le=TIB),
        about("offload", "An offloader that holds more memory than this after a job is replaced. 0: never.", "bytes"),
    ] = 0
    offload_arena: Annotated[
        int,
        Meta(ge=MIB, le=TIB),
        about("offload", "Most bytes of a job's arguments, and of its result, in shared memory.", "bytes"),
    ] = 512 * MIB
    offload_backend: Annotated[
        Literal["local", "dask"],
        about("offload", "Where jobs run: in processes of this machine, or on a Dask cluster."),
    ] = "local"
    offload_address: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        about("offload", "Address of the Dask scheduler, such as tcp://scheduler:8786."),
    ] = None

    max_children: Annotated[
        int,
        Meta(ge=1, le=4096),
        about("children", "Programs and forked processes that run at a time in each worker; more wait."),
    ] = 64
    children_wait_seconds: Annotated[
        float,
        Meta(ge=0, le=LONGEST),
        about("children", "How long a child may wait for its turn; then ChildrenBusy (503).", "seconds"),
    ] = 10.0
    children_grace_seconds: Annotated[
        float,
        Meta(ge=0, le=LONGEST),
        about("children", "Time between SIGTERM and SIGKILL for a child that is ended, and all it started.", "seconds"),
    ] = 1.0

    log_format: Annotated[Literal["text", "json"], about("logging", "Form of log lines.")] = "text"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        about("logging", "Least severe level that is logged."),
    ] = "info"
    log_file: Annotated[str, Meta(min_length=1), about("logging", "File to log to. -: standard error.")] = "-"
    access_log: Annotated[bool, about("logging", "Log one line per request.")] = False
    access_log_file: Annotated[
        str, Meta(min_length=1), about("logging", "File for the access log. -: standard output.")
    ] = "-"
    ready_fd: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        about(
            "logging",
            "Inherited descriptor that gets one JSON line with addresses and pids once the first workers serve.",
        ),
    ] = None
