"""Content Credentials, read back by c2pa-python."""

import datetime
import json
from pathlib import Path

import pytest
from command import call_here
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from oodinv.runs.runner import alone_in

c2pa = pytest.importorskip("c2pa")

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
UNTRUSTED = {"signingCredential.untrusted"}
"""What any reader says of a certificate that nobody vouches for."""


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=not signs, crl_sign=not signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _certificate(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    names = [
        x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "tests"), x509.NameAttribute(NameOID.COMMON_NAME, n)])
        for n in (name, issuer)
    ]
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    is_root = name == issuer
    builder = (
        x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(is_root, None), critical=True)
        .add_extension(_usage(signs=not is_root), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not is_root:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(*form))


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of a root of our own, and its key."""
    folder = tmp_path_factory.mktemp("credentials")
    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = [_certificate("signer", "root", leaf, root), _certificate("root", "root", root, root)]
    (folder / "chain.pem").write_bytes(b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain))
    _write_key(folder / "key.pem", leaf)
    return folder / "chain.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def out(samples: Path, tiny_card: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of a run over two photos, of which one is gone afterwards."""
    folder = tmp_path_factory.mktemp("run")
    names = ("barack-obama", "rishi-sunak")
    photos = [folder / f"{name}.jpg" for name in names]
    for path in photos:
        path.write_bytes((samples / path.name).read_bytes())
    assert call_here("invert", *photos, "-o", folder / "out", "--model", tiny_card).returncode == 0
    photos[1].unlink()
    return folder / "out"


def claimed(path: Path) -> tuple[dict[str, object], set[str], set[str]]:
    """The actions of a signed picture by name, relationships of its ingredients, and what is wrong with it."""
    with c2pa.Reader(str(path)) as reader:
        store = json.loads(reader.json())
        assert reader.get_validation_state() == "Valid"
    manifest = store["manifests"][store["active_manifest"]]
    (actions,) = (a["data"]["actions"] for a in manifest["assertions"] if a["label"].startswith("c2pa.actions"))
    relations = {i["relationship"] for i in manifest.get("ingredients", [])}
    assert "thumbnail" not in json.dumps(manifest)
    return {a["action"]: a for a in actions}, relations, {s["code"] for s in store.get("validation_status", [])}


def sign(out: Path, credentials: tuple[Path, Path], *more: str) -> dict[str, object]:
    done = call_here("sign", out, "--certificate", credentials[0], "--key", credentials[1], "--json", *more)
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def test_signed_copies_say_what_they_are(out: Path, credentials: tuple[Path, Path]) -> None:
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    summary = sign(out, credentials)
    assert (summary["done"], summary["failed"]) == (2, [])
    assert {path: path.read_bytes() for path in before} == before
    made = sorted(path.relative_to(out / "signed").as_posix() for path in (out / "signed").rglob("*.*"))
    assert made == [
        f"{folder}/{name}.{suffix}"
        for folder, suffix in (("composites", "png"), ("generated", "png"), ("pasted", "jpg"))
        for name in ("barack-obama", "rishi-sunak")
    ]

    actions, relations, wrong = claimed(out / "signed/pasted/barack-obama.jpg")
    assert wrong == UNTRUSTED
    assert relations == {"parentOf"}
    assert list(actions) == ["c2pa.opened", "c2pa.edited"]
    edited = actions["c2pa.edited"]
    assert isinstance(edited, dict)
    assert edited["digitalSourceType"] == SOURCE + "compositeWithTrainedAlgorithmicMedia"
    assert edited["parameters"]["model"] == "tiny"

    actions, relations, wrong = claimed(out / "signed/generated/barack-obama.png")
    assert wrong == UNTRUSTED
    assert relations == set()
    created = actions["c2pa.created"]
    assert isinstance(created, dict)
    assert created["digitalSourceType"] == SOURCE + "trainedAlgorithmicMedia"


def test_a_run_that_others_work_on_is_not_signed(out: Path, credentials: tuple[Path, Path]) -> None:
    options = ("--certificate", credentials[0], "--key", credentials[1], "--quiet")
    with alone_in(out):
        refused = call_here("sign", out, *options)
    assert refused.returncode == 1
    assert "is in use by another run" in refused.stderr
    assert call_here("sign", out, *options).returncode == 0


def test_a_photo_that_is_gone_is_not_named(out: Path, credentials: tuple[Path, Path]) -> None:
    sign(out, credentials)
    actions, relations, _ = claimed(out / "signed/pasted/rishi-sunak.jpg")
    assert list(actions) == ["c2pa.created"]
    assert relations == set()


def test_a_photo_is_named_from_another_folder(
    samples: Path, tiny_card: Path, credentials: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`invert` ran where its output lies, with a path seen from there."""
    (tmp_path / "a.jpg").write_bytes((samples / "barack-obama.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert call_here("invert", "a.jpg", "-o", "out", "--model", tiny_card).returncode == 0
    monkeypatch.chdir(tmp_path.parent)
    sign(tmp_path / "out", credentials)
    _, relations, _ = claimed(tmp_path / "out/signed/pasted/a.jpg")
    assert relations == {"parentOf"}


def test_a_changed_picture_fails_verification(out: Path, credentials: tuple[Path, Path]) -> None:
    sign(out, credentials)
    path = out / "signed/composites/barack-obama.png"
    content = bytearray(path.read_bytes())
    content[content.rindex(b"IDAT") + 20] ^= 1
    path.write_bytes(content)
    with c2pa.Reader(str(path)) as reader:
        assert reader.get_validation_state() == "Invalid"


def test_a_missing_picture_fails_alone(out: Path, credentials: tuple[Path, Path]) -> None:
    path = out / "composites/rishi-sunak.png"
    content = path.read_bytes()
    path.unlink()
    try:
        summary = sign(out, credentials)
    finally:
        path.write_bytes(content)
    assert summary["done"] == 1
    (failure,) = summary["failed"]  # type: ignore[misc]
    assert "composites/rishi-sunak.png" in failure["error"]


@pytest.mark.parametrize("wrong", ["key", "certificate", "missing", "algorithm", "stranger"])
def test_credentials_that_do_not_fit_are_named(
    wrong: str, out: Path, credentials: tuple[Path, Path], tmp_path: Path
) -> None:
    chain, key = credentials
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    stranger = ec.generate_private_key(ec.SECP256R1())
    _write_key(tmp_path / "stranger.pem", stranger)
    chosen = {
        "key": (chain, junk),
        "certificate": (junk, key),
        "missing": (chain, tmp_path / "none.pem"),
        "stranger": (chain, tmp_path / "stranger.pem"),
    }
    certificate, private = chosen.get(wrong, (chain, key))
    more = ("--algorithm", "ps256") if wrong == "algorithm" else ()
    done = call_here("sign", out, "--certificate", certificate, "--key", private, *more)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    named = {
        "key": "junk.pem",
        "certificate": "junk.pem",
        "missing": "none.pem",
        "algorithm": "ps256",
        "stranger": "stranger.pem",
    }[wrong]
    assert named in done.stderr.replace("\n", "")
