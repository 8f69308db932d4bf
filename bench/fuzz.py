"""Feeds a reader bytes that a coverage-guided fuzzer makes up, for so many minutes.

    python bench/fuzz.py READER [--minutes 5] [--seconds 10] [--corpus tests/corpus]

READER is picture, heic, xmp, exif, card, recipe, manifest, placement, arrays, average, direction, weights, or ir for
OpenVINO's networks. Whatever it is given, a reader must return or raise an error of oodinv, within so many seconds and
in bounded memory. The fuzzer stops at the first input for which that isn't so and writes it as crash-…, timeout-… or
oom-… to CORPUS/READER, where the tests find it from then on. Inputs that reach new code are kept for the next run in a
folder of the user's cache, not in the corpus.

Needs Google's atheris (`pip install atheris`), which has wheels for Linux.
"""

import argparse
import io
import json
import pickle
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ReaderName = Literal[
    "picture", "heic", "xmp", "exif", "card", "recipe", "manifest", "placement", "arrays", "average", "direction",
    "weights", "ir",
]  # fmt: skip
READERS: tuple[ReaderName, ...] = get_args(ReaderName)

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus"
SECONDS = 10
MEMORY_MB = 2500
MEMORY_MB_HEIC = 4000
"""A file of a few bytes may be a picture of `decode.MAX_PIXELS`, which takes 2 GB while an AVIF is decoded."""
LONGEST = 4096
LONGEST_IR = 1 << 16
BETWEEN = b"\n---\n"
"""Between the four files of a generator in OpenVINO's form, which make one input."""


def reader(name: ReaderName, folder: Path) -> Callable[[bytes], object]:
    """What reads bytes as a file of one kind; may raise an `OodinvError` and nothing else.

    folder: where readers of files find them; used over and over.
    """
    from oodinv.directions.foreign import ModelShape, import_file
    from oodinv.faces.align import read_placement
    from oodinv.imaging import exif, xmp
    from oodinv.imaging.decode import count_frames, decode_photo
    from oodinv.imaging.provenance import Provenance, packet
    from oodinv.recipe.card import read_card
    from oodinv.recipe.edit import read_edit_recipe
    from oodinv.runs import manifest, results
    from oodinv.weights.families import build_generator
    from oodinv.weights.reading import average, read
    from oodinv.weights.translation import translate

    def from_file(read_file: Callable[[Path], object], file_name: str, member: str = "") -> Callable[[bytes], object]:
        path = folder / file_name

        def read_bytes(content: bytes) -> object:
            path.write_bytes(content)
            return read_file(path)

        def read_both(content: bytes) -> object:
            """As they are, and as a part of an archive, whose checksums let hardly any altered byte through."""
            if not accepts(read_bytes, content):
                return read_bytes(_archived(content, member))
            return None

        return read_both if member else read_bytes

    def frames(content: bytes) -> None:
        photo = decode_photo(content, Path("odd.png"), deep=True)
        count = count_frames(content, Path("odd.png"))
        decode_photo(content, Path("odd.png"), frame=min(count, 3) - 1)
        assert photo.exif is None or exif.orientation_of(photo.exif) in (None, 1)

    def networks(content: bytes) -> None:
        parts = content.split(BETWEEN, 3)
        for file_name, part in zip(_IR_FILES, parts + [b""] * (4 - len(parts)), strict=True):
            (folder / "ir").mkdir(exist_ok=True)
            (folder / "ir" / file_name).write_bytes(part)
        build_generator(translate(read.read(folder / "ir")))

    match name:
        case "picture" | "heic":
            return frames
        case "xmp":
            return lambda content: (
                xmp.orientation_of(content), xmp.clean(content, turned=True), packet(Provenance(), content),
            )  # fmt: skip
        case "exif":
            return lambda content: exif.clean(content, (5, 6))
        case "card":
            return from_file(read_card, "odd.yaml")
        case "recipe":
            return from_file(read_edit_recipe, "odd.yaml")
        case "manifest":
            return from_file(lambda _: manifest.read(folder), manifest.FILE_NAME)
        case "placement":
            return from_file(read_placement, "odd.json")
        case "arrays":
            return from_file(lambda path: results.read_arrays(path, "invert"), "odd.npz", "w_plus.npy")
        case "average":
            return from_file(average.read_average, "odd.npy")
        case "direction":
            return from_file(lambda path: import_file(path, ModelShape("odd", 3, 4)), "odd.npz", "odd.npy")
        case "weights":
            return from_file(read.read, "odd.pt", "odd/data.pkl")
        case "ir":
            return networks


def _archived(content: bytes, member: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, content)
    return file.getvalue()


def accepts(read: Callable[[bytes], object], content: bytes) -> bool:
    """Whether a reader takes the bytes; an error of oodinv is a no, any other passes through."""
    from oodinv.errors import OodinvError

    try:
        read(content)
    except OodinvError:
        return False
    return True


