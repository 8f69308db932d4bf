"""Signed copies of a run's pictures with Content Credentials; needs c2pa-python, an optional dependency.

A claim records the tool, model and recipe of a picture, and its photo as an ingredient if the photo is unchanged.
Source: C2PA Technical Specification 2.2, actions and ingredients.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from PIL import Image

import oodinv
from oodinv.errors import ImageError, OodinvError
from oodinv.imaging.files import atomic_write, readable
from oodinv.imaging.provenance import SOURCE_TYPES, SourceType
from oodinv.runs.manifest import Entry
from oodinv.runs.results import Results
from oodinv.runs.runner import Event, Finished, Started, alone_in, remade
from oodinv.weights.checksum import sha256_file

if TYPE_CHECKING:
    from c2pa import Signer

Algorithm = Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"]

FOLDER = "signed"
_SOURCES: dict[str, SourceType] = {
    "generated": "trainedAlgorithmicMedia",
    "unedited": "trainedAlgorithmicMedia",
    "composites": "compositeWithTrainedAlgorithmicMedia",
    "pasted": "compositeWithTrainedAlgorithmicMedia",
    "strips": "compositeWithTrainedAlgorithmicMedia",
}
"""Digital source types of the pictures to sign, by folder."""
_MIME = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".gif": "image/gif",
    ".avif": "image/avif",
}
_PHOTO = "photo"
_AGENT = {"name": "oodinv", "version": oodinv.__version__}


@dataclass(frozen=True)
class Credentials:
    """Signing credentials: PEM files of the certificates (the signer's first) and of the private key in PKCS #8.

    timestamp: URL of an RFC 3161 service, called once per picture; None for no timestamps.
    """

    certificates: Path
    key: Path
    algorithm: Algorithm
    timestamp: str | None = None


def sign(results: Results, credentials: Credentials) -> Iterator[Event]:
    """Writes a signed copy of every picture of the run to OUT/signed; yields one event per photo.

    A missing picture of one photo doesn't stop the others.

    Raises:
        OodinvError: c2pa-python is not installed, or the credentials can't be used. OutputError: the folder can't be
            written.
    """
    signer = _signer(credentials)
    with alone_in(results.path):
        yield Started(len(results.entries), 0)
        for entry in results.entries.values():
            yield Finished(remade(entry, partial(_copies, results, signer), results.path))


def _signer(credentials: Credentials) -> "Signer":
    try:
        from c2pa import C2paError, C2paSignerInfo, Signer
    except ImportError as error:
        raise OodinvError("signing needs c2pa-python, which is not installed; pip install 'oodinv[c2pa]'") from error
    try:
        chain, key = credentials.certificates.read_bytes(), credentials.key.read_bytes()
        stamp = None if credentials.timestamp is None else credentials.timestamp.encode()
        signer = Signer.from_info(C2paSignerInfo(credentials.algorithm.encode(), chain, key, stamp))
        _try(signer)
        return signer
    except OSError as error:
        raise OodinvError(f"can't read {error.filename}: {error.strerror}; check --certificate and --key") from error
    except C2paError as error:
        raise OodinvError(
            f"can't sign with {credentials.certificates} and {credentials.key} ({error}); expected PEM files: the "
            f"signer's certificate followed by its chain, and its private key in PKCS #8 for "
            f"{credentials.algorithm}, or another --algorithm"
        ) from error


def _try(signer: "Signer") -> None:
    """Signs a blank picture, because c2pa-python checks certificates only when it signs."""
    blank = BytesIO()
    Image.new("L", (8, 8)).save(blank, "PNG")
    blank.seek(0)
    made = {"action": "c2pa.created", "digitalSourceType": f"{SOURCE_TYPES}digitalCreation"}
    _embedded(blank, _MIME[".png"], signer, _claim("blank", [made]), None)


def _copies(results: Results, signer: "Signer", entry: Entry) -> Iterator[str]:
    photo = _unchanged(results, entry)
    for output in entry.outputs:
        if _folder(output) in _SOURCES:
            yield _copy(results, signer, output, photo)


def _folder(output: str) -> str:
    return PurePosixPath(output).parts[0]


def _copy(results: Results, signer: "Signer", output: str, photo: Path | None) -> str:
    """Writes the signed copy of one picture and returns its path below OUT."""
    source = _SOURCES[_folder(output)]
    parent = None if source == "trainedAlgorithmicMedia" else photo
    content = _signed(results.path / output, signer, claim(results, Path(output).name, source, parent), parent)
    copy = f"{FOLDER}/{output}"
    atomic_write(results.path / copy, lambda file: file.write(content))
    return copy


def _unchanged(results: Results, entry: Entry) -> Path | None:
    """Finds the photo of a result; None if it is missing, has changed, or has a type that can't be an ingredient."""
    path = results.photo(entry)
    if path is None or path.suffix.lower() not in _MIME:
        return None
    return path if sha256_file(path) == entry.sha256 else None


def claim(results: Results, title: str, source: SourceType, photo: Path | None) -> dict[str, Any]:
    """Builds the claim of a picture: actions `opened` and `edited` with its photo, or `created` without one."""
    made = {
        "digitalSourceType": SOURCE_TYPES + source,
        "softwareAgent": _AGENT,
        "parameters": {"model": results.model} | ({} if results.recipe is None else {"recipe": results.recipe}),
    }
    opened: dict[str, Any] = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_PHOTO]}}
    created, edited = ({"action": f"c2pa.{done}"} | made for done in ("created", "edited"))
    return _claim(title, [created] if photo is None else [opened, edited])


def _claim(title: str, actions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "claim_generator_info": [_AGENT],
        "title": readable(title),
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def _signed(path: Path, signer: "Signer", claimed: dict[str, Any], photo: Path | None) -> bytes:
    from c2pa import C2paError

    try:
        with path.open("rb") as picture:
            return _embedded(picture, _MIME[path.suffix.lower()], signer, claimed, photo)
    except FileNotFoundError as error:
        raise ImageError(f"{error.filename}: is missing; make it again, or leave it out of --save") from error
    except (OSError, C2paError) as error:
        raise ImageError(f"{path}: can't be signed: {error}") from error


def _embedded(picture: BinaryIO, mime: str, signer: "Signer", claimed: dict[str, Any], photo: Path | None) -> bytes:
    """Embeds the claim in a picture; without thumbnails, because the unedited photo may be private."""
    from c2pa import Builder, Context, Settings

    settings = Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}})
    with Context(settings) as context, Builder(claimed, context) as builder:
        if photo is not None:
            named = {"title": readable(photo.name), "relationship": "parentOf", "instance_id": _PHOTO}
            with photo.open("rb") as original:
                builder.add_ingredient(named, _MIME[photo.suffix.lower()], original)
        signed = BytesIO()
        builder.sign(signer, mime, picture, signed)
        return signed.getvalue()
