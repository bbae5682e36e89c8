"""The device's id: configured, or made from what the identity program or the network hardware says.

The rule for making an id of `key=value` pairs, so that it can be read and two devices never share one:

1. The pairs are sorted, each becomes `key:value`, and they are joined by `_`: `mac:02:42:ac:11:00:02`.
2. A character that no id may have becomes `-`, and what is longer than an id is cut off.
3. If rule 2 changed anything, or a `_` stands in a pair, the id ends with `-` and 12 hexadecimal digits of the SHA-256
   of the exact pairs.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from wainwright_agent import programs
from wainwright_agent.config import Config
from wainwright_common.errors import WainwrightError
from wainwright_common.topics import DEVICE_ID_MAX

MENDER_IDENTITY = Path("/usr/share/mender/identity/mender-device-identity")
INTERFACES = Path("/sys/class/net")
ETHERNET = "1"  # ARPHRD_ETHER of linux/if_arp.h: Ethernet and Wi-Fi, not loopback, not tunnels
NO_ADDRESS = "00:00:00:00:00:00"
DIGITS = 12  # 48 bits: among a million devices, two with equal digits are a matter of one in 500


class IdentityError(WainwrightError):
    """The device has no id."""


def device_id(config: Config, interfaces: Path = INTERFACES, mender_identity: Path = MENDER_IDENTITY) -> str:
    """Return the id of this device; raises IdentityError."""
    if config.device_id:
        return config.device_id
    program = config.inventory.identity if config.inventory.identity.exists() else mender_identity
    if program.exists():
        try:
            values = programs.parse(programs.run(program, config.inventory.script_timeout_s))
        except programs.ProgramError as error:
            raise IdentityError(f"The device has no id: {error}") from error
        if not values:
            raise IdentityError(f"The device has no id: {program} printed no key=value line.")
        return id_of(values)
    if address := lowest_address(interfaces):
        return id_of({"mac": address})
    raise IdentityError(
        f"The device has no id: device_id is not configured, {config.inventory.identity} does not exist, and there is "
        "no network interface with an address. Set device_id."
    )


def id_of(values: programs.Values) -> str:
    """Return the id made of an identity's values, by the rule above."""
    pairs = sorted(
        (key, one) for key, value in values.items() for one in ([value] if isinstance(value, str) else value)
    )
    plain = "_".join(f"{key}:{value}" for key, value in pairs)
    clean = re.sub(r"[^A-Za-z0-9._:@-]", "-", plain)
    is_exact = clean == plain and len(clean) <= DEVICE_ID_MAX and not any("_" in key + value for key, value in pairs)
    if is_exact:
        return clean
    digits = hashlib.sha256("\n".join(f"{key}={value}" for key, value in pairs).encode()).hexdigest()[:DIGITS]
    return f"{clean[: DEVICE_ID_MAX - DIGITS - 1]}-{digits}"


def lowest_address(interfaces: Path = INTERFACES) -> str:
    """Return the hardware address of the lowest-numbered Ethernet-like interface; "" if there is none.

    Interfaces of real hardware go before those that only software made (of a container, for example).
    """
    found = []
    for folder in interfaces.iterdir() if interfaces.is_dir() else ():
        try:
            kind, address, index = (_read(folder / name) for name in ("type", "address", "ifindex"))
        except OSError:
            continue  # an interface that went away meanwhile, or a file that is none (bonding_masters)
        if kind == ETHERNET and address not in ("", NO_ADDRESS):
            found.append((not (folder / "device").exists(), int(index), address))
    return min(found)[2] if found else ""


def _read(file: Path) -> str:
    return file.read_text(encoding="ascii", errors="replace").strip()
