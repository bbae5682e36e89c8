"""A client of the broker that shows a certificate, and never comes back by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.clients import end_client
from tests.support.wait import PATIENCE_S, wait_until


class TlsSession:
    """One connection; `is_up` until somebody ends it."""

    def __init__(self, port: int, ca: Path, certificate: Path, key: Path, client_id: str = "") -> None:
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id or certificate.stem, reconnect_on_failure=False
        )
        self._client.tls_set(str(ca), str(certificate), str(key))
        self._port = port
        self.is_up = False
        self._has_ended = False
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect

    def _on_connect(self, _client: object, _data: object, _flags: object, reason: Any, _properties: object) -> None:  # noqa: ANN401  paho's
        self.is_up = not reason.is_failure

    def _on_disconnect(self, *_: object) -> None:
        self.is_up = False
        self._has_ended = True

    def will(self, topic: str, payload: bytes) -> Self:
        """Leave a last will; to be called first."""
        self._client.will_set(topic, payload, 1)
        return self

    def start(self) -> Self:
        """Connect, which must work."""
        assert self.tries(), "the broker refuses the certificate"
        return self

    def tries(self) -> bool:
        """Connect; says whether the broker let it in. With TLS 1.3 a client is told after it has connected."""
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        wait_until(lambda: self.is_up or self._has_ended, what="the broker's answer")
        return self.is_up

    def publish(self, topic: str, payload: bytes = b"x") -> None:
        """Send a message, and wait until the broker has it."""
        sent = self._client.publish(topic, payload, qos=1)
        sent.wait_for_publish(PATIENCE_S)
        assert sent.is_published(), "the broker does not take it"

    def stop(self) -> None:
        """Disconnect."""
        end_client(self._client)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
