"""The errors of Wainwright, one tree for all three packages.

    WainwrightError
    ├── BadTopic            a topic, a device id or a prefix breaks the rules
    ├── BadMessage          a payload that is not the message of its topic
    ├── ArtifactError       an artifact breaks the format, or is not what was signed
    └── …                   each package adds its own below this base

A programmer's mistake is none of these: it raises what Python raises, and is left to crash.
"""

from __future__ import annotations


class WainwrightError(Exception):
    """Base of every error that Wainwright raises on purpose.

    Its text is one or two sentences for a person: what happened, where, and what to do next.
    """


class BadTopic(WainwrightError):  # noqa: N818  the name is the sentence: "refused: bad topic"
    """A topic, a device id or a topic prefix breaks the rules of docs/protocol.md."""


class BadMessage(WainwrightError):  # noqa: N818  as above
    """A payload cannot be read as the message of its topic.

    `reason` is a stable word for counters: too-large, not-utf8, not-json or invalid.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class ArtifactError(WainwrightError):
    """An artifact breaks the format, or is not what was signed.

    `rule` is a stable word for the rule that was broken, for example `manifest-duplicate`; docs/artifacts.md lists
    them.
    """

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.rule = rule
