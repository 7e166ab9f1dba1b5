"""What stands in `examples/deploy` works as it stands: units, manifest and image agree with our settings, and real
balancers in front of real servers lose nothing while one after the other is restarted."""

import configparser
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from prefork.cli.serve import serve
from prefork.core.health import DRAIN_GRACE_SECONDS
from prefork.settings import Settings
from prefork.settings.sources import load
from tests.processes.balancers import DEPLOY, Balancer, Machine, put
from tests.processes.client import Client
from tests.processes.load import Load
from tests.processes.patience import GUARD_SECONDS

yaml: Any = importlib.import_module("yaml")  # it has no types

PRINT = Path(sys.executable).with_name("prefork")
TRUSTING = ("--access-log", "--forwarded-allow", "127.0.0.0/8")
MOST_EXPOSURE = 20  # of systemd-analyze's 100


def settings_of(command: Sequence[str]) -> Settings:
    """What `prefork serve …` in an example means. UsageError if it means nothing."""
    program, verb, *arguments = command
    assert (Path(program).name, verb) == ("prefork", "serve")
    context = serve.make_context("serve", arguments)
    loaded = load(context.params, {}, None)
    assert loaded.target == "shop:app"
    return loaded.settings


def longest_stop(settings: Settings) -> float:
    """Seconds from SIGTERM until the last worker is gone, whatever it does."""
    return settings.drain_delay + settings.drain_seconds + DRAIN_GRACE_SECONDS


def in_comment(name: str) -> Settings:
    """What a balancer's configuration says that the servers behind it are started with."""
    [command] = re.findall(r"^# +(prefork serve .*)$", (DEPLOY / name).read_text(), re.MULTILINE)
    return settings_of(shlex.split(command))


def seconds(pattern: str, name: str) -> float:
    """A time of an example's."""
    [found] = re.findall(pattern, (DEPLOY / name).read_text())
    return float(found)


# -- systemd


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / name)
    return parser


def test_the_unit_gives_a_server_the_time_it_may_take() -> None:
    service = unit("prefork.service")["Service"]
    settings = settings_of(shlex.split(service["ExecStart"]))
    assert service["Type"] == "notify"
    assert float(service["TimeoutStopSec"]) > longest_stop(settings)
    assert float(service["TimeoutStartSec"]) > 2 * settings.boot_seconds  # the mold, then the workers
    assert float(service["WatchdogSec"]) > 2 * settings.stall_seconds
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["KillMode"] == "mixed"  # the master alone is asked to stop
    assert (settings.control, service["RuntimeDirectory"]) == ("/run/shop/control", "shop")


def test_the_socket_has_room_for_as_many_as_we_would_have() -> None:
    assert int(unit("prefork.socket")["Socket"]["Backlog"]) >= Settings().backlog


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = put((DEPLOY / "prefork.service").read_text(), {"/srv/shop/.venv/bin/prefork": str(PRINT)})
    service, listening = tmp_path / "prefork.service", tmp_path / "prefork.socket"
    service.write_text(text)
    shutil.copy(DEPLOY / "prefork.socket", listening)
    checks = (
        ("verify", "--man=no", str(service), str(listening)),
        ("security", "--offline=yes", "--no-pager", f"--threshold={MOST_EXPOSURE}", str(service)),
    )
    for check in checks:
        done = subprocess.run(
            ["systemd-analyze", *check], check=False, capture_output=True, text=True, timeout=GUARD_SECONDS
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""


# -- containers


def test_the_manifest_gives_a_pod_the_time_it_may_take() -> None:
    pod, container, settings = deployment()
    assert pod["terminationGracePeriodSeconds"] > longest_stop(settings)
    startup, readiness, liveness = (container[f"{name}Probe"] for name in ("startup", "readiness", "liveness"))
    assert startup["periodSeconds"] * startup["failureThreshold"] > settings.boot_seconds
    noticed = readiness["periodSeconds"] * readiness["failureThreshold"] + readiness["timeoutSeconds"]
    assert settings.drain_delay >= 2 * noticed  # as long again for the proxies to hear of it
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > 5  # a master is silent for so long before /livez


def test_the_manifest_probes_the_admin_server_and_serves_the_app() -> None:
    _, container, settings = deployment()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert [bind.rpartition(":")[2] for bind in settings.bind] == [str(ports["http"])]
    assert settings.admin == f"0.0.0.0:{ports['admin']}"  # the kubelet comes from outside the pod
    paths = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
    assert paths == [{"path": path, "port": "admin"} for path in ("/readyz", "/readyz", "/livez")]
    service = manifest()["Service"]["spec"]
    assert [port["targetPort"] for port in service["ports"]] == ["http"]  # nobody outside reaches the admin server


def test_the_manifest_lets_a_pod_touch_nothing() -> None:
    pod, container, _ = deployment()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}


