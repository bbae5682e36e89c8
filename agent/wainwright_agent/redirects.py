"""Following a server that says the file is elsewhere: so often and not more, over HTTP, and never from TLS to none.

No host that an offer or a redirect names is given a password of ~/.netrc: who forges one chooses the host.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from wainwright_agent.failure import UpdateError
from wainwright_agent.masking import mask
from wainwright_common.codes import Code

FOLLOWED_MAX = 5  # a load balancer, a storage and a mirror make three
REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)


class Session(requests.Session):
    """A session that leaves redirects to `follow`, and knows the passwords of addresses and proxies alone.

    Even when it is told not to follow a redirect, the library reads the answer's body to its end, which may never come.
    """

    def __init__(self) -> None:
        super().__init__()
        self.auth = _as_addressed  # without any, the library would look into ~/.netrc

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002  the library's name
        return None


def _as_addressed(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Show the name and the password that are in the address, if there are."""
    name, password = get_auth_from_url(request.url or "")
    return HTTPBasicAuth(name, password)(request) if name or password else request


def follow(uri: str, get: Callable[[str], requests.Response]) -> requests.Response:
    """Return the first response that is not a redirect, starting at `uri`.

    Raises UpdateError (download-failed) for an address that is not HTTP, a step from TLS to none, and too many steps.
    """
    _checked(uri, uri)
    for _ in range(FOLLOWED_MAX + 1):
        response = get(uri)
        target = response.headers.get("Location", "")
        if response.status_code not in REDIRECTS or not target:
            return response
        response.close()
        uri = _checked(target, uri)
    text = f"The server redirected the artifact's link more than {FOLLOWED_MAX} times, at last to {uri}."
    raise UpdateError(Code.DOWNLOAD_FAILED, mask(text))


def _checked(target: str, origin: str) -> str:
    """Return the address that `target` means on a page at `origin`, if it is one to go to."""
    try:
        uri = urljoin(origin, target)
        scheme = urlsplit(uri).scheme
    except ValueError as error:
        raise UpdateError(Code.DOWNLOAD_FAILED, mask(f"The link cannot be used: {target}: {error}.")) from error
    if scheme not in {"http", "https"}:
        text = f"The link cannot be used: {uri} is neither http:// nor https://."
        raise UpdateError(Code.DOWNLOAD_FAILED, mask(text))
    if scheme == "http" and urlsplit(origin).scheme == "https":
        text = f"The server redirected the artifact's link away from https://, to {uri}"
        raise UpdateError(Code.DOWNLOAD_FAILED, mask(text))
    return uri
