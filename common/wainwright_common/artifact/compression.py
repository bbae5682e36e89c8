"""Streaming compression and expansion, chosen by a member's suffix: none, gzip, lzma (xz) and zstd.

An expander gives back exactly what one compressed stream holds: it refuses what follows the stream, a stream that ends
early, and one that expands like a bomb.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from types import MappingProxyType, ModuleType
from typing import Final, Protocol

from wainwright_common.artifact.limits import DEFAULT, KIB, Limits
from wainwright_common.artifact.rules import Rule, refusal

SUFFIXES: Final = MappingProxyType({"none": "", "gzip": ".gz", "lzma": ".xz", "zstd": ".zst"})
"""The suffix of each compression, by the name that the command line uses."""

BY_SUFFIX: Final = MappingProxyType({suffix: name for name, suffix in SUFFIXES.items()})

_INPUT_CHUNK: Final = 128 * KIB
_GZIP_WBITS: Final = 31  # zlib: a window of 2^15 bytes, plus 16 for "gzip header and trailer only"

# Levels of the writer, measured on 52 MB of programs and libraries. gzip 9 saves 0.2 % of the size over 6 and takes
# three times as long. zstd 9 is 14 % below gzip at 2.5 times the speed; 12 saves another 0.5 % and takes twice as long.
# xz above 6 costs memory on the device (65 MiB at 9, 9 MiB at 6), not only here.
_GZIP_LEVEL: Final = 6
_XZ_PRESET: Final = 6
_ZSTD_LEVEL: Final = 9


class _Decoder(Protocol):
    """The face that lzma's and zstd's decoders share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gunzip:
    """zlib's decoder with that face."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=_GZIP_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        out = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # A full answer means that zlib may hold more, even when it has taken all of its input.
        self.needs_input = len(out) < max_length and not self._zlib.unconsumed_tail
        return out


def _zstd() -> ModuleType:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _decoder(compression: str, limits: Limits) -> tuple[_Decoder, type[Exception]]:
    """Return a decoder and the error by which it says that its input is not what it decodes."""
    if compression == "gzip":
        return _Gunzip(), zlib.error
    if compression == "lzma":
        import lzma

        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=limits.decoder_memory), lzma.LZMAError
    zstd = _zstd()
    options = {zstd.DecompressionParameter.window_log_max: limits.zstd_window_log}
    return zstd.ZstdDecompressor(options=options), zstd.ZstdError


class Expander:
    """Expands one compressed stream piece by piece.

    `read(n)` is the source of compressed bytes, `label` names it in errors. Memory: one input chunk, one output piece
    and the decoder's window, which `limits` bounds.
    """

    def __init__(self, read: Callable[[int], bytes], compression: str, label: str, limits: Limits) -> None:
        self._source = read
        self._compression = compression
        self._label = label
        self._limits = limits
        self._decoder, self._error = _decoder(compression, limits)
        self._taken = 0  # compressed bytes
        self._given = 0  # expanded bytes
        self._ended = False

    def read(self, n: int) -> bytes:
        """Return up to `n` expanded bytes, none once the stream has ended and nothing follows it.

        Raises ArtifactError: compression, compression-trailing, expansion, truncated.
        """
        while not self._decoder.eof:
            data = b""
            if self._decoder.needs_input:
                data = self._source(_INPUT_CHUNK)
                if not data:
                    raise refusal(Rule.TRUNCATED, f"{self._label} ends before its {self._compression} stream does.")
                self._taken += len(data)
            try:
                out = self._decoder.decompress(data, n)
            except self._error as error:
                raise refusal(
                    Rule.COMPRESSION, f"{self._label} cannot be expanded as {self._compression}: {error}."
                ) from error
            if out:
                self._count(len(out))
                return out
        self._check_end()
        return b""

    def _count(self, expanded: int) -> None:
        self._given += expanded
        if self._given > self._limits.expansion_allowance + self._limits.expansion * self._taken:
            raise refusal(
                Rule.EXPANSION,
                f"{self._label} expands over {self._limits.expansion} times: {self._taken} bytes to {self._given}.",
            )

    def _check_end(self) -> None:
        if not self._ended and (self._decoder.unused_data or self._source(1)):
            raise refusal(
                Rule.COMPRESSION_TRAILING, f"{self._label} goes on after the end of its {self._compression} stream."
            )
        self._ended = True


def expander(
    read: Callable[[int], bytes], compression: str, label: str, limits: Limits = DEFAULT
) -> Callable[[int], bytes]:
    """Return a `read(n)` of the expanded bytes; the source's own when nothing is compressed."""
    return read if compression == "none" else Expander(read, compression, label, limits).read


class _Encoder(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def compressor(compression: str) -> _Encoder:
    """Return an encoder for one stream. Its output depends on its input only: no times, no names."""
    if compression == "gzip":
        return zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WBITS)
    if compression == "lzma":
        import lzma

        return lzma.LZMACompressor(preset=_XZ_PRESET)
    if compression == "zstd":
        zstd = _zstd()
        options = {
            zstd.CompressionParameter.compression_level: _ZSTD_LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        encoder: _Encoder = zstd.ZstdCompressor(options=options)
        return encoder
    return _Plain()


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""
