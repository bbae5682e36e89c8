r"""What a simulated device fetches: the offered file, checked, and the fault that the release has by its own meta-data.

For rehearsals, the meta-data of an artifact's payload may say on which devices its installation fails:

    {"fault": {"where": "provides.os = \"os-4\"", "code": "install-failed", "text": "panel needs the API of os-5"}}

`where` is a filter (docs/filters.md) of what a device knows of itself: its id, its type, the release that it runs,
`inventory` and `provides`. So it is the release that is broken, not the fleet, and another artifact may repair it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, NamedTuple

import msgspec
import requests  # here, and not in the threads that fetch: several at once would find it half imported
from msgspec import Meta

from wainwright_common.artifact import ArtifactReader
from wainwright_common.codes import Code
from wainwright_common.errors import ArtifactError
from wainwright_common.messages import Offer, Reason
from wainwright_common.prepared import prepare
from wainwright_controller.rules.filters import Attributes, BadFilter, Filter, parse

TIMEOUT_S = 30.0  # to connect, and between two bytes
CHUNK = 256 * 1024  # bytes
TEXT_MAX = 2000  # characters of a report's error
TOLD_TO_FAIL = "The simulated installation failed, as it was told to."


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """On which devices an artifact fails to install, and what they report then."""

    where: str
    code: Code = Code.INSTALL_FAILED
    text: Annotated[str, Meta(min_length=1, max_length=TEXT_MAX)] = TOLD_TO_FAIL

    def error_on(self, attributes: Attributes) -> Reason | None:
        """Return what a device with these attributes reports; None if the artifact installs on it."""
        try:
            is_met = _filter(self.where).matches(attributes)
        except BadFilter as error:
            return Reason(code=Code.INSTALL_FAILED.value, text=f"The fault in the meta-data: {error}"[:TEXT_MAX])
        return Reason(code=self.code.value, text=self.text) if is_met else None


class Fetched(NamedTuple):
    """What came of a download: why it failed, or the fault in the artifact, if it has one."""

    problem: str | None = None
    fault: Fault | None = None


class _MetaData(msgspec.Struct, frozen=True):
    fault: Fault | None = None


prepare(_MetaData)


def fetch(offer: Offer) -> Fetched:
    """Download what is offered, and check length and digest."""
    timeout = (TIMEOUT_S, TIMEOUT_S)
    try:
        with requests.get(offer.artifact.uri, stream=True, timeout=timeout) as response:
            response.raise_for_status()
            stream = _Hashed(response.iter_content(CHUNK))
            fault = fault_in(ArtifactReader(stream).header.meta_data)
            while stream.read(CHUNK):
                pass
    except ArtifactError as error:
        return Fetched(f"The artifact cannot be read: {error}"[:TEXT_MAX])
    except requests.RequestException as error:
        return Fetched(f"The artifact could not be fetched: {error}."[:TEXT_MAX])
    if stream.size != offer.artifact.size or stream.digest.hexdigest() != offer.artifact.sha256:
        return Fetched(f"The link gave {stream.size} bytes that are not the offered file of {offer.artifact.size}.")
    return Fetched(fault=fault)


def fault_in(meta_data: bytes) -> Fault | None:
    """Return the fault that an artifact's meta-data describes; one that cannot be read fails on every device."""
    try:
        return msgspec.json.decode(meta_data or b"{}", type=_MetaData).fault
    except msgspec.ValidationError as error:
        text = f"The fault in the meta-data cannot be read: {error}."
        return Fault(where="device_id exists", text=text[:TEXT_MAX])


@lru_cache(maxsize=16)
def _filter(text: str) -> Filter:
    """Return the filter that a text is: the same for a whole fleet."""
    return parse(text)


class _Hashed:
    """The pieces of a response as a stream, counted and hashed when they come."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""
        self.size = 0
        self.digest = hashlib.sha256()

    def read(self, n: int, /) -> bytes:
        """Return up to `n` bytes, none at the end only."""
        if not self._left:
            self._left = next(self._pieces, b"")
            self.size += len(self._left)
            self.digest.update(self._left)
        data, self._left = self._left[:n], self._left[n:]
        return data
