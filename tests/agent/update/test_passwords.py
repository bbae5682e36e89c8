"""A download takes no password from ~/.netrc: who forges an offer chooses the host. Addresses may have their own."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.agent.update.lab import Lab
from wainwright_agent.http_stream import HttpStream
from wainwright_agent.source import look_at
from wainwright_common.messages import Offer


@pytest.fixture(autouse=True)
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password of root's for the very host."""
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login root password hunter2\n", encoding="ascii")
    monkeypatch.setenv("NETRC", str(file))


def fetched(offer: Offer) -> bytes:
    stream = HttpStream(offer.artifact, lambda _: None, ())
    try:
        return stream.read(offer.artifact.size)
    finally:
        stream.close()


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(user.encode()).decode()


def test_the_host_of_an_offer_hears_no_password_nor_does_one_that_it_leads_to(lab: Lab) -> None:
    offer = lab.offer(b"software")
    lab.web.manners.redirects = [offer.artifact.uri]

    assert fetched(offer) == b"software"
    assert [headers.get("Authorization") for headers in lab.web.requests] == [None, None]


def test_a_link_by_hand_is_asked_for_with_its_own_password_and_no_other(lab: Lab) -> None:
    offer = lab.offer(lab.artifact())
    lab.web.manners.redirects = [offer.artifact.uri]
    look_at(offer.artifact.uri)
    link = offer.artifact.uri.replace("://", "://anna:pa%3Ass@")
    look_at(link)
    fetched(replace(offer, artifact=replace(offer.artifact, uri=link)))

    told = [headers.get("Authorization") for headers in lab.web.requests]
    assert told == [None, None, basic("anna:pa:ss"), basic("anna:pa:ss")]


def test_a_proxy_of_the_environment_is_still_asked_with_its_password(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = lab.offer(b"software")
    uri = "http://updates.example/software"
    lab.web.files[uri] = b"software"
    monkeypatch.setenv("http_proxy", lab.web.url.replace("://", "://proxy:secret@"))

    assert fetched(replace(offer, artifact=replace(offer.artifact, uri=uri))) == b"software"
    [headers] = lab.web.requests
    assert (headers.get("Authorization"), headers["Proxy-Authorization"]) == (None, basic("proxy:secret"))
