"""How a step of an update ends when it does not end well: three exceptions, and who is at fault.

WainwrightError
└── UpdateError     the world's: the step failed; its code and text become the failure report
Interrupted         nobody's: the agent is to stop, or the update was aborted; says nothing about the step
LinkUseless         the clock's, mostly, or the network's: the step goes on with a fresh link of the controller's
"""

from __future__ import annotations

from wainwright_common.codes import Code
from wainwright_common.errors import WainwrightError
from wainwright_common.messages import Reason
from wainwright_common.texts import encodable

TEXT_MAX = 2000  # characters: the bound of a report's text in the protocol


class UpdateError(WainwrightError):
    """A step of an update failed; `code` says whether another attempt may help."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code

    @property
    def reason(self) -> Reason:
        """The error as a report carries it, its text within the protocol's bounds."""
        return Reason(code=self.code, text=clip(str(self)))


class Interrupted(Exception):  # noqa: N818  not an error: somebody asked for it
    """A step was broken off on purpose, before its end."""


class LinkUseless(Exception):  # noqa: N818  the name is the sentence
    """The artifact's link brings nothing (more): the server refuses it, or is not to be had; the text says which."""


def clip(text: str) -> str:
    """Return `text` as a report can carry it: as UTF-8, its middle left out when it is too long."""
    text = encodable(text)
    if len(text) <= TEXT_MAX:
        return text
    half = (TEXT_MAX - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
