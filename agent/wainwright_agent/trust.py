"""Which authority is believed for the controller's HTTPS, where downloads come from it: the one that enrolment uses."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from wainwright_agent.config import Config
from wainwright_agent.credentials import Credentials


class Trust(msgspec.Struct, frozen=True):
    """A server, as `https://host:port`, and the PEM file of the authority that is believed for it, and for no other."""

    origin: str
    ca: str

    def ca_for(self, uri: str) -> str | None:
        """Return the file to believe for an address; None for one of another server."""
        return self.ca if origin_of(uri) == self.origin else None


def trust_of(config: Config) -> Trust | None:
    """Return what a configuration says; None where the system's authorities are believed."""
    enrolment = config.enrolment
    if not enrolment.url or not (enrolment.ca or enrolment.ca_fingerprint):
        return None
    return Trust(origin_of(enrolment.url), str(enrolment.ca or Credentials(config.data_dir).ca))


def origin_of(uri: str) -> str:
    """Return scheme, host and port of an address; "" for what has none.

    >>> origin_of("https://Updates.example/download/1"), origin_of("https://h:8443"), origin_of("file:///x")
    ('https://updates.example:443', 'https://h:8443', '')
    """
    try:
        parts = urlsplit(uri)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname and port else ""
