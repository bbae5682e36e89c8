"""Somebody who looks at pages as a browser gets them: elements with their attributes and texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import requests

from tests.controller.web.visitor import Stream, Visitor

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


class Looker:
    """Somebody who reads pages."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor

    def ask(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401  as requests takes them
        """Return the answer to a browser's request."""
        return self.visitor.get(path, **options)

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

    def following(self, path: str) -> Stream:
        """Return a page's stream, whose address it has."""
        return Stream(self.visitor, self.page(path).one("main")["data-live"])
