"""The pytest plugin, used by tests in a project of their own."""

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.processes.proc import Death

pytest_plugins = "pytester"

# Installed from this tree, pytest finds it by itself; until then it is named.
_INSTALLED = any(found.value == "prefork.testing.plugin" for found in entry_points(group="pytest11"))
PLUGIN = () if _INSTALLED else ("-p", "prefork.testing.plugin")

SHOP = """
import os
from prefork import App
app = App()
@app.get("/")
async def hello(request):
    return "first"
@app.get("/pid")
async def pid(request):
    return str(os.getpid())
@app.on_shutdown
def bye():
    print("goodbye", flush=True)
"""


def run(pytester: pytest.Pytester, test: str, **files: str) -> pytest.RunResult:
    """Run a test module in a folder with these other modules."""
    pytester.makepyfile(test_it=test, **files)
    return pytester.runpytest_subprocess("-q", "-W", "error", *PLUGIN)


def test_a_server_in_a_thread_serves_until_the_test_ends(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import threading
        import httpx
        from shop import app

        def test_it(prefork_server):
            server = prefork_server(app, server_header=False)
            answer = httpx.get(server.url)
            assert (answer.text, "server" in answer.headers) == ("first", False)
            assert httpx.get(f"http://127.0.0.1:{server.port}/").text == "first"

        def test_two(prefork_server):
            one, two = prefork_server(app), prefork_server(lambda request: "two")
            assert (httpx.get(one.url).text, httpx.get(two.url).text) == ("first", "two")
            one.stop()
            one.stop()

        def test_after():
            ours = [t for t in threading.enumerate() if t.name.startswith("prefork")]
            for thread in ours:
                thread.join(10)  # an idle one that was told to end may still be on its way
            assert [t for t in ours if t.is_alive()] == []
        """,
        shop=SHOP,
    )
    done.assert_outcomes(passed=3)


def test_a_server_in_a_thread_serves_tests_with_a_loop_of_their_own(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import asyncio
        import httpx
        from shop import app

        def test_it(prefork_server):
            async def main():
                server = prefork_server(app)
                async with httpx.AsyncClient() as client:
                    answers = await asyncio.gather(*(client.get(server.url) for _ in range(10)))
                assert {answer.text for answer in answers} == {"first"}
            asyncio.run(main())
        """,
        shop=SHOP,
    )
    done.assert_outcomes(passed=1)