def seeds(name: ReaderName) -> Iterator[bytes]:
    """Small valid files to start from."""
    match name:
        case "picture":
            yield from _pictures("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
        case "heic":
            yield from _pictures("HEIF", "AVIF")
            yield from _pictures("HEIF", "AVIF", xmp=_XMP)
        case "xmp":
            yield _XMP
            yield _XMP_ELEMENTS
        case "exif":
            block = Image.Exif()
            block[0x0112] = 6
            block[0x8769] = {0xA002: 5, 0x927C: b"\xff\xd8\xff\xdb\0\4ab\xff\xd9"}
            yield block.tobytes()
        case "card":
            yield from (path.read_bytes() for path in sorted((ROOT / "pretrained").glob("*.yaml")))
        case "recipe":
            yield from (path.read_bytes() for path in sorted((ROOT / "recipes" / "edit").glob("*.yaml")))
        case "manifest":
            header = {"oodinv": "1", "command": "invert", "card": {}, "weights": {}, "settings": {"noise": "fixed"}}
            entry = {"input": "a.jpg", "name": "a", "sha256": "0" * 64, "status": "done", "outputs": ["masks/a.png"]}
            yield f"{json.dumps(header)}\n{json.dumps(entry)}\n".encode()
        case "placement":
            yield json.dumps({"quad": [[0, 0], [0, 9.5], [9, 9], [9, 0]], "photo_size": [20, 10]}).encode()
        case "arrays":
            for save in (np.savez, np.savez_compressed):
                file = io.BytesIO()
                save(file, w_plus=np.zeros((2, 4), np.float32))
                yield file.getvalue()
            yield saved_array(np.zeros((2, 4), np.float32))
        case "average":
            yield saved_array(np.zeros(8, np.float32))
        case "direction":
            yield from _directions()
        case "weights":
            yield from _weights()
        case "ir":
            yield _networks()


_XMP = (
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"><tiff:ImageWidth>5</tiff:ImageWidth>'
    b"</rdf:Description></rdf:RDF>"
)


_XMP_ELEMENTS = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
    b"<tiff:Orientation><rdf:Description><rdf:value>8</rdf:value></rdf:Description></tiff:Orientation>"
    b"<xmp:Thumbnails><rdf:Alt><rdf:li>QUJD</rdf:li></rdf:Alt></xmp:Thumbnails></rdf:Description></rdf:RDF></x:xmpmeta>"
    b'<?xpacket end="w"?>'
)


def _pictures(*forms: str, **options: object) -> Iterator[bytes]:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 5, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in forms:
        file = io.BytesIO()
        said = {"exif": exif} if form not in ("GIF", "TIFF", "BMP", "PPM") else {}
        picture.save(file, form, **said, **options)
        yield file.getvalue()


def saved_array(array: NDArray[np.floating]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _directions() -> Iterator[bytes]:
    import torch
    from safetensors.torch import save

    row = np.arange(1, 5, dtype=np.float32)
    yield saved_array(row)
    file = io.BytesIO()
    np.savez(file, age=row, smile=np.tile(row, (3, 1)))
    yield file.getvalue()
    file = io.BytesIO()
    torch.save({"layer_1": torch.from_numpy(row)}, file)
    yield file.getvalue()
    yield pickle.dumps({"lat_comp": row.reshape(1, 4), "lat_stdev": row[:1], "lat_mean": row}, 2)
    yield save({"vector": torch.ones(3, 4)}, {"format": "oodinv direction 1", "direction": "{}"})


def _weights() -> Iterator[bytes]:
    import torch
    from safetensors.torch import save

    values = {"w": torch.zeros(2, 2), "n": {"b": torch.ones(3)}}
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save(values, file, _use_new_zipfile_serialization=zipped)
        yield file.getvalue()
    yield save({"w": torch.zeros(2)})
    yield pickle.dumps({"w": np.zeros(3, np.float32), "n": [1, "a"]})
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    yield empty.getvalue()


_IR_FILES = ("MappingNetwork.xml", "MappingNetwork.bin", "SynthesisNetwork.xml", "SynthesisNetwork.bin")


def _networks() -> bytes:
    """A tiny MobileStyleGAN in OpenVINO's form, its four files one after the other."""
    sys.path.insert(0, str(ROOT / "tests"))
    import openvino_ir

    from oodinv.models.generators.mobilestylegan import MobileStyleGAN

    generator = MobileStyleGAN(16, {4: 4, 8: 2}, w_dim=2, z_dim=2, mapping_layers=1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = openvino_ir.write(generator.requires_grad_(False), Path(scratch))
        return BETWEEN.join((folder / name).read_bytes() for name in _IR_FILES)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzzes one reader.")
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="time for one input; more on a busy machine")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="folder for the inputs that a reader fails on")
    options = parser.parse_args()
    try:
        import atheris
    except ImportError:
        parser.error("needs atheris: pip install atheris")
    from oodinv.weights.pull import cache_dir

    with tempfile.TemporaryDirectory() as scratch, atheris.instrument_imports(include=["oodinv"]):
        read = reader(options.reader, Path(scratch))
        known, found = cache_dir() / "fuzz" / options.reader, options.corpus / options.reader
        for folder in (known, found):
            folder.mkdir(parents=True, exist_ok=True)
        for n, seed in enumerate(seeds(options.reader)):
            (known / f"seed-{n}").write_bytes(seed)
        limits = [
            f"-max_total_time={round(60 * options.minutes)}",
            f"-timeout={options.seconds}",
            f"-rss_limit_mb={MEMORY_MB_HEIC if options.reader == 'heic' else MEMORY_MB}",
        ]
        longest = LONGEST_IR if options.reader == "ir" else LONGEST
        shape = [f"-max_len={longest}", f"-artifact_prefix={found}/", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *limits, *shape, str(known)], lambda content: accepts(read, content) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