def test_parts_of_the_manifest_find_each_other() -> None:
    parts = manifest()
    labels = parts["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert parts["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert parts["Service"]["spec"]["selector"] == labels
    assert parts["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_the_image_runs_what_the_manifest_runs_as_the_same_user() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    words = {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}
    pod, _, settings = deployment()
    image = settings_of(json.loads(words["CMD"]))
    names = ("bind", "admin", "drain_delay", "drain_seconds", "boot_seconds", "log_format")
    assert [getattr(image, name) for name in names] == [getattr(settings, name) for name in names]
    assert words["USER"] == f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert words["STOPSIGNAL"] == "SIGTERM"
    [stop] = re.findall(r"--stop-timeout (\d+)", (DEPLOY / "Dockerfile").read_text())
    assert float(stop) > longest_stop(image)


def manifest() -> dict[str, Any]:
    return {part["kind"]: part for part in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def deployment() -> tuple[dict[str, Any], dict[str, Any], Settings]:
    """Its pod, that one's container, and what runs in it."""
    pod: dict[str, Any] = manifest()["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    return pod, container, settings_of(container["args"])


# -- balancers


@pytest.fixture
def balancer(tmp_path: Path) -> Iterator[Balancer]:
    balancer = Balancer(tmp_path)
    yield balancer
    balancer.close()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Machine]]:
    """Two, not started yet."""
    found = []
    for number in (1, 2):
        (tmp_path / f"m{number}").mkdir()
        found.append(Machine(tmp_path / f"m{number}", f"127.0.0.{10 + number}"))
    yield found
    for machine in found:
        machine.close()
        print(machine.report())


def restart_one_after_the_other(machines: list[Machine], address: str, settle_seconds: float = 0.0) -> Load:
    """Under load, and never before the balancer has found the last one back, and has had time to trust it again."""
    with Load(address, keep_alive=2, closing=2) as load:
        for machine in machines:
            fresh = machine.restart()
            limit = time.monotonic() + GUARD_SECONDS
            while not fresh & load.answered_by.keys():
                assert time.monotonic() < limit, f"{machine.address} is not found back\n{machine.report()}"
                load.wait_answers(1)
            settled = time.monotonic() + settle_seconds
            while time.monotonic() < settled:
                load.wait_answers(1)
        load.wait_answers(10)
    return load


def check_forwarded(machines: list[Machine], address: str) -> None:
    """The machines know whose requests these are, and a client cannot tell them otherwise."""
    with Client(address) as client:
        assert client.get("/who?last", "x-forwarded-for: 192.0.2.7\r\nforwarded: for=192.0.2.8\r\n").status == 200
    for machine in machines:
        assert machine.tree.stop() == 0
    records = [record for machine in machines for record in machine.tree.output.records]
    [last] = [record for record in records if "/who?last" in str(record["request"])]
    assert last["client"] == "127.0.0.1:0"  # the balancer tells addresses without ports
    assert {record["client"] for record in records} == {"127.0.0.1:0"}


@pytest.mark.processes
def test_behind_haproxy_a_rolling_restart_fails_no_request_and_none_is_asked_twice(
    machines: list[Machine], balancer: Balancer
) -> None:
    for machine in machines:
        machine.start(*TRUSTING, "--drain-delay", "0.5")
    text = (DEPLOY / "haproxy.cfg").read_text()
    text = put(text, {"bind :80": f"bind {balancer.address.removeprefix('http://')}", "inter 2s": "inter 100ms"})
    text = put(text, {"check port 9000": "check", "maxconn 8000": "maxconn 200"})
    text = put(text, {"retries 3": "retries 0", "retry-on conn-failure empty-response": "retry-on none"})
    places = {
        f"10.0.0.1{number}:8000": f"{machine.address} port {machine.admin_port}"
        for number, machine in enumerate(machines, 1)
    }
    balancer.start_haproxy(put(text, places))
    load = restart_one_after_the_other(machines, balancer.address)
    assert load.losses == []
    assert [load.connections[client] for client in load.keep_alive] == [1, 1]
    check_forwarded(machines, balancer.address)


@pytest.mark.processes
def test_behind_nginx_a_rolling_restart_fails_no_request(machines: list[Machine], balancer: Balancer) -> None:
    for machine in machines:
        machine.start(*TRUSTING)
    text = (DEPLOY / "nginx.conf").read_text()
    places = {
        "listen 80;": f"listen {balancer.address.removeprefix('http://')};",
        "/var/log/nginx/shop.log": str(balancer.folder / "access.log"),
        "fail_timeout=5s": "fail_timeout=1s",
        "client_max_body_size 16m;": "keepalive_requests 1000000;",  # our clients do not look at Connection: close
    }
    places |= {f"10.0.0.1{number}:8000": machine.address for number, machine in enumerate(machines, 1)}
    balancer.start_nginx(put(text, places))
    # It counts in whole seconds, and looks at answers only: that a machine is back it knows after fail_timeout and one
    # more. If the other one goes before, it has none.
    load = restart_one_after_the_other(machines, balancer.address, settle_seconds=2.5)
    assert load.losses == []
    check_forwarded(machines, balancer.address)


def test_haproxy_looks_often_enough_to_see_a_machine_drain() -> None:
    settings = in_comment("haproxy.cfg")
    assert settings.drain_delay > seconds(r"inter (\d+)s", "haproxy.cfg") * (
        seconds(r"fall (\d+)", "haproxy.cfg") + 0.5
    )
    assert settings.admin is not None
    assert float(settings.admin.rpartition(":")[2]) == seconds(r"check port (\d+)", "haproxy.cfg")


def test_balancers_close_idle_connections_before_the_machines_do() -> None:
    for name, pattern in (("haproxy.cfg", r"pool-purge-delay (\d+)s"), ("nginx.conf", r" keepalive_timeout (\d+)s")):
        assert seconds(pattern, name) < in_comment(name).keep_alive_seconds
