"""A browser without a screen: keeps cookies, says what browsers say of themselves, and knows a page's CSRF value."""

from __future__ import annotations

import json
import re
import threading
from contextlib import suppress
from html import unescape
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import requests

from tests.controller.api.served import Served
from tests.support.wait import PATIENCE_S, wait_until

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"  # what Chromium asks for


class Visitor:
    """Somebody at one controller's pages."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.http = requests.Session()
        self.http.headers.update({"Accept": HTML, "Connection": "close"})
        self._options: dict[str, Any] = {"timeout": PATIENCE_S, "allow_redirects": False}
        if served.config.http.tls:  # with each request: what a session has, an environment's bundle goes before
            self._options["verify"] = str(served.config.pki_folder / "root.pem")

    def get(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401  as requests takes them
        """Ask for a page; a redirect is returned as such."""
        return self.http.get(self.served.url + path, **self._options | options)

    def post(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401  as above
        """Send something from one of the controller's own pages."""
        headers = {"Origin": self.served.url, "Sec-Fetch-Site": "same-origin"} | options.pop("headers", {})
        return self.http.post(self.served.url + path, headers=headers, **self._options | options)

    def sign_in(self, token: str, wanted: str = "/deployments", **headers: str) -> requests.Response:
        """Fill the form in."""
        return self.post("/sign-in", data={"token": token, "next": wanted}, headers=headers)

    @classmethod
    def signed_in(cls, served: Served, token: str) -> Self:
        """Return somebody who has signed in with a token."""
        visitor = cls(served)
        answer = visitor.sign_in(token)
        assert answer.status_code == 303, answer.text
        return visitor

    @property
    def cookie(self) -> str:
        """The cookie of his session."""
        (value,) = (one.value for one in self.http.cookies)
        return value or ""

    def csrf(self, path: str = "/deployments") -> str:
        """Return the value that a page sends along with what it changes."""
        found = re.search(r'<meta name="csrf" content="([0-9a-f]+)">', self.get(path).text)
        assert found is not None
        return found[1]

    def call(self, method: str, path: str, csrf: str = "", **options: Any) -> requests.Response:  # noqa: ANN401  as above
        """Do something by the API, as the page's buttons do."""
        headers = {"Origin": self.served.url, "Accept": "application/json"} | options.pop("headers", {})
        headers |= {"X-CSRF-Token": csrf} if csrf else {}
        url = f"{self.served.url}/api/v1{path}"
        return self.http.request(method, url, headers=headers, **self._options | options)


def attributes_of(answer: requests.Response) -> tuple[str, dict[str, str]]:
    """Return the name of the cookie that an answer sets, and its attributes in small letters."""
    first, *rest = answer.headers["set-cookie"].split("; ")
    pairs = (one.partition("=") for one in rest)
    return first.partition("=")[0], {name.lower(): value.lower() for name, _, value in pairs}


def links(html: str) -> list[str]:
    """Return where the links of a page lead."""
    return [unescape(one) for one in re.findall(r'href="([^"]*)"', html)]


def is_elsewhere(address: str) -> bool:
    """Say whether a browser at http://here/ would leave it by this address."""
    plain = address.replace("\\", "/").lstrip("\t\r\n ")
    return plain.startswith("//") or bool(urlsplit(plain).scheme)


class Heard(NamedTuple):
    """An event of a page's stream."""

    kind: str
    data: dict[str, str]


class Stream:
    """Follows a page as live.js does, in a thread; use it with `with`."""

    def __init__(self, visitor: Visitor, address: str) -> None:
        self.heard: list[Heard] = []
        self.ended = threading.Event()
        self._answer = visitor.get(address, stream=True, headers={"Accept": "text/event-stream"})
        self.status = self._answer.status_code
        self._thread = threading.Thread(target=self._follow)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.ended.is_set():
            raw: Any = self._answer.raw
            with suppress(OSError):  # it ends just now
                raw.shutdown()
        self._thread.join(PATIENCE_S)
        self._answer.close()

    def _follow(self) -> None:
        fields: dict[str, str] = {}
        try:
            for raw in self._answer.iter_lines(chunk_size=None):
                name, _, value = raw.decode().partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields:
                    self.heard.append(Heard(fields["event"], json.loads(fields["data"])))
                    fields = {}
        except (requests.RequestException, OSError, ValueError):
            pass  # closed by us, or by the controller's end
        self.ended.set()

    def kinds(self) -> list[str]:
        """Return the kinds of what came."""
        return [one.kind for one in self.heard]

    def wait_for(self, kind: str, text: str = "") -> Heard:
        """Return the first event of a kind, with a text in what it brings."""
        return wait_until(
            lambda: next((one for one in self.heard if one.kind == kind and text in str(one.data)), None),
            what=f"{kind} with {text!r} among {self.kinds()}",
        )  # type: ignore[return-value]  # what is waited for is true
