"""Mutations of artifacts: of bytes, of members, of the documents inside; repaired afterwards, mostly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random
from typing import Final

from tests.fuzz import documents
from tests.fuzz.archives import (
    SUFFIXES,
    Member,
    compress,
    expand,
    find,
    pack,
    repaired,
    signed,
    suffix_of,
    unpack,
    with_content,
)
from tests.fuzz.samples import seeds

Members = list[Member]

NAMES: Final = (
    *(
        b"version",
        b"manifest",
        b"manifest.sig",
        b"manifest-augment",
        b"header.tar",
        b"header.tar.gz",
        b"header.tar.bz2",
    ),
    *(
        b"header-augment.tar",
        b"data/0000.tar",
        b"data/0001.tar.gz",
        b"data/0000.tar.xz",
        b"../../etc/passwd",
        b"/etc/x",
    ),
    *(b"header-info", b"scripts/ArtifactInstall_Enter_00", b"scripts/../../x", b"scripts/ArtifactCommit_Leave_99_a b"),
    *(b"headers/0000/type-info", b"headers/0000/meta-data", b"headers/0001/type-info", b"scripts/Idle_Enter_00"),
    *(b"app.bin", b".", b"..", b"a/b", b"\x1b[31m", b"a\nb", b"\xff\xfe", b"", b"n" * 100, b"-rf", b"file.gz", b"a b"),
)
KINDS: Final = (b"0", b"\0", b"1", b"2", b"3", b"5", b"6", b"7", b"L", b"K", b"x", b"g", b"S", b"\xff")
SIZES: Final = (
    *(b"77777777777\0", b"00000000000\0", b"-0000000001\0", b"           \0", b"1", b"\x80" + bytes(10) + b"\x01"),
    *(b"\xff" * 12, b"\x80" + b"\xff" * 11, b"0x10", b"9", b"\xc0" + bytes(11)),
)
EXTENSIONS: Final = (
    *(
        b"16 path=app.bin\n",
        b"11 size=20\n",
        b"18 size=9999999999\n",
        b"20 path=../../../x\n",
        b"9 size=0\n",
        b"0 a=b\n",
    ),
    *(
        b"22 GNU.sparse.major=1\n",
        b"99999 path=x\n",
        b"6 a=b",
        b"\n",
        b"15 path=\xff\xfe\x00\x01\n",
        b"-5 a=b\n",
        b"7 a=b\n\n",
    ),
)
_BOMB_ONE_IN: Final = 2000  # mutations that make one: each costs as much as a thousand others
_BOMB_BYTES: Final = (1 << 20, 8 << 20, 15 << 20, 17 << 20, 40 << 20)
FRESH: Final = 0.4  # share of inputs that are made of a seed, not of what libFuzzer has found


@cache
def _seeds() -> list[bytes]:
    return list(seeds().values())


def mutate(data: bytes, size_max: int, seed: int) -> bytes:
    """Return another input: an artifact with something changed in it, and then made consistent, or not."""
    random = Random(seed)
    if random.random() < FRESH:
        data = random.choice(_seeds())
    if random.randrange(12) == 0:
        return _bytes(data, random)[:size_max]
    members = unpack(data)
    if not members:
        return random.choice(_seeds())
    for _ in range(random.choice((1, 1, 1, 2))):
        members = random.choice(_WAYS)(members, random) or members
    if random.randrange(4):
        members = repaired(members)
    if random.randrange(3) == 0:
        members = signed(members, random.randrange(2))
    return pack(members)[:size_max]


def _bytes(data: bytes, random: Random) -> bytes:
    """Return bytes with a few of them changed, left out or repeated."""
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(data) + 1)
        length = random.choice((1, 1, 2, 4, 512))
        match random.randrange(4):
            case 0:
                data = data[:at] + data[at + length :]
            case 1:
                data = data[:at] + data[at : at + length] + data[at:]
            case 2:
                data = data[:at]
            case _:
                data = data[:at] + random.randbytes(min(length, 4)) + data[at + min(length, 4) :]
    return data


def _outer(members: Members, random: Random) -> Members:
    """Change which members there are."""
    return _order(members, random)


def _order(members: Members, random: Random) -> Members:
    """Leave one out, repeat one, exchange two, or change how one is called or stored."""
    if not members:
        return [Member(random.choice(NAMES), b"")]
    at, other = random.randrange(len(members)), random.randrange(len(members))
    member = members[at]
    match random.randrange(9):
        case 0:
            return [*members[:at], *members[at + 1 :]]
        case 1:
            return [*members[:other], member, *members[other:]]
        case 2:
            members = list(members)
            members[at], members[other] = members[other], members[at]
            return members
        case 3:
            member = replace(member, name=random.choice(NAMES))
        case 4:
            member = replace(member, kind=random.choice(KINDS))
        case 5:
            member = replace(member, size=random.choice(SIZES))
        case 6:
            extension = Member(b"PaxHeaders/x", random.choice(EXTENSIONS), random.choice((b"x", b"x", b"g")))
            return [*members[:at], extension, *members[at:]]
        case 7:
            return [*members[:at], Member(random.choice(NAMES), random.randbytes(random.randrange(40))), *members[at:]]
        case _:
            member = replace(member, content=_bytes(member.content, random))
    return [*members[:at], member, *members[at + 1 :]]


def _inside(prefix: bytes, change: Callable[[Members, Random], Members]) -> Callable[[Members, Random], Members | None]:
    """Return a mutation of the files of a member that is an archive itself."""

    def inside(members: Members, random: Random) -> Members | None:
        at = find(members, prefix)
        if at is None:
            return None
        suffix = suffix_of(members[at].name)
        files = unpack(expand(members[at].content, suffix))
        if random.randrange(8) == 0:  # another compression, told or not
            suffix = random.choice(SUFFIXES)
            if random.randrange(4):
                members = [*members[:at], replace(members[at], name=prefix + suffix), *members[at + 1 :]]
        return with_content(members, at, compress(pack(change(files, random)), suffix))

    return inside


def _document(members: Members, random: Random) -> Members:
    """Change a JSON document among the files."""
    of_json = [i for i, member in enumerate(members) if not member.name.startswith(b"scripts/")]
    if not of_json:
        return members
    at = random.choice(of_json)
    return with_content(members, at, documents.mutate(members[at].content, random))


def _version(members: Members, random: Random) -> Members | None:
    at = find(members, b"version")
    return None if at is None else with_content(members, at, documents.mutate(members[at].content, random))


def _manifest(members: Members, random: Random) -> Members | None:
    """Change the manifest's lines; nothing repairs them, if it comes to that."""
    at = find(members, b"manifest")
    if at is None:
        return None
    lines = members[at].content.splitlines(keepends=True) or [b""]
    i = random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            lines.pop(i)
        case 1:
            lines.insert(i, random.choice(lines))
        case 2:
            lines[i] = lines[i][:66] + random.choice(NAMES) + b"\n"
        case 3:
            lines.insert(i, b"0" * 64 + b"  data/0000/" + random.choice(NAMES) + b"\n")
        case 4:
            lines = [b"0" * 64 + b"  data/0000/f%d\n" % n for n in range(random.choice((10, 1000, 10_000)))]
        case _:
            lines[i] = _bytes(lines[i], random)
    return with_content(members, at, b"".join(lines))


