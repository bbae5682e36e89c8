"""The ways to tell a broker that somebody is revoked: commands, and where a session is taken over."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wainwright_controller.broker_orders import orders_of, takeover_url
from wainwright_controller.config import BrokerSection


def test_commands_are_run_with_the_client_id_as_one_word(tmp_path: Path) -> None:
    out = tmp_path / "said"
    program = f"import sys; open({str(out)!r}, 'a').write(repr(sys.argv[1:]))"
    command = (sys.executable, "-c", program)
    orders = orders_of(
        BrokerSection(reload_command=(*command, "reload"), disconnect_command=(*command, "kick", "id={client_id}"))
    )
    assert orders.reload is not None
    assert orders.end_session is not None

    orders.reload()
    orders.end_session("press 07;reboot")

    assert out.read_text() == "['reload']['kick', 'id=press 07;reboot']"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (BrokerSection(reload_command=("/nonexistent/program",)), "Cannot run /nonexistent/program"),
        (BrokerSection(reload_command=("sh", "-c", "echo no such unit >&2; exit 3")), "status 3: no such unit"),
        (BrokerSection(pid_file="/nonexistent/pid"), "/nonexistent/pid"),
    ],
)
def test_a_broker_that_cannot_be_told_is_an_error_that_says_why(section: BrokerSection, words: str) -> None:
    orders = orders_of(section)
    assert orders.reload is not None

    with pytest.raises(Exception, match=words):
        orders.reload()


@pytest.mark.parametrize(
    ("section", "url"),
    [
        (BrokerSection(), ""),  # the embedded one knows nobody
        (BrokerSection(url="mqtt://127.0.0.1:1883"), "mqtt://127.0.0.1:1883"),
        (BrokerSection(url="mqtts://b", certificate="c", key="k"), ""),  # there the client id is the certificate's
        (BrokerSection(url="mqtts://b", certificate="c", key="k", takeover_url="mqtts://b:8884"), "mqtts://b:8884"),
    ],
)
def test_where_sessions_are_taken_over(section: BrokerSection, url: str) -> None:
    assert takeover_url(section) == url
