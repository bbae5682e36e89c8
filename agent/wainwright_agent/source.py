"""What `wain install` is given: a file or a link, looked at before anything is asked for.

The child does it that may fetch it afterwards (spare.py): the libraries for HTTP and artifacts are loaded once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from wainwright_agent.causes import cause, status_told
from wainwright_agent.download import Looked
from wainwright_agent.failure import UpdateError
from wainwright_agent.masking import mask
from wainwright_agent.trust import Trust
from wainwright_common.errors import ArtifactError, WainwrightError

if TYPE_CHECKING:
    import requests

    from wainwright_common.artifact.reader import ReadableBytes

TIMEOUT_S = 30.0  # for a server to answer, and between two pieces of the header
LINKS = ("http://", "https://")


class SourceError(WainwrightError):
    """What is to be installed cannot be read, or (`is_refused`) is not an artifact."""

    def __init__(self, text: str, *, is_refused: bool = False) -> None:
        super().__init__(text)
        self.is_refused = is_refused


def look_at(source: str, trust: Trust | None = None) -> Looked:
    """Return what the agent must be told of an artifact; raises SourceError.

    Whether it is signed, fits and is whole is checked when it is fetched.
    """
    return _look_at_link(source, trust) if source.startswith(LINKS) else _look_at_file(Path(source))


def _look_at_file(path: Path) -> Looked:
    path = path.absolute()
    try:
        with path.open("rb") as file:
            facts = path.stat()
            name = _name(file, str(path))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}.") from error
    uri = f"file://{quote(os.fsencode(path))}"
    return Looked(uri=uri, name=name, size=facts.st_size, version=str(facts.st_mtime_ns))


def _look_at_link(link: str, trust: Trust | None) -> Looked:
    import requests
    import urllib3.exceptions

    from wainwright_agent.redirects import Session, follow

    try:
        with Session() as session, follow(link, lambda uri: _get(session, uri, trust)) as response:
            if not response.ok:
                raise SourceError(mask(f"{link}: the server answers {status_told(response.status_code)}."))
            size = response.headers.get("Content-Length", "")
            if not size.isdigit():
                raise SourceError(
                    mask(f"{link}: the server does not say how long the file is. Fetch it, and install that.")
                )
            return Looked(
                uri=link,
                name=_name(response.raw, link),
                size=int(size),
                version=response.headers.get("ETag", "")[:256],
            )
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise SourceError(mask(f"{link}: cannot be fetched: {cause(error)}.")) from error
    except UpdateError as error:  # of a redirect
        raise SourceError(mask(f"{link}: cannot be fetched: {error}")) from error


def _get(session: requests.Session, uri: str, trust: Trust | None) -> requests.Response:
    ca = trust.ca_for(uri) if trust is not None else None
    headers = {"Accept-Encoding": "identity"}
    return session.get(uri, stream=True, allow_redirects=False, timeout=TIMEOUT_S, headers=headers, verify=ca)


def _name(stream: ReadableBytes, source: str) -> str:
    from wainwright_common.artifact import ArtifactReader

    try:
        return ArtifactReader(stream, verify_keys=[]).header.name
    except ArtifactError as error:
        text = mask(f"{source}: is not an artifact that can be installed ({error.rule}): {error}")
        raise SourceError(text, is_refused=True) from error
