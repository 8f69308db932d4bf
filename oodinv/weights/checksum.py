"""Checksums of files, apart from everything that needs torch."""

import hashlib
from pathlib import Path


def sha256_file(path: Path) -> str:
    """The file's sha256 in 64 hex digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
