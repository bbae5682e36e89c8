"""Somebody who looks at pages as a browser gets them: elements with their attributes and texts, and the live stream."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self

import requests

from tests.controller.api.served import Served
from tests.support.wait import wait_until

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "rect"}
HOSTILE = "<script>alert('1')</script><img src=x onerror=alert(1)>"


@dataclass
class Element:
    """An element of a page; `text` has that of its children, too."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str = "", **wanted: str) -> list[Element]:
        """Return the elements below this one of a tag that have these attributes; `_` stands for `-`."""
        named = {name.strip("_").replace("_", "-"): value for name, value in wanted.items()}
        found = []
        for child in self.children:
            if tag in {"", child.tag} and all(child.attributes.get(name) == value for name, value in named.items()):
                found.append(child)
            found += child.all(tag, **wanted)
        return found

    def one(self, tag: str = "", **wanted: str) -> Element:
        """Return the only such element."""
        found = self.all(tag, **wanted)
        assert len(found) == 1, (tag, wanted, len(found))
        return found[0]

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        made = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(made)
        if tag not in VOID:
            self.open.append(made)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop().tag == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def parsed(html: str) -> Element:
    """Return the root of what a browser would make of some HTML; what is not closed fails the test."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert len(builder.open) == 1, f"not closed: {[element.tag for element in builder.open[1:]]}"
    return builder.open[0]


@dataclass
class Looker:
    """Somebody with a token."""

    served: Served
    token: str

    @classmethod
    def of_role(cls, served: Served, role: str) -> Self:
        """Return somebody new."""
        name = f"one-{role}"
        served.post("users", {"name": name, "role": role})
        return cls(served, served.post("tokens", {"user": name})["token"])

    def ask(self, path: str, method: str = "GET", **options: Any) -> requests.Response:  # noqa: ANN401  as requests takes them
        """Return the answer to a browser's request."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "text/html"}
        return self.served.call(method, path, headers=headers, **options)

    def page(self, path: str) -> Element:
        """Return a page; what is no whole page fails the test."""
        answer = self.ask(path)
        assert answer.status_code == 200, answer.text
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        root = parsed(answer.text)
        assert [one for one in root.all("script") if not one.attributes.get("src")] == []
        assert [name for one in root.all() for name in one.attributes if name == "style" or name.startswith("on")] == []
        ids = [one["id"] for one in root.all() if "id" in one.attributes]
        assert len(ids) == len(set(ids)), "an id twice"
        assert len(root.all("h1")) == 1
        return root

    @contextmanager
    def following(self, path: str) -> Iterator[Following]:
        """Follow a page's stream, whose address it has, until the `with` ends."""
        address = self.page(path).one("main")["data-live"]
        with self.ask(address, stream=True) as answer:
            following = Following()
            thread = threading.Thread(target=following.read, args=(answer,), daemon=True)
            thread.start()
            try:
                wait_until(lambda: following.came, what="the first regions")
                yield following
            finally:
                connection = answer.raw.connection
                assert connection is not None
                connection.sock.shutdown(socket.SHUT_RDWR)  # closing alone waits for who reads
                thread.join(10)


class Following:
    """What a stream brought: (seconds of the monotonic clock, element's id, HTML)."""

    def __init__(self) -> None:
        self.came: list[tuple[float, str, str]] = []

    def read(self, answer: requests.Response) -> None:
        """Take events until the stream ends."""
        kind = ""
        try:
            for raw in answer.iter_lines(chunk_size=None):
                name, _, value = raw.decode().partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind in {"region", "rows", "gone"}:
                    now = time.monotonic()
                    self.came += [(now, key, html) for key, html in json.loads(value).items()]
        except (requests.RequestException, AttributeError, ValueError):  # the `with` has closed it
            return

    def wait(self, met: Callable[[str], bool], element: str, what: str) -> float:
        """Wait until what came last for an element meets something; returns when it came."""

        def last() -> tuple[float, str] | None:
            return next(((at, html) for at, key, html in reversed(self.came) if key == element), None)

        wait_until(lambda: (found := last()) is not None and met(found[1]), what=what)
        found = last()
        assert found is not None
        return found[0]
