"""Settings come from flags, environment and files by rank, each with its origin; mistakes name their place."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from prefork.errors import UsageError
from prefork.settings import SETTINGS, Settings, load


def refused(folder: Path, flags: Mapping[str, object] | None = None, env: Mapping[str, str] | None = None) -> str:
    """The message of the UsageError that loading ends with."""
    with pytest.raises(UsageError) as caught:
        load(flags or {}, env or {}, folder)
    return str(caught.value)


def test_without_sources_all_is_default(tmp_path: Path) -> None:
    loaded = load({}, {"PATH": "/bin"}, tmp_path)
    assert loaded.settings == Settings()
    assert loaded.target is None
    assert loaded.origin == dict.fromkeys(["target", *SETTINGS], "default")


def test_sources_rank_flag_variable_own_file_project_file_default(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.prefork]\nbacklog = 1\nthreads = 1\nworkers = 1\nmax_headers = 1")
    (tmp_path / "prefork.toml").write_text("backlog = 2\nthreads = 2\nworkers = 2")
    env = {"PREFORK_BACKLOG": "3", "PREFORK_THREADS": "3"}
    loaded = load({"backlog": "4", "threads": None}, env, tmp_path)
    found = {key: (getattr(loaded.settings, key), loaded.origin[key]) for key in loaded.origin if key != "target"}
    assert found["backlog"] == (4, "--backlog")
    assert found["threads"] == (3, "PREFORK_THREADS")
    assert found["workers"] == (2, "prefork.toml")
    assert found["max_headers"] == (1, "pyproject.toml [tool.prefork]")
    assert found["debug"] == (False, "default")


@pytest.mark.parametrize(
    ("flags", "env"), [({"config": "other.toml"}, {}), ({}, {"PREFORK_CONFIG": "other.toml"})], ids=["flag", "variable"]
)
def test_a_named_file_takes_the_place_of_the_own_file(
    tmp_path: Path, flags: dict[str, str], env: dict[str, str]
) -> None:
    (tmp_path / "prefork.toml").write_text("workers = 2\nbacklog = 2")
    (tmp_path / "other.toml").write_text("workers = 3")
    loaded = load(flags, env, tmp_path)
    assert (loaded.settings.workers, loaded.origin["workers"]) == (3, "other.toml")
    assert loaded.settings.backlog == Settings().backlog


def test_a_named_pyproject_file_gives_its_table(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.prefork]\nworkers = 5')
    loaded = load({"config": "sub/pyproject.toml"}, {}, tmp_path)
    assert loaded.settings.workers == 5


def test_the_target_may_come_from_every_source(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.prefork]\ntarget = "project:app"')
    assert load({}, {}, tmp_path).target == "project:app"
    (tmp_path / "prefork.toml").write_text('target = "own:app"')
    assert load({}, {}, tmp_path).target == "own:app"
    env = {"PREFORK_TARGET": "env:app"}
    assert load({}, env, tmp_path).target == "env:app"
    loaded = load({"target": "flag:app"}, env, tmp_path)
    assert (loaded.target, loaded.origin["target"]) == ("flag:app", "argument")


def test_lists_repeat_as_flags_and_take_commas_in_variables(tmp_path: Path) -> None:
    flags = {"bind": ("unix:/a,b", "fd://3")}
    assert load(flags, {}, tmp_path).settings.bind == ["unix:/a,b", "fd://3"]
    env = {"PREFORK_BIND": "127.0.0.1:0, [::1]:0"}
    assert load({"bind": ()}, env, tmp_path).settings.bind == ["127.0.0.1:0", "[::1]:0"]


def test_a_switch_that_is_off_names_the_flag_that_did_it(tmp_path: Path) -> None:
    loaded = load({"preload": False, "debug": True}, {}, tmp_path)
    assert (loaded.settings.preload, loaded.origin["preload"]) == (False, "--no-preload")
    assert (loaded.settings.debug, loaded.origin["debug"]) == (True, "--debug")


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    loaded = load({}, {"PREFORK_WORKERS": "", "PREFORK_TARGET": "", "PREFORK_CONFIG": ""}, tmp_path)
    assert loaded == load({}, {}, tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PREFORK_SERVICE_HOST", "10.0.0.1"),
        ("PREFORK_SERVICE_PORT_HTTP", "80"),
        ("PREFORK_PORT", "tcp://10.0.0.1:80"),
        ("PREFORK_WEB_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("PREFORK_TEST_PATIENCE", "4"),
    ],
)
def test_variables_of_kubernetes_services_and_of_the_tests_are_no_settings(
    tmp_path: Path, name: str, text: str
) -> None:
    assert load({}, {name: text}, tmp_path).settings == Settings()


def test_a_port_variable_set_by_hand_is_an_unknown_variable(tmp_path: Path) -> None:
    assert "unknown variable PREFORK_PORT" in refused(tmp_path, env={"PREFORK_PORT": "8000"})


def test_an_unknown_key_names_its_file_and_the_closest_keys(tmp_path: Path) -> None:
    (tmp_path / "prefork.toml").write_text("drain-seconds = 3")
    message = refused(tmp_path)
    assert message.startswith("prefork.toml: unknown key drain-seconds; did you mean drain_seconds")
    (tmp_path / "prefork.toml").unlink()
    (tmp_path / "pyproject.toml").write_text("[tool.prefork]\nzzz = 3")
    assert refused(tmp_path) == "pyproject.toml [tool.prefork]: unknown key zzz"


def test_an_unknown_variable_is_named_with_the_closest(tmp_path: Path) -> None:
    message = refused(tmp_path, env={"PREFORK_WORKER": "2"})
    assert message == "environment: unknown variable PREFORK_WORKER; did you mean PREFORK_WORKERS?"


@pytest.mark.parametrize(
    ("flags", "env", "file", "message"),
    [
        ({"backlog": "0"}, {}, "", "--backlog: backlog = '0' must be a whole number ≥ 1 and ≤ 65535"),
        ({}, {"PREFORK_BACKLOG": "x"}, "", "PREFORK_BACKLOG: backlog = 'x' must be a whole number ≥ 1 and ≤ 65535"),
        ({}, {}, "backlog = 65536", "prefork.toml: backlog = 65536 must be a whole number ≥ 1 and ≤ 65535"),
        ({}, {}, "log_level = 'loud'", "prefork.toml: log_level = 'loud' must be one of debug, info, warning, error, "),
        ({}, {}, "target = 3", "prefork.toml: target = 3 must be module:name or module:factory()"),
    ],
)
def test_a_wrong_value_is_named_with_source_key_value_and_bound(
    tmp_path: Path, flags: dict[str, str], env: dict[str, str], file: str, message: str
) -> None:
    (tmp_path / "prefork.toml").write_text(file)
    assert refused(tmp_path, flags, env).startswith(message)


def test_a_wrong_value_is_refused_also_where_it_is_overridden(tmp_path: Path) -> None:
    (tmp_path / "prefork.toml").write_text("workers = 0")
    assert "prefork.toml: workers = 0" in refused(tmp_path, {"workers": "2"})


@pytest.mark.parametrize(("hang", "right"), [("0", True), ("2.001", True), ("2", False), ("1", False)])
def test_the_hang_limit_is_off_or_above_the_stall_limit(tmp_path: Path, hang: str, right: bool) -> None:
    flags, env = {"hang_seconds": hang}, {"PREFORK_STALL_SECONDS": "2"}
    if right:
        assert load(flags, env, tmp_path).settings.hang_seconds == float(hang)
    else:
        expected = f"hang_seconds = {hang} (--hang-seconds) must be 0 or > stall_seconds = 2 (PREFORK_STALL_SECONDS)"
        assert refused(tmp_path, flags, env) == expected


def test_the_share_to_scale_down_is_below_the_one_to_scale_up(tmp_path: Path) -> None:
    assert load({"scale_down_share": "0.74"}, {}, tmp_path).settings.scale_up_share == 0.75
    expected = (
        "scale_down_share = 0.5 (--scale-down-share) must be < scale_up_share = 0.5 (PREFORK_SCALE_UP_SHARE), "
        "or workers come and go"
    )
    assert refused(tmp_path, {"scale_down_share": "0.5"}, {"PREFORK_SCALE_UP_SHARE": "0.5"}) == expected


def test_the_fewest_offloaders_are_no_more_than_the_most(tmp_path: Path) -> None:
    assert load({"offload_min": "2", "offload_max": "2"}, {}, tmp_path).settings.offload_min == 2
    assert load({"offload_min": "3"}, {}, tmp_path).settings.offload_max == "auto"
    expected = "offload_min = 3 (--offload-min) must be ≤ offload_max = 2 (PREFORK_OFFLOAD_MAX)"
    assert refused(tmp_path, {"offload_min": "3"}, {"PREFORK_OFFLOAD_MAX": "2"}) == expected


def test_a_dask_backend_needs_an_address(tmp_path: Path) -> None:
    flags = {"offload_backend": "dask", "offload_address": "tcp://127.0.0.1:8786"}
    assert load(flags, {}, tmp_path).settings.offload_address == "tcp://127.0.0.1:8786"
    assert refused(tmp_path, {"offload_backend": "dask"}) == (
        "offload_backend = dask (--offload-backend) needs offload_address, such as tcp://scheduler:8786"
    )


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    assert refused(tmp_path, {"config": "a.toml"}) == "--config: there is no file 'a.toml'"
    assert refused(tmp_path, env={"PREFORK_CONFIG": "b.toml"}) == "PREFORK_CONFIG: there is no file 'b.toml'"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"workers 3", "prefork.toml: is not valid TOML: "),
        (b"\xff", "prefork.toml: cannot be read: "),
        (b"[tool.prefork]\nworkers = 3", "prefork.toml: unknown key tool"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "prefork.toml").write_bytes(content)
    assert refused(tmp_path).startswith(message)


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    assert refused(tmp_path, {"config": "."}).startswith(".: cannot be read: ")


def test_a_project_table_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\nprefork = 3")
    assert refused(tmp_path) == "pyproject.toml [tool.prefork]: must be a table"


def test_a_project_file_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\nline-length = 120")
    assert load({}, {}, tmp_path).settings == Settings()


def test_a_secret_is_not_repeated_in_an_error() -> None:
    with pytest.raises(UsageError, match=r"admin_token = \*\*\* must be a text of at least 16 characters") as error:
        load({}, {"PREFORK_ADMIN_TOKEN": "hunter2", "PREFORK_ADMIN": "9100"}, None)
    assert "hunter2" not in str(error.value)
