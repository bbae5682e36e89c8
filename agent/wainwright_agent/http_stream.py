"""An artifact over HTTP as a stream of exactly the offered bytes, taken up again where a connection broke.

1. The length that a server names must be the offered one; what it sends may be neither more nor less.
2. A broken connection is taken up by a Range request with If-Range, so that another file is not mixed in. A server that
   does not know ranges sends the whole file again: what is known already is skipped.
3. A refusal (4xx) is final here, except for "too early" and "too many"; the controller gives a fresh link.

Whether the bytes are the right ones is for the digest and the signature to say. A download that goes on after a restart
of the agent would begin here, with an offset and an ETag from the journal.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

import requests
import urllib3.exceptions

from wainwright_agent.failure import UpdateError
from wainwright_common.codes import Code
from wainwright_common.messages import Artifact

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0  # between two bytes; the Mender client waits five minutes, and blocks its module as long
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0)  # about three minutes; then the controller decides
CHUNK_MAX = 1024 * 1024  # bytes of one read, so that progress and memory stay even
TRY_AGAIN = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})

log = logging.getLogger(__name__)


class _Broken(Exception):  # noqa: N818  becomes an UpdateError when no try is left
    """The connection broke, or the server cannot answer now."""


class HttpStream:
    """Reads the file of an offer; `read` raises UpdateError (download-failed, verification-failed)."""

    def __init__(
        self, artifact: Artifact, on_bytes: Callable[[int], None], pauses_s: Sequence[float] = PAUSES_S
    ) -> None:
        self._artifact = artifact
        self._on_bytes = on_bytes
        self._pauses = iter(pauses_s)
        self._session = requests.Session()
        self._response: requests.Response | None = None
        self._etag: str | None = None
        self._hash = hashlib.sha256()
        self.offset = 0

    def read(self, n: int) -> bytes:
        """Return up to `n` of the next bytes; none at the end, which comes at the offered size exactly."""
        while True:
            try:
                data = self._read_some(min(n, CHUNK_MAX))
            except _Broken as error:
                self._pause(error)
                continue
            self._hash.update(data)
            self.offset += len(data)
            self._on_bytes(self.offset)
            return data

    def check_digest(self) -> None:
        """Read what is left, and raise UpdateError unless the whole was the offered file."""
        while self.read(CHUNK_MAX):
            pass
        if self._hash.hexdigest() != self._artifact.sha256:
            raise UpdateError(
                Code.VERIFICATION_FAILED,
                f"The file has the digest {self._hash.hexdigest()}, not {self._artifact.sha256} as offered. "
                "It was changed in the store or on the way.",
            )

    def close(self) -> None:
        """Close the connection."""
        if self._response is not None:
            self._response.close()
        self._session.close()

    def _read_some(self, n: int) -> bytes:
        if self._response is None:
            self._response = self._request()
        try:
            data: bytes = self._response.raw.read(n)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _Broken(f"the connection broke: {error}") from error
        left = self._artifact.size - self.offset
        if len(data) > left:
            raise UpdateError(
                Code.VERIFICATION_FAILED, f"The file is longer than the {self._artifact.size} bytes offered."
            )
        if not data and left:
            raise _Broken(f"the connection ended {left} bytes early")
        return data

    def _request(self) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}
        if self.offset:
            headers["Range"] = f"bytes={self.offset}-"
            if self._etag:
                headers["If-Range"] = self._etag
        try:
            response = self._session.get(
                self._artifact.uri, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
            )
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _Broken(str(error)) from error
        except requests.RequestException as error:
            raise UpdateError(Code.DOWNLOAD_FAILED, f"The link cannot be used: {error}.") from error
        try:
            self._check(response)
        except BaseException:
            response.close()
            raise
        return response

    def _check(self, response: requests.Response) -> None:
        """Accept a response that gives the file from the offset on; skips up to it where necessary."""
        status = response.status_code
        if status in TRY_AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _Broken(f"the server answered {status} {response.reason}")
        if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            text = f"The server answered {status} {response.reason} to the artifact's link."
            raise UpdateError(Code.DOWNLOAD_FAILED, text)
        etag = response.headers.get("ETag", "")
        if self.offset and self._etag and etag != self._etag:
            raise UpdateError(Code.DOWNLOAD_FAILED, "The file was changed on the server in the middle of the download.")
        self._etag = etag if not etag.startswith("W/") else None  # RFC 9110 section 13.1.5: If-Range needs a strong one
        if status == HTTPStatus.PARTIAL_CONTENT:
            self._check_range(response.headers.get("Content-Range", ""))
            return
        length = response.headers.get("Content-Length")
        if length is not None and length != str(self._artifact.size):
            text = f"The server has {length} bytes for the artifact's link; {self._artifact.size} were offered."
            raise UpdateError(Code.DOWNLOAD_FAILED, text)
        self._skip(response)

    def _check_range(self, content_range: str) -> None:
        size = self._artifact.size
        if content_range != f"bytes {self.offset}-{size - 1}/{size}":
            text = (
                f"The server answered with the range {content_range!r} to a request from byte {self.offset} of {size}."
            )
            raise UpdateError(Code.DOWNLOAD_FAILED, text)

    def _skip(self, response: requests.Response) -> None:
        left = self.offset
        while left:
            try:
                data = response.raw.read(min(left, CHUNK_MAX))
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _Broken(f"the connection broke: {error}") from error
            if not data:
                raise _Broken("the connection ended early")
            left -= len(data)

    def _pause(self, error: _Broken) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
        pause = next(self._pauses, None)
        if pause is None:
            raise UpdateError(Code.DOWNLOAD_FAILED, f"The artifact could not be fetched: {error}.") from error
        log.warning("At byte %d: %s; trying again in %g s.", self.offset, error, pause)
        time.sleep(pause)
