"""A simulated fleet: many devices in one process, each with a connection of its own, speaking the real protocol.

behaviour.py   what a fleet is told to be like, and how each device of it behaves: pure, and repeatable by its seed
memory.py      what a device remembers across connections: outbox, numbers, and how often it installed what
device.py      one device on one connection after another
fleet.py       all of them
command.py     `wainwright simulate`

What it leaves out of a real device: files, update modules and reboots. A device's memory lives as long as the fleet.
"""

from wainwright_controller.simulate.behaviour import Behaviour, Broker, FleetSpec
from wainwright_controller.simulate.fleet import Fleet
from wainwright_controller.simulate.memory import Memory

__all__ = ["Behaviour", "Broker", "Fleet", "FleetSpec", "Memory"]
