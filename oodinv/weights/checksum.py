"""Checksums of files, apart from everything that needs torch."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def sha256_file(path: Path) -> str:
    """The file's sha256 in 64 hex digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_path(path: Path) -> str:
    """The sha256 of a file, or of a folder's files as `sha256_listing` has it; hidden ones don't count."""
    if not path.is_dir():
        return sha256_file(path)
    files = (file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    return sha256_listing({file.name: sha256_file(file) for file in files})


def sha256_listing(digests: Mapping[str, str]) -> str:
    """The sha256 of several files together: that of the text `sha256sum` prints for them, sorted by name."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
