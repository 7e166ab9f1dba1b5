"""One line per answered request, as text or JSON, with everything a client sent escaped."""

import json
import time
from collections.abc import Callable
from typing import Final

from prefork.errors import RequestError
from prefork.http.exchange import Exchange

_NO_VALUE: Final = "-"


class AccessLog:
    """Formats what was answered and passes the lines on."""

    def __init__(self, write: Callable[[bytes], None], who: str | dict[str, object]) -> None:
        """`who` tells which process speaks: as text for lines of text, as fields for lines of JSON."""
        self._write = write
        self._who = who

    def answered(self, exchange: Exchange, seconds: float) -> None:
        self._line(
            client=exchange.client,
            request=f"{exchange.method} {exchange.target.decode('latin-1')} HTTP/1.{exchange.http_minor}",
            status=exchange.status,
            size=exchange.bytes_sent,
            seconds=seconds,
            referer=_field(exchange, b"referer"),
            agent=_field(exchange, b"user-agent"),
        )

    def refused(self, client: tuple[str, int] | None, error: RequestError) -> None:
        """A request that was too wrong to have a method or a target."""
        self._line(client, None, error.status, 0, 0.0, None, None)

    def _line(
        self,
        client: tuple[str, int] | None,
        request: str | None,
        status: int,
        size: int,
        seconds: float,
        referer: str | None,
        agent: str | None,
    ) -> None:
        now = time.time()
        address = f"{client[0]}:{client[1]}" if client is not None else None
        if not isinstance(self._who, str):
            fields = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z",
                "level": "info",
                **self._who,
                "logger": "prefork.access",
                "client": address,
                "request": request,
                "status": status,
                "bytes": size,
                "seconds": round(seconds, 6),
                "referer": referer,
                "user_agent": agent,
            }
            self._write(json.dumps(fields, ensure_ascii=True).encode() + b"\n")
            return
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) + f".{int(now % 1 * 1000):03d}"
        self._write(
            f"{when} {self._who} {address or _NO_VALUE} {_quote(request)} {status} {size} {seconds * 1000:.1f}ms"
            f" {_quote(referer)} {_quote(agent)}\n".encode()
        )


def _field(exchange: Exchange, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in exchange.fields if key == name), None)


def _quote(text: str | None) -> str:
    """Quoted, with quotes, backslashes and whatever is not plain ASCII escaped: one request stays one line."""
    if text is None:
        return '"-"'
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