def test_a_server_that_cannot_start_raises_the_apps_own_error(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import pytest
        import prefork

        def test_it(prefork_server):
            app = prefork.App()
            @app.on_startup
            def fail():
                raise LookupError("no database")
            with pytest.raises(LookupError, match="no database"):
                prefork_server(app)
            with pytest.raises(prefork.errors.UsageError, match="did you mean threads"):
                prefork_server(app, thread=1)
            prefork_server(app)
        """,
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines("*LookupError: no database*")


def test_a_failed_test_ends_its_server_too(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        from shop import app

        def test_it(prefork_server):
            prefork_server(app)
            assert False, "on purpose"
        """,
        shop=SHOP,
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines("goodbye")


@pytest.mark.processes
def test_a_cluster_is_a_real_tree(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import os, signal
        import httpx
        import pytest

        def test_it(prefork_cluster):
            cluster = prefork_cluster("shop:app", workers=2, server_header=False)
            assert len(cluster.workers) == 2
            assert {int(httpx.get(f"{cluster.url}/pid").text) for _ in range(4)} == set(cluster.workers)
            assert cluster.url == f"http://127.0.0.1:{cluster.port}"
            assert "server" not in httpx.get(cluster.url).headers
            os.kill(cluster.pid, 0)
            assert cluster.stop() == 0
            assert cluster.log.count("goodbye") == 2
            assert "listening on http://127.0.0.1:" in cluster.log
            with pytest.raises(ProcessLookupError):
                os.kill(cluster.pid, 0)

        def test_app_itself(prefork_cluster):
            from shop import app
            assert httpx.get(prefork_cluster(app, workers=1).url).text == "first"
        """,
        shop=SHOP,
    )
    done.assert_outcomes(passed=2)


@pytest.mark.processes
def test_a_reload_serves_new_code_or_says_why_not(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        from pathlib import Path
        import httpx
        import pytest
        from prefork.testing.cluster import ClusterError

        def test_it(prefork_cluster):
            cluster = prefork_cluster("shop:app")
            old = cluster.workers
            shop = Path("shop.py")
            shop.write_text(shop.read_text().replace("first", "second"))
            cluster.reload()
            assert {httpx.get(cluster.url).text for _ in range(4)} == {"second"}
            assert not set(old) & set(cluster.workers)
            shop.write_text("raise RuntimeError('typing error')")
            with pytest.raises(ClusterError, match="typing error"):
                cluster.reload()
            assert httpx.get(cluster.url).text == "second"
            shop.write_text("from prefork import App; app = App()")
            cluster.reload()
            assert httpx.get(cluster.url).status_code == 404
        """,
        shop=SHOP,
    )
    done.assert_outcomes(passed=1)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("'shop:app', bind='127.0.0.256:0'", "*cannot bind 127.0.0.256:0*"),
        ("'shop:ap'", "*has no 'ap'; did you mean 'app'*"),
        ("'broken:app'", "*RuntimeError: broken on purpose*"),
        ("'shop:app', worker=2", "*no setting worker; did you mean workers*"),
        ("'shop:app', log_file='x'", "*log_file: the log and the readiness of a cluster are its own*"),
    ],
)
def test_a_cluster_that_cannot_start_shows_why(pytester: pytest.Pytester, call: str, said: str) -> None:
    done = run(
        pytester,
        f"def test_it(prefork_cluster):\n    prefork_cluster({call})\n",
        shop=SHOP,
        broken="raise RuntimeError('broken on purpose')",
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(said)


@pytest.mark.processes
@pytest.mark.parametrize("how", ["assert False", "os.kill(cluster.pid, 9)", "os.kill(cluster.pid, 19)"])
def test_nothing_of_a_cluster_outlives_its_test(pytester: pytest.Pytester, how: str) -> None:
    done = run(
        pytester,
        f"""
        import os, signal
        from pathlib import Path
        import httpx

        def test_it(monkeypatch, prefork_cluster):  # in this order: the first one is undone last
            monkeypatch.setattr("prefork.testing.cluster.END_SECONDS", 0.2)
            cluster = prefork_cluster("shop:app", workers=2)
            Path("pids").write_text(" ".join(map(str, [cluster.pid, *cluster.workers])))
            {how}
        """,
        shop=SHOP,
    )
    done.assert_outcomes(**({"failed": 1} if "assert" in how else {"passed": 1}))
    for pid in (pytester.path / "pids").read_text().split():
        try:
            Death(int(pid)).wait()
        except ProcessLookupError:
            pass
    if "assert" in how:
        done.stdout.fnmatch_lines("*log of prefork serve shop:app:*")


@pytest.mark.processes
def test_a_worker_that_dies_is_replaced_in_the_list(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import os, signal
        import httpx

        def test_it(prefork_cluster):
            cluster = prefork_cluster("shop:app", workers=1)
            [old] = cluster.workers
            os.kill(old, signal.SIGKILL)
            new = int(httpx.get(f"{cluster.url}/pid").text)
            assert new != old
            while cluster.workers != [new]:  # until its log has been read as far
                httpx.get(cluster.url)
        """,
        shop=SHOP,
    )
    done.assert_outcomes(passed=1)


def test_the_plugin_costs_projects_that_do_not_use_it_nothing() -> None:
    program = "import prefork.testing.plugin, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"uvloop", "httptools", "msgspec", "prefork.web", "prefork.http", "prefork.processes", "prefork.settings"}
    assert not set(loaded) & heavy


def test_the_project_names_the_plugin_for_pytest() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"prefork": "prefork.testing.plugin"}
