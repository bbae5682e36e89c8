"""A publisher that costs next to nothing: packets encoded beforehand, one socket, nothing kept.

Only for benchmarks: it speaks just enough MQTT 3.1.1 to publish at QoS 1 on a broker that behaves.
"""

from __future__ import annotations

import selectors
import socket
import struct
from collections.abc import Iterable

CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04load"  # clean session, no keep alive, client id "load"
CONNACK_LENGTH, PUBACK_LENGTH = 4, 4
IDS = 65_535  # packet identifiers; more may be in flight here than MQTT allows, so they are used again in turn
READ_MAX = 1 << 16
WINDOW = 2000  # messages that the broker has not acknowledged: it queues what waits to be sent, without bound


def publish_packet(topic: str, payload: bytes, number: int) -> bytes:
    """Return a PUBLISH packet at QoS 1 (MQTT 3.1.1 section 3.3)."""
    name = topic.encode()
    body = struct.pack("!H", len(name)) + name + struct.pack("!H", number % IDS + 1) + payload
    return b"\x32" + _length(len(body)) + body


def _length(n: int) -> bytes:
    digits = bytearray()
    while True:
        n, digit = divmod(n, 128)
        digits.append(digit | 0x80 if n else digit)
        if not n:
            return bytes(digits)


def publish_all(port: int, packets: Iterable[bytes]) -> None:
    """Publish packets in their order; returns when the broker has acknowledged all.

    Raises OSError when the broker ends the connection before.
    """
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(CONNECT)
        _read_exactly(connection, CONNACK_LENGTH)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting = 0.0
        chunk: list[bytes] = []
        for packet in packets:
            chunk.append(packet)
            if len(chunk) == WINDOW // 4:
                waiting += _send(connection, chunk)
                chunk = []
                while waiting > WINDOW:
                    waiting -= _answers(connection)
        waiting += _send(connection, chunk)
        while waiting > 0:
            waiting -= _answers(connection)


def _send(connection: socket.socket, chunk: list[bytes]) -> float:
    """Send a chunk while taking acknowledgements, so that neither side waits for the other; returns those left open."""
    data, answered = memoryview(b"".join(chunk)), 0.0
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while data:
            for _, events in selector.select():
                if events & selectors.EVENT_READ:
                    answered += _answers(connection)
                if events & selectors.EVENT_WRITE:
                    data = data[connection.send(data) :]
    return len(chunk) - answered


def _answers(connection: socket.socket) -> float:
    """Return how many acknowledgements have come; raises ConnectionError when the broker has ended the connection."""
    data = connection.recv(READ_MAX)
    if not data:
        raise ConnectionError("the broker has ended the connection")
    return len(data) / PUBACK_LENGTH


def _read_exactly(connection: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        data += connection.recv(n - len(data))
    return data
