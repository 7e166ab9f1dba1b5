"""The framework's idea of an exchange is the one the http layer serves."""

from prefork.apps.application import Application
from prefork.apps.native import AppApplication, HandlerApplication
from prefork.http.exchange import Exchange as HttpExchange
from prefork.web.exchange import Exchange
from tests.web.fake_exchange import FakeExchange


def test_real_and_fake_exchange_offer_all_the_framework_asks_for() -> None:
    asked = {name for name in vars(Exchange) if not name.startswith("_")}
    fake = FakeExchange()
    for name in asked:
        assert hasattr(HttpExchange, name), name
        assert hasattr(fake, name), name


def conforms(real: HttpExchange, fake: FakeExchange, app: AppApplication, handler: HandlerApplication) -> None:
    """Checked by mypy: each of these fits its interface."""
    exchanges: list[Exchange] = [real, fake]
    applications: list[Application] = [app, handler]
    assert exchanges
    assert applications
