"""Bounds on waiting: no request of the Hub's client hangs, whoever answers it and however slowly.

The client waits for most answers without any limit, and a limit on silence alone does not see an answer that comes one
byte at a time.
"""

from __future__ import annotations

import http.client
import io
import time
from typing import Any

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

CONNECT, SILENCE = 10.0, 60.0
"""Seconds for a connection, and without a single byte."""
GRACE, LEAST = 30.0, 100
"""Seconds after the first byte of an answer from which on it must have come at so many bytes a second."""


class Paced(io.RawIOBase):
    """Passes an answer on as long as it comes at a pace.

    Raises:
        TimeoutError: when reading, if it does not.
    """

    def __init__(self, raw: Any) -> None:
        self.raw, self.begun, self.count = raw, 0.0, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """As a socket's."""
        number = self.raw.readinto(buffer)
        now = time.monotonic()
        self.begun, self.count = self.begun or now, self.count + (number or 0)
        if number and now - self.begun > GRACE and self.count < LEAST * (now - self.begun):
            raise TimeoutError(f"{self.count} bytes came in {now - self.begun:.0f} s")
        return number

    def close(self) -> None:
        """Let the connection go."""
        self.raw.close()
        super().close()


class PacedResponse(http.client.HTTPResponse):
    """An answer whose head and body are read at a pace."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.fp: Any = io.BufferedReader(Paced(self.fp.detach()))


class _Http(HTTPConnection):
    response_class = PacedResponse  # type: ignore[assignment]


class _Https(HTTPSConnection):
    response_class = PacedResponse  # type: ignore[assignment]


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http  # type: ignore[assignment]


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https  # type: ignore[assignment]


class Patient(HTTPAdapter):
    """Sends requests that are not waited for without end."""

    def init_poolmanager(self, *given: Any, **named: Any) -> None:
        """Connections whose answers are paced."""
        super().init_poolmanager(*given, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def send(self, request: PreparedRequest, *given: Any, **named: Any) -> Response:
        """As the base class, with a limit where the caller has none."""
        named["timeout"] = named.get("timeout") or (CONNECT, SILENCE)
        return super().send(request, *given, **named)


def be_patient() -> None:
    """Let the Hub's client of this process use such connections, unless it is to stay off the network."""
    from huggingface_hub import configure_http_backend, constants

    if not constants.HF_HUB_OFFLINE:
        configure_http_backend(_session)


def _session() -> Session:
    session = Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Patient())
    return session
