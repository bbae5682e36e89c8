"""An artifact over HTTP as a stream of exactly the offered bytes, taken up again where a connection broke.

1. The length that a server names must be the offered one; what it sends may be neither more nor less.
2. A broken connection is taken up by a Range request with If-Range, so that another file is not mixed in. A server that
   does not know ranges sends the whole file again: what is known already is skipped.
3. A connection that stalls is a broken one. The tries are bounded, and counted anew after each good piece. When none is
   left, LinkUseless is raised: what was fetched stays, and who can be reached again gives a fresh link.
4. A link that the server refuses (401, 403, 404, 410) raises LinkUseless at once.
5. What a download before this one has kept (checkpoint.py) is given first; only the rest is asked for.

Whether the bytes are the right ones is for the digest and the signature to say.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

import requests
import urllib3.exceptions

from wainwright_agent.causes import cause
from wainwright_agent.checkpoint import Checkpoint
from wainwright_agent.failure import LinkUseless, UpdateError
from wainwright_agent.masking import mask
from wainwright_agent.redirects import Session, follow
from wainwright_agent.throttle import Throttle
from wainwright_agent.trust import Trust
from wainwright_common.artifact.digest import Digest
from wainwright_common.codes import Code
from wainwright_common.messages import Artifact

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0  # between two bytes; the Mender client waits five minutes, and blocks its module as long
STALL_S = 300.0  # of waiting for GOOD_PIECE bytes; less than 220 bytes/s is no link that an update can come over
GOOD_PIECE = 64 * 1024  # bytes of progress after which the tries are counted anew
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0)  # about three minutes; then a fresh link
RETRY_AFTER_MAX_S = 300.0  # a server may ask for a longer pause, within reason
CHUNK_MAX = 1024 * 1024  # bytes of one read, so that progress and memory stay even
BLOCKING_READ = 16 * 1024  # bytes of one read where the library (urllib3 1) cannot return what there is
TRY_AGAIN = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})

log = logging.getLogger(__name__)


class _Broken(Exception):  # noqa: N818  becomes a LinkUseless when no try is left
    """The connection broke, or the server cannot answer now; `pause_s` is what it has asked for."""

    def __init__(self, text: str, pause_s: float = 0.0) -> None:
        super().__init__(mask(text))
        self.pause_s = pause_s


class HttpStream:
    """Reads the file of an offer; `read` raises LinkUseless or UpdateError (download-failed, verification-failed)."""

    def __init__(
        self,
        artifact: Artifact,
        on_bytes: Callable[[int], None],
        pauses_s: Sequence[float] = PAUSES_S,
        *,
        bytes_per_second: int | None = None,
        checkpoint: Checkpoint | None = None,
        is_digest_known: bool = True,
        trust: Trust | None = None,
    ) -> None:
        self._artifact = artifact
        self._on_bytes = on_bytes
        self._pauses = pauses_s
        self._throttle = Throttle(bytes_per_second, time.monotonic()) if bytes_per_second else None
        self._checkpoint = checkpoint
        self._session = Session()
        self._trust = trust
        self._response: requests.Response | None = None
        self._etag = None if checkpoint is None else checkpoint.etag
        self._digest = Digest() if is_digest_known else None
        self._failures = 0
        self._waited_s = 0.0
        self._good_at = GOOD_PIECE
        self.offset = 0

    def read(self, n: int) -> bytes:
        """Return up to `n` of the next bytes; none at the end, which comes at the offered size exactly."""
        if self._checkpoint is not None and (kept := self._checkpoint.replay(min(n, CHUNK_MAX))):
            self._good_at = self.offset + len(kept) + GOOD_PIECE
            return self._count(kept)
        while True:
            try:
                data = self._read_some(min(n, self._piece))
            except _Broken as error:
                self._pause(error)
                continue
            if self._checkpoint is not None:
                self._checkpoint.append(data)
            return self._count(data)

    def check_digest(self) -> None:
        """Read what is left, and raise UpdateError unless the whole was the offered file."""
        while self.read(CHUNK_MAX):
            pass
        if self._digest is not None and (found := self._digest.hexdigest()) != self._artifact.sha256:
            raise UpdateError(
                Code.VERIFICATION_FAILED,
                f"The file has the digest {found}, not {self._artifact.sha256} as offered. "
                "It was changed in the store or on the way.",
            )

    def close(self) -> None:
        """Close the connection."""
        if self._response is not None:
            self._response.close()
        self._session.close()

    @property
    def _piece(self) -> int:
        return CHUNK_MAX if self._throttle is None else min(CHUNK_MAX, self._throttle.piece)

    def _count(self, data: bytes) -> bytes:
        if self._digest is not None:
            self._digest.update(data)
        self.offset += len(data)
        self._on_bytes(self.offset)
        return data

    def _read_some(self, n: int) -> bytes:
        left = self._artifact.size - self.offset
        if self._response is None:
            if not left:
                return b""  # all of it was kept by the download before
            self._response = self._request()
        data = self._receive(self._response, n)
        if len(data) > left:
            raise UpdateError(
                Code.VERIFICATION_FAILED, f"The file is longer than the {self._artifact.size} bytes offered."
            )
        if not data and left:
            raise _Broken(f"the connection ended {left} bytes early")
        if self.offset + len(data) >= self._good_at:
            self._good_at = self.offset + len(data) + GOOD_PIECE
            self._failures, self._waited_s = 0, 0.0
        return data

    def _receive(self, response: requests.Response, n: int) -> bytes:
        """Return what has come, at least one byte unless the connection has ended; as slowly as the limit wants."""
        began = time.monotonic()
        try:
            read1: Callable[[int], bytes] | None = getattr(response.raw, "read1", None)
            data: bytes = response.raw.read(min(n, BLOCKING_READ)) if read1 is None else read1(n)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _Broken(f"the connection broke: {cause(error)}") from error
        now = time.monotonic()
        self._waited_s += now - began
        if self._waited_s > STALL_S:
            self._waited_s = 0.0
            raise _Broken(f"the connection stalled: less than {GOOD_PIECE} bytes came in {STALL_S:g} s")
        if self._throttle is not None and (wait_s := self._throttle.pay(len(data), now)):
            time.sleep(wait_s)
        return data

    def _request(self) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}
        if self.offset:
            headers["Range"] = f"bytes={self.offset}-"
            if self._etag:
                headers["If-Range"] = self._etag
        response = follow(self._artifact.uri, lambda uri: self._get(uri, headers))
        try:
            self._check(response)
        except BaseException:
            response.close()
            raise
        return response

    def _get(self, uri: str, headers: dict[str, str]) -> requests.Response:
        timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        ca = self._trust.ca_for(uri) if self._trust is not None else None
        try:
            return self._session.get(
                uri, headers=headers, stream=True, allow_redirects=False, timeout=timeout, verify=ca
            )
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _Broken(f"the server cannot be reached: {cause(error)}") from error
        except (requests.RequestException, ValueError) as error:  # ValueError: an address that cannot be taken apart
            raise UpdateError(Code.DOWNLOAD_FAILED, mask(f"The link cannot be used: {error}.")) from error

    def _check(self, response: requests.Response) -> None:
        """Accept a response that gives the file from the offset on; skips up to it where necessary."""
        status = response.status_code
        if status in TRY_AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _Broken(f"the server answered {status} {response.reason}", _retry_after(response))
        if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            text = f"The server answered {status} {response.reason} to the artifact's link."
            raise LinkUseless(text) if status in REFUSED else UpdateError(Code.DOWNLOAD_FAILED, text)
        self._check_etag(response.headers.get("ETag", ""))
        if status == HTTPStatus.PARTIAL_CONTENT:
            self._check_range(response.headers.get("Content-Range", ""))
            return
        length = response.headers.get("Content-Length")
        if length is not None and length != str(self._artifact.size):
            text = f"The server has {length} bytes for the artifact's link; {self._artifact.size} were offered."
            raise UpdateError(Code.DOWNLOAD_FAILED, text)
        self._skip(response)

    def _check_etag(self, etag: str) -> None:
        if self.offset and self._etag and etag != self._etag:
            raise UpdateError(Code.DOWNLOAD_FAILED, "The file was changed on the server in the middle of the download.")
        self._etag = etag if not etag.startswith("W/") else None  # RFC 9110 section 13.1.5: If-Range needs a strong one
        if self._checkpoint is not None:
            self._checkpoint.etag = self._etag or None

    def _check_range(self, content_range: str) -> None:
        size = self._artifact.size
        if content_range != f"bytes {self.offset}-{size - 1}/{size}":
            text = (
                f"The server answered with the range {content_range!r} to a request from byte {self.offset} of {size}."
            )
            raise UpdateError(Code.DOWNLOAD_FAILED, text)

    def _skip(self, response: requests.Response) -> None:
        left, good_at = self.offset, self.offset - GOOD_PIECE
        while left:
            data = self._receive(response, min(left, self._piece))
            if not data:
                raise _Broken("the connection ended early")
            left -= len(data)
            if left <= good_at:  # no progress, so the tries are not counted anew; but no stall either
                good_at, self._waited_s = left - GOOD_PIECE, 0.0

    def _pause(self, error: _Broken) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
        if self._failures == len(self._pauses):
            raise LinkUseless(f"The artifact could not be fetched: {error}.") from error
        pause_s = max(self._pauses[self._failures], error.pause_s)
        self._failures += 1
        log.warning("At byte %d: %s; trying again in %g s.", self.offset, error, pause_s)
        time.sleep(pause_s)


def _retry_after(response: requests.Response) -> float:
    """Return the pause that a server has asked for in seconds, within bounds; 0 when it has not, or by a date."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), RETRY_AFTER_MAX_S) if text.isascii() and text.isdigit() else 0.0
