"""Declare the settings of those who operate a server: the life of its workers, how it is watched and steered, and the
user, folder and limits it runs with."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from prefork.settings.about import LONGEST, TIB, about


class OperationSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of `Settings` that operators choose, whatever the app is."""

    max_requests: Annotated[
        int, Meta(ge=0), about("lifecycle", "A worker is replaced after so many requests, about. 0: never.")
    ] = 0
    max_requests_jitter: Annotated[
        Annotated[int, Meta(ge=0)] | Literal["auto"],
        about(
            "lifecycle",
            "Up to so many requests more, by chance, so that workers do not go together. auto: a tenth of "
            "--max-requests.",
        ),
    ] = "auto"
    max_lifetime: Annotated[
        float,
        Meta(ge=0, le=LONGEST * 52),
        about(
            "lifecycle",
            "A worker is replaced after it has served for so long, and up to a tenth more by chance. 0: never.",
            "seconds",
        ),
    ] = 0.0
    max_rss: Annotated[
        int,
        Meta(ge=0, le=TIB),
        about("lifecycle", "A worker that holds more memory than this is replaced. 0: never.", "bytes"),
    ] = 0
    scale_up_share: Annotated[
        float,
        Meta(gt=0, le=1),
        about(
            "lifecycle",
            "With --workers MIN:MAX: share of their time that workers are busy, past which one more starts.",
        ),
    ] = 0.75
    scale_up_seconds: Annotated[
        float,
        Meta(gt=0, le=LONGEST),
        about(
            "lifecycle", "For how long they must be so busy, or connections wait, before one more starts.", "seconds"
        ),
    ] = 3.0
    scale_down_share: Annotated[
        float,
        Meta(ge=0, le=1),
        about("lifecycle", "Share that the others would be busy without it, below which a worker is let go."),
    ] = 0.4
    scale_down_seconds: Annotated[
        float,
        Meta(gt=0, le=LONGEST),
        about("lifecycle", "For how long it must be so before a worker is let go.", "seconds"),
    ] = 60.0
    canary_seconds: Annotated[
        float,
        Meta(gt=0, le=LONGEST),
        about(
            "lifecycle",
            "How long the new generation of a canary reload is watched before it is promoted or rolled back.",
            "seconds",
        ),
    ] = 60.0
    drain_delay: Annotated[
        float,
        Meta(ge=0, le=LONGEST),
        about(
            "lifecycle",
            "At SIGTERM, how long to go on serving while /readyz says no, so that load balancers can look away first.",
            "seconds",
        ),
    ] = 0.0

    name: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None,
        about("operations", "What the server is called among those on this machine. none: as the target's module."),
    ] = None
    control: Annotated[
        str,
        Meta(min_length=1),
        about(
            "operations",
            "Path of the control socket. auto: in $XDG_RUNTIME_DIR, or an abstract one; none: there is none.",
        ),
    ] = "auto"
    admin: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        about(
            "operations",
            "Address of the admin server with probes, metrics and dashboard: PORT, which is on 127.0.0.1, HOST:PORT "
            "or unix:/path.",
        ),
    ] = None
    admin_token: Annotated[
        Annotated[str, Meta(min_length=16)] | None,
        about(
            "operations",
            "Who has it may steer the server through the admin server (Authorization: Bearer). none: nobody may.",
            secret=True,
        ),
    ] = None
    metrics: Annotated[bool, about("operations", "Count and time requests, jobs and connections.")] = True
    otel: Annotated[bool, about("operations", "Trace requests and jobs with OpenTelemetry.")] = False

    user: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        about("system", "User, by name or number, that all but the master run as. Needs a start as root."),
    ] = None
    group: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        about("system", "Group, by name or number. none: the user's."),
    ] = None
    umask: Annotated[
        Annotated[str, Meta(pattern=r"^[0-7]{1,4}$")] | None,
        about("system", "Permissions that new files do not get (umask(2)), in octal, such as 027."),
    ] = None
    chdir: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        about("system", "Folder to change to before the app is imported."),
    ] = None
    env_file: Annotated[
        list[str],
        about("system", "File of NAME=value lines for the environment; what is set already stays.", items="files"),
    ] = field(default_factory=list)
    pid_file: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        about("system", "File to write the master's pid to."),
    ] = None
    max_descriptors: Annotated[
        int,
        Meta(ge=0, le=1 << 30),
        about("system", "Limit on open descriptors of each process (RLIMIT_NOFILE). 0: as high as the system allows."),
    ] = 0
    max_memory: Annotated[
        int,
        Meta(ge=0, le=TIB),
        about("system", "Limit on the address space of each worker (RLIMIT_AS). 0: as it is.", "bytes"),
    ] = 0
