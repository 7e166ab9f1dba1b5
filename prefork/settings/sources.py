"""Read the settings from flags, environment and files, by rank, and remember where each came from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from prefork.errors import UsageError
from prefork.settings.declared import Settings
from prefork.settings.describe import SETTINGS
from prefork.settings.env_file import read_env_file
from prefork.settings.values import from_file, from_text, printable

PREFIX = "PREFORK_"
OWN_FILE = "prefork.toml"
PROJECT_FILE = "pyproject.toml"
# The test suite's own knobs share the prefix and are no settings.
TEST_PREFIX = "PREFORK_TEST_"
# Kubernetes puts these into every container beside a Service called prefork or prefork-*.
SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$")
NO_VARIABLES: Mapping[str, str] = {}
SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, the target if any source names one, and per key the source its value came from."""

    settings: Settings
    target: str | None
    origin: dict[str, str]


@dataclass(frozen=True, slots=True)
class Source:
    """Raw values by key from one place, with the name each key has there."""

    values: Mapping[str, object]
    names: Mapping[str, str]
    spelled: bool  # single values are text to be read, as in flags and variables


def load(flags: Mapping[str, object], env: Mapping[str, str], folder: Path | None) -> Loaded:
    """Flag before PREFORK_* before those of env files before prefork.toml (or --config) before pyproject.toml before
    default.

    `flags` maps keys (settings, `target`, `config`) to text, to a bool for switches, to several texts for lists; None
    and nothing mean not given. `env` may hold anything. Without a folder, no file is read. UsageError names the source,
    the key, the value and the bound.
    """
    values: dict[str, object] = {}
    origin: dict[str, str] = {}
    for source in _sources(flags, env, folder):
        for key, raw in source.values.items():
            # Also what a higher rank overrides is read: a wrong value should not wait for the day it counts.
            value = _value(key, raw, source)
            if key not in values:
                values[key], origin[key] = value, source.names[key]
    target = values.pop("target", None)
    settings = msgspec.convert(values, Settings)
    origin = {key: origin.get(key, "default") for key in ("target", *SETTINGS)}
    _refuse_conflicts(settings, origin)
    return Loaded(settings, target if isinstance(target, str) else None, origin)


def _sources(flags: Mapping[str, object], env: Mapping[str, str], folder: Path | None) -> list[Source]:
    """All sources, the highest rank first."""
    first = [_flags(flags), _environment(env)]
    if folder is None:
        return first
    variables = _env_files(first, folder, env)
    files = _files(flags, {**variables, **env}, folder)
    if variables is NO_VARIABLES:
        variables = _env_files(files, folder, env)
        if variables.get(PREFIX + "CONFIG"):
            raise UsageError("env_file: PREFORK_CONFIG is in a file that a settings file names; give it before that")
    source = _environment(variables, "env_file")
    if "env_file" in source.values:
        raise UsageError("env_file: PREFORK_ENV_FILE is in an env file, which cannot name others")
    names = {key: f"{name} (env file)" for key, name in source.names.items()}
    return [*first, Source(source.values, names, spelled=True), *files]


def _env_files(sources: Iterable[Source], folder: Path, env: Mapping[str, str]) -> Mapping[str, str]:
    """What the env files that the first of these sources names have beyond `env`; NO_VARIABLES if none names any.

    Of several files that have a variable, the last one's counts.
    """
    for source in sources:
        if "env_file" in source.values:
            paths = _value("env_file", source.values["env_file"], source)
            found: dict[str, str] = {}
            for path in paths if isinstance(paths, list) else []:
                found |= read_env_file(str(folder / path))
            return {name: value for name, value in found.items() if name not in env}
    return NO_VARIABLES


def _flags(flags: Mapping[str, object]) -> Source:
    given = {key: value for key, value in flags.items() if key != "config" and value is not None and value != ()}
    for key in given:
        _refuse_unknown(key, ["target", *SETTINGS], "flags")
    names = {"target": "argument"}
    for key, setting in SETTINGS.items():
        names[key] = setting.off_flag if given.get(key) is False else setting.flag
    return Source(given, names, spelled=True)


def _environment(env: Mapping[str, str], where: str = "environment") -> Source:
    """An empty variable counts as not set: compose files write `PREFORK_WORKERS=${WORKERS:-}`."""
    variables = {setting.variable: key for key, setting in SETTINGS.items()} | {PREFIX + "TARGET": "target"}
    found: dict[str, object] = {}
    for name, text in env.items():
        if name.startswith(PREFIX) and text and name != PREFIX + "CONFIG" and not _foreign(name, text):
            _refuse_unknown(name, [*variables, PREFIX + "CONFIG"], where)
            found[variables[name]] = text
    return Source(found, {key: name for name, key in variables.items()}, spelled=True)


def _foreign(name: str, text: str) -> bool:
    link = SERVICE_LINK.search(name) or (name.endswith("_PORT") and SERVICE_URL.match(text))
    return name.startswith(TEST_PREFIX) or bool(link)


