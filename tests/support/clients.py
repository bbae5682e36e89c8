"""Ends clients of MQTT."""

from __future__ import annotations

import paho.mqtt.client as paho


def end_client(client: paho.Client) -> None:
    """Disconnect a client whose loop runs in a thread; the library leaves a connection open that is just being made."""
    client.disconnect()
    client.loop_stop()
    if (left := client.socket()) is not None:
        left.close()
