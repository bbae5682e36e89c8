"""The embedded broker: a NATS server that speaks MQTT 3.1.1, from its own package on PyPI, as a child process.

It is what makes `wainwright serve` work where nothing but Python is installed. It keeps acknowledged messages through a
kill, delivers what a controller has not acknowledged again, and has no shared subscriptions: one controller only. For
more, run Mosquitto or a cluster; docs/decisions has the comparison.

process.py         the child process
configuration.py   what it is told: who may do what, and limits; pure
keeper.py          what it can be told only once it runs: limits of its queues
doorman.py         with TLS: who is let in, by his certificate; rules, and the answers to the broker
tickets.py         how those answers are written
certificates.py    the broker's own certificate, and the controller's
"""

from wainwright_controller.embedded.certificates import make_certificates
from wainwright_controller.embedded.doorman import Book, Doorman
from wainwright_controller.embedded.process import ANY_ADDRESS, BrokerError, Door, EmbeddedBroker, free_port

__all__ = ["ANY_ADDRESS", "Book", "BrokerError", "Door", "Doorman", "EmbeddedBroker", "free_port", "make_certificates"]
