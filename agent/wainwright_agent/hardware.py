"""Facts about the machine that the kernel tells: its disks, its root, its network interfaces.

Nothing here changes by itself from one run to the next, such as free space does: an inventory is sent when it is
another one.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

SYS = Path("/sys")
PROC = Path("/proc")
ROOT = Path("/")
ROOTFS_CONF = "/etc/wainwright/rootfs-image.conf"  # of the update module rootfs-image
SIOCGIFADDR = 0x8915  # linux/sockios.h: an interface's IPv4 address
LOOPBACK = "lo"
SECTOR = 512  # bytes; what /sys/block/*/size counts in, whatever the disk's own sectors are
IPV6_GLOBAL = "00"  # of /proc/net/if_inet6: the scope
IPV6_PASSING = 0x01 | 0x20 | 0x40  # its flags: temporary, deprecated, tentative (linux/if_addr.h)


def disks(sys: Path = SYS) -> Iterator[tuple[str, int]]:
    """Return `disk_total_kB_NAME`, in units of 1024 bytes, of the disks that are built in."""
    for folder in sorted((sys / "block").glob("*")):
        size = _text(folder / "size")
        if (folder / "device").exists() and _text(folder / "removable") != "1" and size.isdigit() and int(size):
            yield f"disk_total_kB_{folder.name}", int(size) * SECTOR // 1024


def size_of(folder: Path) -> int | None:
    """Return the size of a folder's filesystem, in units of 1024 bytes; None when it cannot be told."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_blocks * status.f_frsize // 1024


def root_device(root: Path = ROOT, sys: Path = SYS) -> str:
    """Return the device of a mounted filesystem, such as `/dev/mmcblk0p2`; "" where it has none, as an overlay."""
    number = root.stat().st_dev
    name = re.search(r"^DEVNAME=(.+)$", _text(sys / f"dev/block/{_numbers(number)}/uevent"), re.MULTILINE)
    return f"/dev/{name[1]}" if name else ""


def boot_slot(
    proc: Path = PROC,
    env: Mapping[str, str] = os.environ,
    device_of: Callable[[Path], int] = lambda node: node.stat().st_rdev,
) -> str:
    """Return the slot that runs: RAUC's name of it, else `a` or `b` of the module rootfs-image; "" without slots.

    `device_of` tells the device number of a device node.
    """
    if told := re.search(r"(?:^| )rauc\.slot=(\S+)", _text(proc / "cmdline")):
        return told[1]
    lines = _text(Path(env.get("WAINWRIGHT_ROOTFS_CONF", ROOTFS_CONF))).splitlines()
    conf = dict(line.partition("=")[::2] for line in lines if not line.startswith("#"))
    if conf.get("running"):
        return ""  # a command says so; the module runs it, which may cost anything
    try:
        running = Path(conf.get("root_mount") or ROOT).stat().st_dev
        found = [slot for slot in "ab" if device_of(Path(conf.get(f"slot_{slot}", ROOT))) == running]
    except OSError:
        return ""
    return found[0] if len(found) == 1 else ""


def interfaces(sys: Path = SYS, proc: Path = PROC) -> Iterator[tuple[str, str | list[str]]]:
    """Return `network_interfaces`, and `mac_NAME`, `ipv4_NAME` and `ipv6_NAME` of those that have such addresses."""
    names = sorted(name for _, name in socket.if_nameindex() if name != LOOPBACK)
    if names:
        yield "network_interfaces", names
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for name in names:
            if mac := _text(sys / f"class/net/{name}/address"):
                yield f"mac_{name}", mac
            request = struct.pack("256s", os.fsencode(name)[:15])  # IFNAMSIZ of linux/if.h, with its final zero
            try:
                packed = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)[20:24]  # ifr_addr.sin_addr
            except OSError:
                continue  # it has no such address, or went away
            yield f"ipv4_{name}", socket.inet_ntoa(packed)
    for name, addresses in _ipv6(proc).items():
        if name in names:
            yield f"ipv6_{name}", addresses[0] if len(addresses) == 1 else sorted(addresses)


def _ipv6(proc: Path) -> dict[str, list[str]]:
    """Return the lasting global addresses of each interface."""
    found: dict[str, list[str]] = {}
    for line in _text(proc / "net/if_inet6").splitlines():
        address, _, _, scope, flags, name = line.split()
        if scope == IPV6_GLOBAL and not int(flags, 16) & IPV6_PASSING:
            found.setdefault(name, []).append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address)))
    return found


def _numbers(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
