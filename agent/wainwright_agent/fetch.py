"""The child that fetches an artifact: `python -m wainwright_agent.fetch`, a Job on standard input. See download.py.

Before the job it may be asked what a file or link is (source.py); without one it ends then.

In this order: the header is read and verified; the artifact must be the offered one and fit the device; its module must
exist; the work tree is built; the module gets the payload; the file's digest must be the offered one. So nothing of an
artifact is used before it is verified, and no module is called for one that is not for this device.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import msgspec

from wainwright_agent import scripts, space, streams
from wainwright_agent.checkpoint import Checkpoint, CheckpointError
from wainwright_agent.download import Fetched, Job, Look, Said, Unusable
from wainwright_agent.failure import LinkUseless, UpdateError
from wainwright_agent.module import Module, find
from wainwright_agent.processes import Surroundings
from wainwright_agent.storing import store
from wainwright_agent.worktree import WorkTree
from wainwright_common.artifact import (
    ArtifactReader,
    Header,
    KeyFileError,
    VerifyKey,
    apply_provides,
    load_verify_keys,
    provides_excess,
    unmet_depends,
)
from wainwright_common.codes import Code
from wainwright_common.errors import ArtifactError
from wainwright_common.messages import Progress
from wainwright_common.texts import encodable

if TYPE_CHECKING:
    from wainwright_agent.file_stream import FileStream
    from wainwright_agent.http_stream import HttpStream

PR_SET_PDEATHSIG = 1  # prctl(2)
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})

log = logging.getLogger(__name__)


class _Ended(BaseException):
    """SIGTERM: the daemon wants the end, or has died."""


def main() -> int:
    """Carry out the job on standard input; exit status 0 when its result, good or bad, was said."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _on_term)
    try:
        asked = _next()
        if isinstance(asked, Look):
            _die_with(asked.parent)
            _say(_look(asked))
            asked = _next()
        if not isinstance(asked, Job):
            return 0
        _die_with(asked.parent)
        os.chdir(asked.data_dir)
        say = Said(fetched=fetch(asked))
    except UpdateError as error:
        say = Said(error=error.reason)
    except LinkUseless as useless:
        say = Said(link_useless=str(useless))
    except _Ended:
        return 128 + signal.SIGTERM
    _say(say)
    return 0


def _next() -> Look | Job | None:
    """Return the next line of standard input; None at its end."""
    line = sys.stdin.buffer.readline()
    return msgspec.json.decode(line, type=Look | Job) if line else None


def _look(asked: Look) -> Said:
    from wainwright_agent.source import SourceError, look_at

    try:
        return Said(looked=look_at(os.fsdecode(unquote_to_bytes(asked.source)), asked.trust))
    except SourceError as error:
        return Said(unusable=Unusable(text=encodable(str(error)), is_refused=error.is_refused))


