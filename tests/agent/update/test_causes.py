"""Why a request got no answer is said in few words, whatever the libraries wrap it in."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest
import requests

from tests.agent.update.web import Web
from tests.support.wait import free_port
from wainwright_agent.causes import cause, status_told
from wainwright_agent.source import SourceError, look_at


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def failed(url: str, timeout_s: float = 10.0) -> BaseException:
    with pytest.raises(requests.RequestException) as caught:
        requests.get(url, timeout=timeout_s)
    return caught.value


def test_nobody_listens() -> None:
    assert cause(failed(f"http://127.0.0.1:{free_port()}/x")) == "connection refused"


def test_nobody_answers_in_time(silent: int) -> None:
    assert cause(failed(f"http://127.0.0.1:{silent}/x", timeout_s=0.1)) == "no answer in time"


def test_no_tls_is_spoken_there() -> None:
    web = Web()
    try:
        told = cause(failed(web.url.replace("http://", "https://")))
    finally:
        web.close()

    assert told == "wrong version number"


def test_a_certificate_that_is_not_trusted_is_said_to_be_so() -> None:
    fault = ssl.SSLCertVerificationError(1, "certificate verify failed")
    fault.verify_message = "certificate has expired"

    assert cause(requests.exceptions.SSLError(fault)) == "certificate has expired"


def test_the_innermost_words_are_told_where_the_system_says_nothing() -> None:
    assert cause(requests.ConnectionError(ValueError("Cannot be parsed."))) == "Cannot be parsed"
    assert cause(requests.ConnectionError()) == "no connection"


@pytest.mark.parametrize(("status", "told"), [(404, "404 Not Found"), (599, "599")])
def test_a_status_is_told_as_people_know_it(status: int, told: str) -> None:
    assert status_told(status) == told


def test_a_technicians_link_that_gives_nothing_is_said_so_in_a_few_words() -> None:
    web = Web()
    try:
        with pytest.raises(SourceError) as missing:
            look_at(f"{web.url}/panel-2.mender")
    finally:
        web.close()
    with pytest.raises(SourceError) as refused:
        look_at(f"{web.url}/panel-2.mender")

    assert str(missing.value) == f"{web.url}/panel-2.mender: the server answers 404 Not Found."
    assert str(refused.value) == f"{web.url}/panel-2.mender: cannot be fetched: connection refused."
