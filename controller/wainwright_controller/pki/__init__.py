"""The controller's own small certificate authority: a root, an issuing authority below it, and what they sign.

Files (folder.py), certificates (profiles.py) and revocation lists (revocation.py) are made here; who may have a
certificate is decided elsewhere. Nothing here knows the store or the network.
"""

from wainwright_controller.pki.authority import Authority
from wainwright_controller.pki.folder import Folder, PkiError
from wainwright_controller.pki.profiles import CONTROLLER, is_reserved

__all__ = ["CONTROLLER", "Authority", "Folder", "PkiError", "is_reserved"]