def _on_term(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: what follows is ending the module in good order
    raise _Ended


def _die_with(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent dies, and see that it has not died before."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise _Ended


def _say(said: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


def fetch(job: Job) -> Fetched:
    """Fetch and verify the artifact of a job and give it to its module; raises UpdateError and LinkUseless.

    Goes on from a checkpoint; one that turns out to be damaged costs a start from the first byte, and nothing else.
    """
    tree = WorkTree(Path(job.data_dir))
    kept = Checkpoint(tree.path, job.artifact, job.boot_id)
    is_resumed = kept.is_resumed
    try:
        return _fetch_into(tree, job, kept)
    except (CheckpointError, UpdateError) as error:
        if not is_resumed or (isinstance(error, UpdateError) and error.code is not Code.VERIFICATION_FAILED):
            raise
        log.warning("What an earlier download has kept is not used, starting from the first byte: %s", error)
    tree.remove()
    return _fetch_into(tree, job, Checkpoint(tree.path, job.artifact, job.boot_id))


def _fetch_into(tree: WorkTree, job: Job, kept: Checkpoint) -> Fetched:
    stream = _stream(job, kept)
    try:
        space.require(tree.data_dir, 0, "an update")
        return _fetch_from(stream, job, tree, kept)
    except ArtifactError as error:
        raise UpdateError(Code.VERIFICATION_FAILED, f"The artifact was refused ({error.rule}): {error}") from error
    except OSError as error:
        code = Code.NO_SPACE if error.errno in NO_SPACE else Code.DOWNLOAD_FAILED
        raise UpdateError(code, f"The artifact could not be stored: {error}.") from error
    except LinkUseless:
        _say(Said(progress=Progress(done=stream.offset, total=job.artifact.size)))  # whether to ask for more links
        raise
    finally:
        stream.close()
        kept.close()


def _stream(job: Job, kept: Checkpoint) -> HttpStream | FileStream:
    told = _Telling(job).bytes_done
    if job.by_hand and job.artifact.uri.startswith("file:"):
        from wainwright_agent.file_stream import FileStream

        kept.drop()  # the file itself is there for the next try
        return FileStream(job.artifact, told)
    from wainwright_agent.http_stream import HttpStream  # a third of this program's start

    return HttpStream(
        job.artifact,
        told,
        bytes_per_second=job.bytes_per_second,
        checkpoint=kept,
        is_digest_known=not job.by_hand,
        trust=job.trust,
    )


def _fetch_from(stream: HttpStream | FileStream, job: Job, tree: WorkTree, kept: Checkpoint) -> Fetched:
    reader = ArtifactReader(stream, verify_keys=_keys(job.verify_keys))
    header = reader.header
    _check_fit(header, job)
    after = apply_provides(job.provides, header)
    if too_many := provides_excess(after):
        raise UpdateError(Code.INCOMPATIBLE, f"The artifact cannot be added to what the device provides. {too_many}")
    scripts.extract(tree.data_dir, header.scripts)
    if header.payload_type is None:
        for _ in reader.files():
            pass  # there are none, and the reader refuses any
        stream.check_digest()
        return Fetched(payload_type=None, provides=after)
    path = find(header.payload_type, map(Path, job.modules))
    files = reader.files()
    try:
        if not kept.is_resumed:
            tree.build(header, job.device_type, job.provides)
            module = Module(path, tree, Surroundings(Path(job.records), grace_s=job.grace_s), job.module_timeout_s)
            if streams.download(module, files, stream.check_digest, begins=kept.drop):
                return Fetched(payload_type=header.payload_type, provides=after)
        kept.keep()  # it has not asked for a stream, now or before the checkpoint
        store(
            tree,
            files,
            kept,
            start=lambda: stream.offset if reader.payload_compression == "none" else None,
            left=lambda: job.artifact.size - max(kept.size, stream.offset),
        )
        stream.check_digest()
        kept.drop()
    except (LinkUseless, _Ended):
        raise  # the next download goes on from what there is
    except BaseException:
        kept.drop()
        tree.discard_files()  # their space may be what the journal needs
        raise
    return Fetched(payload_type=header.payload_type, provides=after)


def _keys(files: tuple[str, ...]) -> list[VerifyKey]:
    try:
        return load_verify_keys([Path(file) for file in files])
    except (KeyFileError, OSError) as error:
        # Without its keys the device cannot tell a good artifact from a bad one, so it takes none.
        raise UpdateError(Code.VERIFICATION_FAILED, f"A verify key cannot be used: {error}") from error


def _check_fit(header: Header, job: Job) -> None:
    if header.name != job.artifact.name:
        text = f"The artifact is of the release {header.name!r}; {job.artifact.name!r} was offered."
        raise UpdateError(Code.VERIFICATION_FAILED, text)
    if unmet := unmet_depends(header, device_type=job.device_type, provides=job.provides):
        raise UpdateError(Code.INCOMPATIBLE, " ".join(unmet))


class _Telling:
    """Says the progress, not more often than asked."""

    def __init__(self, job: Job) -> None:
        self._total = job.artifact.size
        self._interval_s = job.progress_interval_s
        self._next_at = time.monotonic()

    def bytes_done(self, done: int) -> None:
        now = time.monotonic()
        if now >= self._next_at or (done == self._total and self._next_at != float("inf")):
            self._next_at = float("inf") if done == self._total else now + self._interval_s
            _say(Said(progress=Progress(done=done, total=self._total)))


if __name__ == "__main__":
    # Everything was said and stored: to take modules apart lasts an eighth as long as the start.
    os._exit(main())
