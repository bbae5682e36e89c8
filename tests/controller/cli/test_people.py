"""`wainwright user`, `token` and `audit`, as an admin and as others."""

from __future__ import annotations

import csv
import io
import re
import socket
import threading
from pathlib import Path

import pytest
from sqlalchemy import delete

from tests.controller.api.served import Served
from tests.controller.cli.conftest import Run
from tests.support.wait import PATIENCE_S
from wainwright_controller.rows import AUDIT


def token(run: Run, name: str, role: str, *words: str) -> str:
    """Make a user with a token; returns its text."""
    assert run(f"user create {name} --role {role}").code == 0
    made = run("token", "create", "--user", name, *words)
    assert made.code == 0
    assert "shown this once" in made.err
    return made.out.strip()


def test_from_a_user_to_his_first_command(run: Run, tmp_path: Path) -> None:
    text = token(run, "anna", "operator", "--expires", "90d", "--note", "her laptop")
    file = tmp_path / "token"
    file.write_text(text + "\n", encoding="ascii")
    assert re.fullmatch(r"wwt_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text)

    assert run("--token", text, "device", "list").code == 0
    assert run("--token-file", str(file), "device", "preauthorize", "by-anna").code == 0

    row = next(line for line in run("token list --user anna").out.splitlines() if "anna" in line)
    assert "her laptop" in row
    assert "in 90 days" in row
    assert text not in row


def test_who_is_not_allowed_is_told_so_and_what_to_do(run: Run) -> None:
    viewer = token(run, "vera", "viewer")

    refused = run("--token", viewer, "device", "accept", "--all")
    assert refused.code == 4
    refused = run("--token", viewer, "group", "create", "g")
    assert (refused.code, "vera is a viewer" in refused.err) == (4, True)
    assert "for operators: ask one" in refused.err
    unknown = run("--token", "wrong", "device", "list")
    assert (unknown.code, "ask an admin for another" in unknown.err) == (4, True)


def test_a_revoked_token_ends_with_exit_code_4(run: Run) -> None:
    text = token(run, "rolf", "admin")
    token_id = text.split("_")[1]

    assert run(f"token revoke {token_id}").code == 4
    assert run(f"token revoke {token_id} --yes").code == 0

    refused = run("--token", text, "device", "list")
    assert (refused.code, "was revoked" in refused.err) == (4, True)


def test_a_user_changes_his_role_and_goes(run: Run) -> None:
    token(run, "hugo", "viewer")
    assert run("user role hugo admin").code == 0
    assert run("user revoke hugo --yes").code == 0

    gone = next(user for user in run("user list -o json").json if user["name"] == "hugo")
    assert (gone["role"], "revoked_at" in gone) == ("admin", True)
    again = run("user create hugo --role viewer")
    assert (again.code, "choose another name" in again.err) == (4, True)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("user", 2, "Usage"),
        ("user create x", 2, "--role"),
        ("user create x --role king", 2, "king"),
        ("user create a/b --role viewer", 1, "name"),
        ("user revoke nobody --yes", 1, "No such user"),
        ("user role nobody viewer", 1, "No such user"),
        ("token create", 2, "--user"),
        ("token create --user nobody", 1, "No such user"),
        ("token create --user nobody --expires soon", 2, "90d"),
        ("token create --user nobody --expires 99999999999d", 2, "90d"),
        ("token revoke nothing --yes", 1, "No such token"),
        ("--token-file nothing device list", 2, "nothing"),
        ("--token-file panel-3.mender device list", 2, "panel-3.mender"),
        ("audit list --since never", 2, "never"),
        ("audit list --who nobody", 0, "No entries"),
        ("audit verify --anchor x", 1, "NUMBER:HASH"),
        ("device list -o csv", 2, "csv"),
    ],
)
def test_commands_by_rows(run: Run, line: str, code: int, said: str) -> None:
    ran = run(line)

    assert ran.code == code
    assert said in ran.out + ran.err


def test_a_token_is_sent_to_another_machine_by_tls_alone_unless_that_is_accepted(run: Run, tmp_path: Path) -> None:
    """0.0.0.0 is this machine, and not its loopback by name: what is sent there is heard here."""
    (tmp_path / "token").write_text("wwt_of_anna", encoding="ascii")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        url = f"http://0.0.0.0:{listener.getsockname()[1]}"
        for given in (("--token", "wwt_of_anna"), ("--token-file", str(tmp_path / "token"))):
            refused = run("--controller", url, *given, "user", "list")
            assert (refused.code, "--allow-plain" in refused.err) == (4, True)
            assert "wwt_of_anna" not in refused.err
            refused = run("--controller", url.replace("http", "HTTP"), *given, "user", "list")
            assert refused.code == 4
        with pytest.raises(BlockingIOError):
            listener.accept()

        heard: list[bytes] = []

        def listen() -> None:
            listener.settimeout(PATIENCE_S)
            with listener.accept()[0] as connection:
                heard.append(connection.recv(65_536))

        thread = threading.Thread(target=listen)
        thread.start()
        assert run("--controller", url, "--allow-plain", "--token", "wwt_of_anna", "user", "list").code == 3
        thread.join()
    assert b"Bearer wwt_of_anna" in heard[0]


def test_the_audit_log_as_a_table_and_as_csv(run: Run) -> None:
    run("user create =cmd --role viewer")
    run("device preauthorize =1+1")
    run("device preauthorize @sum")
    run("device reject @sum")

    table = run("audit list --object @sum").out.splitlines()
    assert table[0].split()[:4] == ["NO", "WHEN", "WHO", "FROM"]
    assert "state: accepted → rejected" in table[1]
    rows = list(csv.DictReader(io.StringIO(run("audit list -o csv").out, newline="")))
    assert [int(row["number"]) for row in rows] == list(range(len(rows), 0, -1))
    assert rows[0]["action"] == "reject-devices"
    assert rows[0]["before"] == '{"device @sum": {"state": "accepted"}}'
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    refused = run("audit list --refused -o json").json
    assert refused
    assert {entry["verdict"] for entry in refused} == {"refused"}


def test_verify_says_whether_the_log_is_whole(run: Run, served: Served) -> None:
    run("device preauthorize one-more")
    whole = run("audit verify")
    assert (whole.code, "is whole" in whole.out) == (0, True)
    anchor = whole.out.splitlines()[1].removeprefix("anchor ")
    assert run("audit", "verify", "--anchor", anchor).code == 0

    with served.controller.store.write() as connection:
        connection.execute(delete(AUDIT).where(AUDIT.c.number == 1))

    cut = run("audit verify")
    assert (cut.code, "NOT whole" in cut.out, "entry 1 is missing" in cut.out) == (1, True, True)
