"""A real browser on the chat's page, which checks fetch, an upload, server-sent events and a WebSocket."""

from pathlib import Path

import pytest

from tests.frameworks.browser import CHROMIUM, browser
from tests.frameworks.site import serve

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed"),
]

COLOURS = "Object.fromEntries([...document.querySelectorAll('#checks span')].map(one => [one.id, one.className]))"
WRITTEN = "[...document.querySelectorAll('#messages li')].map(line => line.lastChild.textContent)"


@pytest.mark.parametrize("target", ["chat.on_starlette:app", "chat.on_prefork:app"])
def test_everything_a_page_uses_works(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_FOLDER", str(tmp_path / "chat"))
    with serve(target, tmp_path) as site, browser(tmp_path / "profile") as page:
        page.open(site.url)
        verdict = page.evaluate("window.checked")
        page.screenshot(tmp_path / "page.png")
        assert page.evaluate(COLOURS) == dict.fromkeys(("fetch", "upload", "events", "socket"), "good")
        assert (verdict, page.evaluate("document.querySelector('#verdict').textContent")) == ("all good", "all good")
        came, heard = page.evaluate(WRITTEN)
        assert came.endswith("came in")
        assert heard.endswith("☺")
        assert (tmp_path / "page.png").stat().st_size > 1000
