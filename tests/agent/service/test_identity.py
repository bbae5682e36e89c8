"""Who the device is: configured, told by a program, or known by its network hardware."""

from __future__ import annotations

from pathlib import Path

import pytest

from wainwright_agent.config import Config, Inventory
from wainwright_agent.identity import IdentityError, device_id, id_of
from wainwright_common.topics import check_device_id


def program(folder: Path, text: str) -> Config:
    file = folder / "identity"
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)
    return Config(inventory=Inventory(identity=file, script_timeout_s=5))


def interface(folder: Path, name: str, index: int, address: str, kind: str = "1", *, real: bool = True) -> None:
    (folder / name).mkdir(parents=True)
    for file, text in {"ifindex": str(index), "address": address, "type": kind}.items():
        (folder / name / file).write_text(text + "\n", encoding="ascii")
    if real:
        (folder / name / "device").mkdir()


def test_a_configured_id_wins(tmp_path: Path) -> None:
    config = program(tmp_path, "echo serial=9")

    assert device_id(Config(device_id="press-07", inventory=config.inventory)) == "press-07"


def test_the_identity_program_gives_a_readable_id(tmp_path: Path) -> None:
    assert device_id(program(tmp_path, "echo serial=1000-77; echo mac=02:42:ac:11:00:02")) == (
        "mac:02:42:ac:11:00:02_serial:1000-77"
    )


def test_without_an_identity_program_of_ours_menders_gives_the_id(tmp_path: Path) -> None:
    mender = program(tmp_path, "echo mac=02:42:ac:11:00:02").inventory.identity
    none = Config(inventory=Inventory(identity=tmp_path / "none"))

    assert device_id(none, tmp_path / "no-net", mender) == "mac:02:42:ac:11:00:02"
    (tmp_path / "ours").mkdir()
    assert device_id(program(tmp_path / "ours", "echo serial=9"), tmp_path / "no-net", mender) == "serial:9"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("exit 3", "exit code 3"), ("echo nothing", "printed no key=value line"), ("sleep 60", "took longer than 5 s")],
)
def test_without_an_answer_of_the_identity_program_there_is_no_id(tmp_path: Path, text: str, expected: str) -> None:
    config = program(tmp_path, text)
    if "sleep" in text:
        config = Config(inventory=Inventory(identity=config.inventory.identity, script_timeout_s=0.2))
        expected = "took longer than 0.2 s"

    with pytest.raises(IdentityError, match=expected):
        device_id(config)


def test_ids_of_different_identities_differ_and_are_legal() -> None:
    identities: list[dict[str, str | list[str]]] = [
        {"serial": "a b"},
        {"serial": "a-b"},
        {"serial": "a/b"},
        {"serial": "a", "x": "b"},
        {"serial": "a_x:b"},
        {"serial": ["a", "b"]},
        {"serial": "x" * 200},
        {"serial": "x" * 201},
        {"serie": "ä"},
        {"serie": "ö"},
    ]
    ids = [id_of(identity) for identity in identities]

    assert len(set(ids)) == len(ids)
    for one in ids:
        check_device_id(one)


def test_the_order_of_an_identity_does_not_matter() -> None:
    assert id_of({"b": "2", "a": "1"}) == id_of({"a": "1", "b": "2"}) == "a:1_b:2"


def test_else_the_lowest_real_interface_names_the_device(tmp_path: Path) -> None:
    net = tmp_path / "net"
    interface(net, "lo", 1, "00:00:00:00:00:00", kind="772")
    interface(net, "docker0", 2, "02:42:00:00:00:99", real=False)
    interface(net, "eth1", 5, "02:42:00:00:00:05")
    interface(net, "eth0", 4, "02:42:00:00:00:04")
    interface(net, "tun0", 3, "00:11:22:33:44:55", kind="65534")
    (net / "bonding_masters").write_text("", encoding="ascii")

    assert device_id(Config(inventory=Inventory(identity=tmp_path / "none")), net) == "mac:02:42:00:00:00:04"


def test_without_any_of_them_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="Set device_id"):
        device_id(Config(inventory=Inventory(identity=tmp_path / "none")), tmp_path / "no-net")
