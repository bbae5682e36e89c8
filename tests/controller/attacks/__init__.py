"""Attacks on a running controller, over its sockets."""
