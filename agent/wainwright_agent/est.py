"""The device's side of EST (RFC 7030): whom it trusts, what it sends, and what an answer means."""

from __future__ import annotations

import base64
import binascii
import json
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
import urllib3.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from wainwright_agent.causes import cause, tls_fault
from wainwright_common.errors import WainwrightError

if TYPE_CHECKING:
    from wainwright_agent.credentials import Credentials
    from wainwright_agent.enrolment import Job

CONNECT_S, READ_S = 10.0, 30.0
ANSWER_MAX = 256 * 1024  # bytes: a root and a hundred issuing authorities are 100 KiB
CHUNK = 16 * 1024
WAIT_MIN_S, WAIT_MAX_S = 1, 3600  # what a controller may ask a device to wait
CLOCK_OFF_S = 3600.0  # a clock that differs more from the controller's is worth a word
PATH = "/.well-known/est/"
TEXT_MAX = 500  # characters of what a controller says


class EstWaits(WainwrightError):  # noqa: N818  the name is the sentence
    """Somebody has to accept the device; ask again after so many seconds."""

    def __init__(self, text: str, seconds: int) -> None:
        super().__init__(text)
        self.seconds = seconds


class EstRefused(WainwrightError):  # noqa: N818  as above
    """The controller gives no certificate; `code` is its word for why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class EstFailed(WainwrightError):  # noqa: N818  as above
    """The controller cannot be reached, or not be trusted, or its answer not be understood."""


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Est:
    """The controller, as one device asks it."""

    def __init__(self, job: Job, credentials: Credentials) -> None:
        self._job = job
        self._files = credentials
        self._session = requests.Session()
        self._verify: str | bool = job.ca or True
        self.now = datetime.now(UTC)
        """What the controller's clock showed in its last answer that TLS vouches for; before it, the device's."""

    def trust(self) -> None:
        """Find out whom to trust; raises EstFailed when the root is not the one that the fingerprint names."""
        if self._job.ca or not self._job.ca_fingerprint:
            return
        wanted = self._fingerprint
        if wanted not in _fingerprints(self._files.ca):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
                given = _certificates(self._ask("GET", "cacerts", verify=False))
            root = next((one for one in given if _fingerprint(one) == wanted), None)
            if root is None:
                raise EstFailed(
                    f"{self._job.url} has another authority than enrolment.ca_fingerprint says: it is not the"
                    " controller, or that has a new root. Compare with `wainwright ca show`."
                )
            self._files.write(self._files.ca, pem(root))
        self._verify = str(self._files.ca)

    def check_root(self, root: x509.Certificate) -> None:
        """Raise EstFailed for a root that nobody has told this device of.

        Who has a server's certificate may answer here for as long as that holds. With a root of his own he would be
        believed for good. Where the system's authorities vouch for the controller, they do for its first root, too.
        """
        given = _fingerprint(root)
        known = _fingerprints(self._files.ca)
        if self._fingerprint:
            is_known = given == self._fingerprint
            remedy = "That is not the one of enrolment.ca_fingerprint: compare both with `wainwright ca show`."
        elif self._job.ca:
            is_known = given in known | _fingerprints(Path(self._job.ca))
            remedy = f"If `wainwright ca show` has that, add the root to enrolment.ca, {self._job.ca}."
        else:
            is_known = given in known or not known
            remedy = f"The device knows another. If `wainwright ca show` has that, remove {self._files.ca}."
        if not is_known:
            raise EstFailed(f"The controller gave a certificate below the root {given}: not kept. {remedy}")

    def authorities(self) -> list[x509.Certificate]:
        """Return the root and the issuing authorities."""
        return _certificates(self._ask("GET", "cacerts", verify=self._verify))

    def enrol(self, csr: bytes) -> x509.Certificate:
        """Ask with the key alone, and with the token if there is one; raises EstWaits, EstRefused, EstFailed."""
        auth = {"auth": (self._job.device_id, self._job.token)} if self._job.token else {}
        return self._asked("simpleenroll", csr, **auth)

    def renew(self, csr: bytes) -> x509.Certificate:
        """Ask with the present certificate; raises like `enrol`."""
        return self._asked("simplereenroll", csr, cert=str(self._files.device))

    @property
    def _fingerprint(self) -> str:
        return self._job.ca_fingerprint.replace(":", "").lower()

    def _asked(self, operation: str, csr: bytes, **options: Any) -> x509.Certificate:  # noqa: ANN401  as requests takes them
        headers = {"Content-Type": "application/pkcs10"}
        given = _certificates(self._ask("POST", operation, data=csr, headers=headers, verify=self._verify, **options))
        if len(given) != 1:
            raise EstFailed(f"The controller answered with {len(given)} certificates instead of one.")
        return given[0]

    def _ask(self, method: str, operation: str, **options: Any) -> _Answer:  # noqa: ANN401  as requests takes them
        url = self._job.url.rstrip("/") + PATH + operation
        options.setdefault("auth", _nobody)
        try:
            with self._session.request(
                method, url, timeout=(CONNECT_S, READ_S), allow_redirects=False, stream=True, **options
            ) as response:
                body = b""
                for piece in response.iter_content(CHUNK):
                    body += piece
                    if len(body) > ANSWER_MAX:
                        raise EstFailed(f"The controller's answer to {operation} has more than {ANSWER_MAX} bytes.")
        except requests.exceptions.SSLError as error:
            raise EstFailed(self._why_untrusted(error)) from error
        except (requests.RequestException, ValueError) as error:  # ValueError: an address that cannot be taken apart
            raise EstFailed(f"Cannot reach the controller at {self._job.url}: {cause(error)}.") from error
        answer = _Answer(response.status_code, response.headers, body)
        if options["verify"] is not False:
            self.now = _date(answer.headers) or datetime.now(UTC)
        if answer.status == HTTPStatus.ACCEPTED:
            raise EstWaits("Somebody has to accept this device.", _seconds(answer.headers.get("Retry-After", "")))
        if answer.status != HTTPStatus.OK:
            raise self._refusal(answer)
        return answer

    def _refusal(self, answer: _Answer) -> WainwrightError:
        status = answer.status
        try:
            problem = json.loads(answer.body)
            code, text = str(problem["code"]), str(problem["detail"])[:TEXT_MAX]
        except (ValueError, KeyError, TypeError):
            return EstFailed(f"{self._job.url} answers {status}, but not as a controller does: check enrolment.url.")
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST}:
            return EstRefused(code, text)
        return EstFailed(f"The controller answers {status} ({code}): {text}")

    def _why_untrusted(self, error: BaseException) -> str:
        """Say why TLS failed, with a word about the clock if that may be why."""
        fault = tls_fault(error)
        now = datetime.now(UTC)
        text = f"Cannot trust the controller at {self._job.url}: {fault}."
        if "not yet valid" not in fault and "expired" not in fault:
            return f"{text} Is enrolment.ca, or enrolment.ca_fingerprint, its authority's?"
        theirs = self._their_clock()
        if theirs is not None and abs((theirs - now).total_seconds()) > CLOCK_OFF_S:
            # Nobody vouches for that clock: it is told to a person, and changes nothing.
            clocks = f"This device's clock shows {now:%Y-%m-%d %H:%M} UTC, the controller's {theirs:%Y-%m-%d %H:%M}"
            return f"{text} {clocks}: set it."
        clock = f"This device's clock shows {now:%Y-%m-%d %H:%M} UTC"
        return f"{text} {clock}; if that is right, the controller needs a new certificate."

    def _their_clock(self) -> datetime | None:
        """Return what the controller's clock shows, as somebody who is not trusted says."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
                url = self._job.url.rstrip("/") + PATH + "cacerts"
                timeout = (CONNECT_S, CONNECT_S)
                answer = self._session.head(url, verify=False, timeout=timeout, auth=_nobody)
        except (requests.RequestException, ValueError):
            return None
        return _date(answer.headers)


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authenticate as nobody; said, or requests would look for a password in ~/.netrc."""
    return request


def _certificates(answer: _Answer) -> list[x509.Certificate]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library warns of PKCS #7 in BER, which some authorities write
            return load_der_pkcs7_certificates(base64.b64decode(answer.body))
    except (binascii.Error, ValueError) as error:
        raise EstFailed("The controller's answer is no PKCS #7 message in base64.") from error


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def _fingerprints(file: Path) -> set[str]:
    try:
        return {_fingerprint(one) for one in x509.load_pem_x509_certificates(file.read_bytes())}
    except (OSError, ValueError):
        return set()


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _seconds(text: str) -> int:
    wanted = int(text) if text.isascii() and text.isdigit() else 60
    return min(max(wanted, WAIT_MIN_S), WAIT_MAX_S)
