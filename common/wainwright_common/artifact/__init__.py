"""Artifacts: the `.mender` format, version 3, read in one pass and written so that mender-artifact reads it.

Read:    reader = ArtifactReader(stream, verify_keys=load_verify_keys(["fleet.pem"]))
         reader.header                  all that is known before the payload, verified
         for file in reader.files():    the payload, each file verified at its end
             file.name, file.size, file.read(n)
Decide:  unmet_depends(header, device_type=…, provides=…), apply_provides(provides, header), provides_excess(provides)
Write:   write_module_image(out, ArtifactSpec(…), key=load_signing_key("private.pem"))
Sign:    place = find_manifest(file); write_signed(file, out, place, key.sign(place.manifest))

Whatever is wrong with an artifact is an ArtifactError with the word of the broken rule; docs/artifacts.md lists them.
`cryptography` is imported when a key is loaded, not with this package.
"""

from wainwright_common.artifact.detached import Signable, find_manifest, signature_of, write_signed
from wainwright_common.artifact.documents import provides_excess
from wainwright_common.artifact.header import Header, PayloadFileInfo, describe
from wainwright_common.artifact.key_files import KeyFileError, load_signing_key, load_verify_keys
from wainwright_common.artifact.limits import DEFAULT, Limits
from wainwright_common.artifact.provides import apply_provides, unmet_depends
from wainwright_common.artifact.reader import ArtifactReader, PayloadFile, ReadableBytes
from wainwright_common.artifact.rules import MEANINGS, Meaning, Rule
from wainwright_common.artifact.signing import SigningKey, VerifyKey
from wainwright_common.artifact.software import software_clears, software_provides
from wainwright_common.artifact.writer import ArtifactSpec, PayloadSource, write_module_image
from wainwright_common.errors import ArtifactError

__all__ = [
    "DEFAULT",
    "MEANINGS",
    "ArtifactError",
    "ArtifactReader",
    "ArtifactSpec",
    "Header",
    "KeyFileError",
    "Limits",
    "Meaning",
    "PayloadFile",
    "PayloadFileInfo",
    "PayloadSource",
    "ReadableBytes",
    "Rule",
    "Signable",
    "SigningKey",
    "VerifyKey",
    "apply_provides",
    "describe",
    "find_manifest",
    "load_signing_key",
    "load_verify_keys",
    "provides_excess",
    "signature_of",
    "software_clears",
    "software_provides",
    "unmet_depends",
    "write_module_image",
    "write_signed",
]
