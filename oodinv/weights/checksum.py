"""Checksums of files; imports no torch."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def sha256_file(path: Path) -> str:
    """Returns the sha256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_path(path: Path) -> str:
    """Returns the sha256 of a file, or of the visible files of a folder by `sha256_listing`."""
    if not path.is_dir():
        return sha256_file(path)
    files = (file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    return sha256_listing({file.name: sha256_file(file) for file in files})


def sha256_listing(digests: Mapping[str, str]) -> str:
    """Returns the sha256 of several files: that of the output of `sha256sum` for them, sorted by name."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
