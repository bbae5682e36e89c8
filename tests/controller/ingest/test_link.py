"""The controller's link, where a broker is not needed to show what it does."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.support.authority import Authority
from wainwright_controller.config import BrokerSection
from wainwright_controller.hearing import Hearing
from wainwright_controller.ingest.link import Link


def test_another_certificate_is_taken_without_a_change_to_what_a_connection_may_be_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is renewed by one thread and shown by another: in the middle of a handshake that crashes the process."""
    authority = Authority(tmp_path)
    shown = authority.issue("wainwright-controller")
    section = BrokerSection(
        url="mqtts://127.0.0.1:1", ca=str(shown.ca), certificate=str(shown.certificate), key=str(shown.key)
    )
    link = Link(section, section.url, Hearing())
    former, changed = link._client._ssl_context, []
    load = ssl.SSLContext.load_cert_chain

    def noted(context: ssl.SSLContext, *files: Any) -> None:  # noqa: ANN401  as ssl takes them
        changed.append(context)
        load(context, *files)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", noted)
    authority.issue("wainwright-controller")

    link.take_certificate()

    assert changed == [link._client._ssl_context]
    assert former not in changed