def _stream(members: Members, random: Random) -> Members:
    """Change bytes of a compressed stream: the manifest that is repaired then leads the decoder to them."""
    at = find(members, random.choice((b"header.tar", b"data/0000.tar")))
    if at is None:
        return members
    content = members[at].content
    if random.randrange(4) == 0:
        return with_content(members, at, content + random.choice((content, b"\0", b"x", bytes(600))))
    return with_content(members, at, _bytes(content, random))


def _signature(members: Members, random: Random) -> Members:
    members = signed(members, random.randrange(2))
    at = find(members, b"manifest.sig")
    return members if at is None else with_content(members, at, _bytes(members[at].content, random))


def _bomb(members: Members, random: Random) -> Members | None:
    """Make a few bytes expand to many, in a file, a script or a document."""
    if random.randrange(_BOMB_ONE_IN // 10):
        return None
    prefix = random.choice((b"header.tar", b"data/0000.tar"))
    at = find(members, prefix)
    if at is None:
        return None
    suffix = random.choice(SUFFIXES[1:])
    files = unpack(expand(members[at].content, suffix_of(members[at].name)))
    if files:
        files = with_content(
            files, random.randrange(len(files)), random.choice((b"\0", b" ", b"[")) * random.choice(_BOMB_BYTES)
        )
    content = compress(pack(files), suffix)
    return [*members[:at], Member(prefix + suffix, content), *members[at + 1 :]]


_WAYS: Final[tuple[Callable[[Members, Random], Members | None], ...]] = (
    _outer,
    _inside(b"header.tar", _order),
    _inside(b"header.tar", _document),
    _inside(b"header.tar", _document),
    _inside(b"header.tar", _document),
    _inside(b"data/0000.tar", _order),
    _version,
    _manifest,
    _stream,
    _signature,
    _bomb,
)
