"""Exceptions of NumPy and zipfile for damaged files."""

import struct
import tokenize
import zipfile
import zlib

NUMPY_DAMAGE = (
    ValueError, TypeError, EOFError, OverflowError, MemoryError, RecursionError, SyntaxError, tokenize.TokenError,
)  # fmt: skip
"""Raised by NumPy for a damaged .npy file, whose header is parsed as a Python literal."""

ARCHIVE_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, struct.error)
"""Raised by zipfile for an archive that is damaged, encrypted, or uses an unsupported compression."""
