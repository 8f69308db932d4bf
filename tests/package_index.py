"""A wheel and a source archive, made here, for `pip` to find."""

import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

from oodinv.weights.origins import PackageFile, Row

CONTENT = bytes(range(256)) * 20


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("fakeweights/net.onnx", CONTENT)
        file.writestr("fakeweights/__init__.py", "raise SystemExit('installed code must not run')")
        metadata = "Metadata-Version: 2.1\nName: fakeweights\nVersion: 1.0\n"
        file.writestr("fakeweights-1.0.dist-info/METADATA", metadata)
        file.writestr("fakeweights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("fakeweights-1.0.dist-info/RECORD", "")
    return archive.getvalue()


# A build backend needs nothing from an index; this one leaves a mark when it is run.
BACKEND = """
from pathlib import Path
def get_requires_for_build_wheel(config_settings=None):
    return []
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    Path({mark!r}).touch()
    info = Path(folder) / "fakesource-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: fakesource\\nVersion: 2.0\\n")
    return info.name
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def sdist(mark: Path) -> bytes:
    archive = io.BytesIO()
    files = {
        "PKG-INFO": b"Metadata-Version: 2.1\nName: fakesource\nVersion: 2.0\n",
        "pyproject.toml": PYPROJECT.encode(),
        "backend.py": BACKEND.format(mark=str(mark)).encode(),
        "weights/net.ckpt": CONTENT,
    }
    with tarfile.open(fileobj=archive, mode="w:gz") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(f"fakesource-2.0/{name}")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def altered(row: Row, **changes: str | int) -> Row:
    assert isinstance(row.origin, PackageFile)
    return replace(row, origin=replace(row.origin, **changes))  # type: ignore[arg-type]
