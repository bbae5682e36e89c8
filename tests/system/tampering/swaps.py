"""What a man in the middle may send in place of an artifact: each with the words by which it must be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz.archives import pack, unpack
from tests.system.tampering.scene import SIZE, Scene, build, member_of, with_member
from wainwright_common.artifact import SigningKey

EVIL = b"evil" * (SIZE // 4)


class Chance(NamedTuple):
    """A download that comes by: the release's name and its bytes, and a key that nobody trusts."""

    scene: Scene
    name: str
    genuine: bytes
    stranger: SigningKey


def swap_whole(chance: Chance) -> bytes:
    return build(chance.name, "press", chance.stranger, payload=EVIL)


def swap_for_an_unsigned_one(chance: Chance) -> bytes:
    return build(chance.name, "press", None, payload=EVIL)


def swap_for_another_release_that_is_signed(chance: Chance) -> bytes:
    return chance.scene.genuine()[1]


def swap_the_header(chance: Chance) -> bytes:
    scripts = {"ArtifactInstall_Enter_00": b"#!/bin/sh\ntouch /tmp/owned\n"}
    evil = build(chance.name, "press", chance.stranger, scripts=scripts)
    return with_member(chance.genuine, "header.tar", lambda _: member_of(evil, "header.tar"))


def swap_the_manifest(chance: Chance) -> bytes:
    evil = build(chance.name, "press", chance.stranger, payload=EVIL)
    return with_member(evil, "manifest.sig", lambda _: member_of(chance.genuine, "manifest.sig"))


def swap_the_payload(chance: Chance) -> bytes:
    evil = build(chance.name, "press", chance.stranger, payload=EVIL)
    return with_member(chance.genuine, "data/0000.tar", lambda _: member_of(evil, "data/0000.tar"))


def flip_a_bit_of_the_payload(chance: Chance) -> bytes:
    at = len(chance.genuine) - SIZE // 2
    return chance.genuine[:at] + bytes([chance.genuine[at] ^ 1]) + chance.genuine[at + 1 :]


def take_the_signature_of_another_artifact(chance: Chance) -> bytes:
    evil = build(chance.name, "press", chance.stranger, payload=EVIL)
    return with_member(evil, "manifest.sig", lambda _: member_of(chance.scene.genuine()[1], "manifest.sig"))


def leave_the_signature_out(chance: Chance) -> bytes:
    return pack([member for member in unpack(chance.genuine) if member.name != b"manifest.sig"])


def mix_and_match_payload(chance: Chance) -> bytes:
    """Both halves are chance.genuine and signed, but not together."""
    return with_member(chance.genuine, "data/0000.tar", lambda _: member_of(chance.scene.genuine()[1], "data/0000.tar"))


def mix_and_match_header(chance: Chance) -> bytes:
    return with_member(chance.scene.genuine()[1], "header.tar", lambda _: member_of(chance.genuine, "header.tar"))


def same_name_signed_but_not_the_offered_file(chance: Chance) -> bytes:
    return build(chance.name, "press", chance.scene.trusted, payload=EVIL)


SWAPS: dict[Callable[[Chance], bytes], tuple[str, ...]] = {
    swap_whole: ("(signature-mismatch)", "release-key.pub.pem"),
    swap_for_an_unsigned_one: ("(unsigned)",),
    swap_for_another_release_that_is_signed: ("was offered",),
    swap_the_header: ("(header-digest)",),
    swap_the_manifest: ("(signature-mismatch)",),
    swap_the_payload: ("(payload-digest)",),
    flip_a_bit_of_the_payload: ("(payload-digest)",),
    take_the_signature_of_another_artifact: ("(signature-mismatch)",),
    leave_the_signature_out: ("(unsigned)",),
    mix_and_match_payload: ("(payload-digest)",),
    mix_and_match_header: ("(header-digest)",),
    same_name_signed_but_not_the_offered_file: ("as offered",),
}
