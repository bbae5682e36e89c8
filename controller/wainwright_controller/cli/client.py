"""Talks HTTP to a controller, and turns what goes wrong into an exit code and a sentence.

No answer → 3. 401, 403, 409 and 429 → 4: not allowed, or not in this state; so is an artifact that is not signed as the
controller wants. What was there to do is done already → 5.
Everything else that the controller refuses → 1.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote

import requests

from wainwright_common import __version__
from wainwright_controller.cli.exits import CliError, ExitCode, Told, Unreachable
from wainwright_controller.cli.files import is_about_signatures

CONNECT_S = 5.0
READ_S = 60.0  # the longest that one operation on a fleet of 100,000 takes, several times over
UPLOAD_READ_S = 600.0  # after the last byte the controller syncs it to the disk
PIECE = 1000  # items of a list in one request: the API's limit
CHUNK = 1 << 20
_REFUSED = frozenset({401, 403, 409, 429})
_NOTHING_TO_DO = frozenset(
    {
        *("nothing-to-promote", "phase-open", "not-awaiting-start"),
        *("not-paused", "nothing-to-retry", "nothing-to-roll-back"),
    }
)

Json = dict[str, Any]


class ServerEvent(NamedTuple):
    """A server-sent event."""

    kind: str
    id: str
    data: Json


class Client:
    """One controller."""

    def __init__(self, url: str, token: str = "", ca: Path | None = None) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"wainwright/{__version__}"
        self._session.auth = _bearer(token)
        self._ca = ca

    def close(self) -> None:
        """End the connection."""
        self._session.close()

    # ---- single requests --------------------------------------------------------------------------------------

    def get(self, path: str, **params: object) -> Json:
        """Return what the API gives for a path under /api/v1."""
        return self._json(self._request("GET", path, params=_given(params)))

    def post(self, path: str, body: Json | None = None) -> Json:
        """Do something."""
        return self._json(self._request("POST", path, json=body if body is not None else {}))

    def post_nothing(self, path: str) -> None:
        """Do something that has no answer but that it was done."""
        self._request("POST", path)

    def put(self, path: str, body: Json) -> Json:
        """Replace something."""
        return self._json(self._request("PUT", path, json=body))

    def delete(self, path: str) -> None:
        """Delete something."""
        self._request("DELETE", path)

    def items(self, path: str, limit: int | None = None, **params: object) -> Iterator[Json]:
        """Yield the items of a list, piece by piece; all of them, or the first `limit`."""
        left = limit
        cursor: str | None = None
        while left is None or left > 0:
            page = self.get(path, limit=PIECE if left is None else min(left, PIECE), cursor=cursor, **params)
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            cursor = page.get("next")
            if cursor is None:
                return

    # ---- files ------------------------------------------------------------------------------------------------

    def upload(self, file: BinaryIO, description: str) -> Json:
        """Store an artifact."""
        response = self._request(
            "POST",
            "artifacts",
            params=_given({"description": description or None}),
            data=file,
            headers={"Content-Type": "application/octet-stream"},
            timeout=(CONNECT_S, UPLOAD_READ_S),
        )
        return self._json(response)

    def download(self, path: str, out: BinaryIO) -> int:
        """Write what a path gives to a file; returns the number of bytes."""
        response = self._request("GET", path, stream=True)
        written = 0
        try:
            for chunk in response.iter_content(CHUNK):
                written += out.write(chunk)
        except requests.RequestException as error:
            raise Unreachable(f"The controller at {self.url} broke off: {_cause(error)}. Try again.") from error
        return written

    # ---- streams ----------------------------------------------------------------------------------------------

    def events(self, path: str, *, after: str | int, silence_s: Callable[[], float]) -> Generator[ServerEvent]:
        """Yield server-sent events until the stream ends; heartbeats are events of kind "".

        Raises Unreachable when the connection breaks, or nothing comes for `silence_s()` seconds.
        """
        response = self._request("GET", path, params={"after": after}, stream=True, timeout=(CONNECT_S, silence_s()))
        fields: dict[str, str] = {}
        with response:
            try:
                for raw in response.iter_lines(chunk_size=None):
                    line = raw.decode()
                    if line.startswith(":"):
                        yield ServerEvent("", "", {})
                    elif line:
                        name, _, value = line.partition(": ")
                        fields[name] = value
                    elif fields:
                        yield ServerEvent(fields["event"], fields["id"], json.loads(fields["data"]))
                        fields = {}
            except requests.RequestException as error:
                raise Unreachable(f"The controller at {self.url} broke off: {_cause(error)}.") from error

    # ---- below ------------------------------------------------------------------------------------------------

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:  # noqa: ANN401  as requests takes them
        options.setdefault("timeout", (CONNECT_S, READ_S))
        if self._ca is not None:
            options["verify"] = str(self._ca)  # said each time: a variable of the environment beats the session's
        try:
            response = self._session.request(method, f"{self.url}/api/v1/{path}", allow_redirects=False, **options)
        except requests.exceptions.SSLError as error:
            raise Unreachable(
                f"Cannot trust the controller at {self.url}: {_tls_fault(error)}."
                " Name the file of its authority with --ca; `wainwright ca export` prints it on the controller."
            ) from error
        except requests.ConnectionError as error:
            raise Unreachable(
                f"Cannot reach the controller at {self.url}: {_cause(error)}."
                " Start it with `wainwright serve`, or name another with --controller."
            ) from error
        except requests.Timeout as error:
            raise Unreachable(f"The controller at {self.url} does not answer in time. Look into its log.") from error
        except OSError as error:
            if not isinstance(error, requests.RequestException):  # requests looks whether the file is there
                raise CliError(ExitCode.USAGE, f"Cannot use --ca {self._ca}: {error}.") from error
            raise CliError(
                ExitCode.USAGE, f"Cannot use --controller {self.url}: {error}. Give an address like http://HOST:PORT."
            ) from error
        except ValueError as error:
            raise CliError(
                ExitCode.USAGE, f"Cannot use --controller {self.url}: {error}. Give an address like http://HOST:PORT."
            ) from error
        if not response.ok:
            raise self._problem(response)
        return response

    def _problem(self, response: requests.Response) -> CliError:
        try:
            problem = response.json()
            text, word = problem["detail"], problem["code"]
        except (ValueError, KeyError, TypeError):
            return self._stranger(response)
        if word in _NOTHING_TO_DO:
            code = ExitCode.NOTHING_TO_DO
        else:
            is_refused = response.status_code in _REFUSED or is_about_signatures(str(word).removeprefix("artifact-"))
            code = ExitCode.REFUSED if is_refused else ExitCode.FAILED
        return Told(code, text, word)

    def _json(self, response: requests.Response) -> Json:
        try:
            value = response.json()
        except ValueError:
            raise self._stranger(response) from None
        if not isinstance(value, dict):
            raise self._stranger(response)
        return value

    def _stranger(self, response: requests.Response) -> CliError:
        return Unreachable(
            f"{self.url} answers {response.status_code}, but not as a Wainwright controller does."
            " Check the address in --controller."
        )


def seg(reference: str) -> str:
    """Return a reference as one segment of a path."""
    return quote(reference, safe="")


def open_artifact(path: Path) -> BinaryIO:
    """Open a local artifact; raises CliError."""
    try:
        return path.open("rb")
    except OSError as error:
        raise CliError(ExitCode.FAILED, f"Cannot read {path}: {error.strerror}.") from error


def _given(params: Json) -> Json:
    return {name: value for name, value in params.items() if value is not None}


def _bearer(token: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return what adds the token; set even without one, or requests would look for a password in ~/.netrc."""

    def add(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return add


def _tls_fault(error: BaseException) -> str:
    """Return the TLS library's words, which say what is wrong with a certificate."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        if isinstance(cause, ssl.SSLError):
            return str(cause.reason or cause)
        inner = [arg for arg in cause.args if isinstance(arg, BaseException)]
        reason = getattr(cause, "reason", None)
        cause = (reason if isinstance(reason, BaseException) else None) or next(iter(inner), None) or cause.__cause__
    return "no TLS connection"


def _cause(error: BaseException) -> str:
    """Return the operating system's words for an error of requests, without the layers around it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        inner = [arg for arg in cause.args if isinstance(arg, BaseException)]
        reason = getattr(cause, "reason", None)
        cause = cause.__cause__ or (reason if isinstance(reason, BaseException) else None) or next(iter(inner), None)
    return "no connection"
