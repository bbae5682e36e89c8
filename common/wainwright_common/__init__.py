"""What the agent and the controller must agree on: topics, messages, statuses, the artifact format.

Imports neither side, and stays small enough for an idle agent: see tests/test_boundaries.py.
"""

__version__ = "0.1.0"
