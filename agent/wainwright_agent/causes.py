"""Why a request over HTTP got no answer, in the words of whom it concerns: of the system, or of TLS.

What the libraries say themselves wraps the reason three times, and names their own classes and pools.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus


def tls_fault(error: BaseException) -> str:
    """Return what TLS found wrong: `certificate has expired`."""
    return _tls_fault(error) or "no TLS connection"


def cause(error: BaseException) -> str:
    """Return why there is no connection or no answer: `connection refused`, `no answer in time`."""
    if fault := _tls_fault(error):
        return fault
    is_late = False
    for one in _chain(error):
        if isinstance(one, OSError) and one.strerror:
            return one.strerror.lower()
        is_late = is_late or "Timeout" in type(one).__name__  # requests' and urllib3's, which are not loaded for this
    return "no answer in time" if is_late else _own_words(error)


def status_told(status: int) -> str:
    """Return a status as people know it: `404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _tls_fault(error: BaseException) -> str:
    for one in _chain(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return one.verify_message
        if isinstance(one, ssl.SSLError):
            return str(one.reason or one).replace("_", " ").lower()
    return ""


def _own_words(error: BaseException) -> str:
    """Return what the innermost error says that says anything, but not of an error that it wraps."""
    said = [str(one) for one in _chain(error) if not _inner(one) and str(one)]
    return said[-1].rstrip(".") if said else "no connection"


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while (inner := _inner(found[-1])) is not None and inner not in found:
        found.append(inner)
    return found


def _inner(error: BaseException) -> BaseException | None:
    reason = getattr(error, "reason", None)
    inner = [one for one in error.args if isinstance(one, BaseException)]
    return (reason if isinstance(reason, BaseException) else None) or next(iter(inner), None) or error.__cause__