def _files(flags: Mapping[str, object], env: Mapping[str, str], folder: Path | None) -> list[Source]:
    """The configuration file, if there is one or one was asked for, and then the project's table."""
    if folder is None:
        return []
    asked, by = (flags["config"], "--config") if flags.get("config") else (env.get(PREFIX + "CONFIG"), "PREFORK_CONFIG")
    own = _file(folder, str(asked or OWN_FILE))
    if asked and own is None:
        raise UsageError(f"{by}: there is no file {str(asked)!r}")
    return [source for source in (own, _file(folder, PROJECT_FILE)) if source]


def _file(folder: Path, name: str) -> Source | None:
    """The keys of a TOML file, of a pyproject.toml only its table [tool.prefork]; None if there is no such file."""
    path = folder / name
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: cannot be read: {error}") from None
    table = _table(text, name)
    if path.name == PROJECT_FILE:
        name += " [tool.prefork]"
        for step in ("tool", "prefork"):
            table = table.get(step, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise UsageError(f"{name}: must be a table")
    for key in table:
        _refuse_unknown(key, ["target", *SETTINGS], name)
    return Source(table, dict.fromkeys(table, name), spelled=False)


def _table(text: str, name: str) -> object:
    import tomllib  # here, because most starts read no file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: is not valid TOML: {error}") from None


def _value(key: str, raw: object, source: Source) -> object:
    try:
        if key == "target":
            return _target(raw)
        if source.spelled and isinstance(raw, str):
            return from_text(SETTINGS[key], raw)
        return from_file(SETTINGS[key], list(raw) if isinstance(raw, tuple) else raw)
    except ValueError as error:
        shown = "***" if key in SETTINGS and SETTINGS[key].secret else repr(raw)
        raise UsageError(f"{source.names[key]}: {key} = {shown} {error}") from None


def _target(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError("must be module:name or module:factory()")
    return printable(raw.strip())


def _refuse_unknown(key: str, known: Iterable[str], where: str) -> None:
    # Without the prefix, which would make every variable a close match of every other.
    names = {name.removeprefix(PREFIX): name for name in known}
    if key in names.values():
        return
    close = [names[name] for name in difflib.get_close_matches(key.removeprefix(PREFIX), names, n=2, cutoff=0.7)]
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise UsageError(f"{where}: unknown {'variable' if key.startswith(PREFIX) else 'key'} {key}{hint}")


def _refuse_conflicts(settings: Settings, origin: Mapping[str, str]) -> None:
    """The rules that tie two settings together."""
    if 0 < settings.hang_seconds <= settings.stall_seconds:
        hang, stall = SETTINGS["hang_seconds"], SETTINGS["stall_seconds"]
        raise UsageError(
            f"hang_seconds = {hang.show(settings.hang_seconds)} ({origin['hang_seconds']}) must be 0 or > "
            f"stall_seconds = {stall.show(settings.stall_seconds)} ({origin['stall_seconds']})"
        )
    if settings.scale_down_share >= settings.scale_up_share:
        raise UsageError(
            f"scale_down_share = {settings.scale_down_share:.15g} ({origin['scale_down_share']}) must be < "
            f"scale_up_share = {settings.scale_up_share:.15g} ({origin['scale_up_share']}), or workers come and go"
        )
    if settings.offload_max != "auto" and settings.offload_min > settings.offload_max:
        raise UsageError(
            f"offload_min = {settings.offload_min} ({origin['offload_min']}) must be ≤ "
            f"offload_max = {settings.offload_max} ({origin['offload_max']})"
        )
    if settings.offload_backend == "dask" and settings.offload_address is None:
        raise UsageError(
            f"offload_backend = dask ({origin['offload_backend']}) needs offload_address, such as tcp://scheduler:8786"
        )
    if len(settings.tls_cert) != len(settings.tls_key):
        raise UsageError(
            f"tls_cert ({origin['tls_cert']}) names {len(settings.tls_cert)} files and tls_key ({origin['tls_key']}) "
            f"{len(settings.tls_key)}: each certificate needs its key, in the same order"
        )
    if settings.tls_client_auth != "none" and settings.tls_ca is None:
        raise UsageError(
            f"tls_client_auth = {settings.tls_client_auth} ({origin['tls_client_auth']}) needs tls_ca, the authorities "
            "that sign client certificates"
        )
    if settings.proxy_protocol and not settings.forwarded_allow:
        raise UsageError(
            f"proxy_protocol ({origin['proxy_protocol']}) needs forwarded_allow: the proxies that may speak for others"
        )
    if settings.group is not None and settings.user is None:
        raise UsageError(f"group ({origin['group']}) needs user: the one who is to have it")
    if settings.admin_token is not None and settings.admin is None:
        raise UsageError(f"admin_token ({origin['admin_token']}) needs admin, the address of the admin server")
    if settings.reload and not settings.preload:
        raise UsageError(
            f"reload ({origin['reload']}) imports the app before it forks; take away --no-preload ({origin['preload']})"
        )
