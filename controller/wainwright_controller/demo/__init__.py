"""`wainwright demo`: a whole system on this machine, live, and then what came of it.

stage.py       folders, ports and configuration files: the scenery
processes.py   the controller and the agents, each a process that ends with the demo, whatever ends the demo
releases.py    a key, and releases with one signed artifact for each device type
api.py         the few calls of the controller's HTTP API that the play needs
screen.py      what is told while it happens: live bars on a terminal, else one sentence for each change
play.py        what happens, in order
verdict.py     whether everything ended as it should, from the facts
hints.py       what to try next: commands for the running system, or how to have one
module         the update module of the demo's devices
"""

from wainwright_controller.demo.play import DEVICES, DEVICES_MAX, DEVICES_MIN, main

__all__ = ["DEVICES", "DEVICES_MAX", "DEVICES_MIN", "main"]
