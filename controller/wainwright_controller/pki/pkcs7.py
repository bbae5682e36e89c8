"""Certificates as EST gives them: a PKCS #7 message that carries certificates and nothing else, in base64."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates

LINE = 64  # characters: openssl reads base64 with lines of 76 at most


def certs_only(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return certificates as base64 in lines; their order in it is not theirs."""
    text = base64.b64encode(serialize_certificates(list(certificates), Encoding.DER))
    return b"".join(text[start : start + LINE] + b"\n" for start in range(0, len(text), LINE))
