"""One Django project, as ASGI and as WSGI app."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.frameworks.site import EXAMPLES, Site, serve

pytestmark = pytest.mark.processes

PROJECT = EXAMPLES / "django_site"


@pytest.fixture(scope="module", params=["project.asgi:application", "project.wsgi:application"])
def site(request: pytest.FixtureRequest, folder: Path, environment: pytest.MonkeyPatch) -> Iterator[Site]:
    data = folder / request.param.partition(":")[0]
    environment.setenv("SITE_FOLDER", str(data))
    manage = [sys.executable, str(PROJECT / "manage.py")]
    quiet = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([*manage, "migrate", "--verbosity", "0"], env=quiet, check=True)
    subprocess.run([*manage, "collectstatic", "--verbosity", "0", "--no-input"], env=quiet, check=True)
    with serve(request.param, folder, "--static", f"/static={data}/static", app_dir=PROJECT) as site:
        yield site


def token(page: httpx.Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found is not None
    return found[1]


def write(client: httpx.Client, title: str, text: str = "words") -> httpx.Response:
    form = {"csrfmiddlewaretoken": token(client.get("/")), "title": title, "text": text}
    return client.post("/", data=form)


def test_a_note_is_kept_and_shown_by_every_worker(site: Site) -> None:
    kept = write(site.http, "Tea & cake", "one\n\ntwo")
    assert kept.status_code == 302
    shown = site.http.get(kept.headers["location"])
    assert "Tea &amp; cake” is kept." in shown.text
    assert "<p>one</p>\n\n<p>two</p>" in shown.text
    for _ in range(2):  # on both workers
        with site.client() as client:
            client.cookies = site.http.cookies
            page = client.get("/")
            assert "Tea &amp; cake</a>" in page.text
            assert "You have written 1 note." in page.text  # the session is there too


def test_writers_wait_for_each_other(site: Site) -> None:
    with site.client() as one, site.client() as other:
        for number in range(5):
            assert write(one, f"one {number}").status_code == 302
            assert write(other, f"other {number}").status_code == 302
        assert one.get("/").text.count("<li><a") >= 10


def test_a_form_needs_its_token_and_its_fields(site: Site) -> None:
    assert site.http.post("/", data={"title": "a", "text": "b"}).status_code == 403
    refused = write(site.http, "", "words")
    assert refused.status_code == 422
    assert "This field is required." in refused.text
    assert site.http.get("/notes/99999/").status_code == 404
    assert site.http.get("/none").status_code == 404
    assert site.http.get("/", headers={"host": "elsewhere"}).status_code == 400


def test_responses_are_streamed(site: Site) -> None:
    write(site.http, 'A "quoted" one')
    export = site.http.get("/notes.csv")
    assert export.headers["content-disposition"] == "attachment"
    assert ',"A ""quoted"" one",words\r\n' in export.text
    ticks = site.http.get("/ticks/3/")
    assert ticks.headers["content-type"] == "text/event-stream"
    assert ticks.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_the_admin_site_and_its_files_are_there(site: Site) -> None:
    login = site.http.get("/admin/", follow_redirects=True)
    assert "Django administration" in login.text
    style = re.search(r'href="(/static/admin/css/base\S*\.css)"', login.text)
    assert style is not None
    assert site.http.get(style[1]).headers["content-type"].startswith("text/css")
