"""What readers of arrays and archives raise when a file is damaged."""

import struct
import tokenize
import zipfile
import zlib

NUMPY_DAMAGE = (
    ValueError, TypeError, EOFError, OverflowError, MemoryError, RecursionError, SyntaxError, tokenize.TokenError,
)  # fmt: skip
"""What NumPy raises on a damaged .npy file: its header is a Python literal, read with Python's own tools."""

ARCHIVE_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, struct.error)
"""What zipfile raises on an archive that is damaged, or packed or encrypted in ways that nobody uses for arrays."""
