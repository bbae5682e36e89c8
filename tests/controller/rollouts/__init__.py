"""Whole rollouts on a virtual clock: the real store, operations, traffic and ticker; devices that are only messages."""
