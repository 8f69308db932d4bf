"""Bytes that mean harm: whatever a reader is given, it reads it or raises an error of ours, in bounded memory."""

import io
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fuzz import READERS, ReaderName, accepts, saved_array, seeds
from fuzz import reader as make_reader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from oodinv.directions.foreign import ModelShape, import_file
from oodinv.errors import ImageError, ManifestError, OodinvError, RecipeError, WeightsError
from oodinv.faces.align import read_placement
from oodinv.imaging.decode import decode_photo
from oodinv.recipe.card import read_card
from oodinv.runs import manifest
from oodinv.runs import results as saved_results
from oodinv.runs.manifest import Entry, Header
from oodinv.runs.results import read_arrays
from oodinv.weights.reading.average import read_average
from oodinv.weights.reading.read import read

CARDS = Path(__file__).resolve().parents[1] / "pretrained"

fuzz = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@st.composite
def altered(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """A sample with some bytes replaced, cut out or put in, or cut short."""
    content = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=6))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


# Pictures


def pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for form, options in (
        ("PNG", {"exif": exif}), ("JPEG", {"exif": exif}), ("WEBP", {}), ("GIF", {}),
        ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}), ("PPM", {}),
    ):  # fmt: skip
        file = io.BytesIO()
        colour.save(file, form, **options)
        found.append(file.getvalue())
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16"):
        file = io.BytesIO()
        grey = colour.convert("L")
        odd = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else colour.convert(mode)
        odd.save(file, "TIFF" if mode == "CMYK" else "PNG")
        found.append(file.getvalue())
    return found


@fuzz
@given(st.one_of(altered(pictures()), st.binary(max_size=64)))
def test_any_bytes_are_a_picture_or_an_image_error(content: bytes) -> None:
    try:
        photo = decode_photo(content, Path("odd.png"))
    except ImageError as error:
        assert "odd.png" in str(error)  # noqa: PT017 (most examples raise, some don't)
    else:
        assert photo.pixels.dtype == np.uint8
        assert photo.pixels.ndim == 3
        assert photo.pixels.shape[2] == 3


# Cards


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["name", "size", "crop", "generator", "encoder", "samm", "licence", "kind", "weights", "sizes", "flow_range"]


@st.composite
def cards(draw: st.DrawFn) -> bytes:
    """A card that comes with the project with values exchanged."""
    card = yaml.safe_load(draw(st.sampled_from(sorted(CARDS.glob("*.yaml")))).read_text())
    for _ in range(draw(st.integers(1, 3))):
        inner = draw(st.sampled_from([card, *(v for v in card.values() if isinstance(v, dict))]))
        inner[draw(st.sampled_from(KEYS))] = draw(values)
    return yaml.safe_dump(card, allow_unicode=True).encode(errors="surrogatepass")


@fuzz
@given(
    st.one_of(cards(), altered([path.read_bytes() for path in sorted(CARDS.glob("*.yaml"))]), st.binary(max_size=40))
)
def test_any_bytes_are_a_card_or_a_recipe_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    try:
        read_card(path)
    except RecipeError as error:
        assert "odd.yaml" in str(error)  # noqa: PT017


def test_a_card_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    """Nine lists of nine of the one before: a billion values if anything goes through them."""
    lines = ["a0: &a0 x", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    (tmp_path / "laughs.yaml").write_text("\n".join(lines))
    with pytest.raises(RecipeError, match=r"laughs\.yaml"):
        read_card(tmp_path / "laughs.yaml")


# Manifests


HEADER = Header("1", "test", {"name": "x"}, {}, {"seed": 1})
ENTRIES = [Entry(f"in/{n}.jpg", f"{n}", "0" * 64, "done", [f"a/{n}.png"]) for n in range(3)]
LINES = [(manifest._line(HEADER) + manifest._line(entry)).encode() for entry in ENTRIES]


@fuzz
@given(st.one_of(altered(LINES), st.binary(max_size=60)), st.dictionaries(st.text(max_size=8), values, max_size=4))
def test_any_bytes_are_a_manifest_or_a_manifest_error(tmp_path: Path, content: bytes, extra: dict[str, object]) -> None:
    line = yaml.safe_dump(extra, default_flow_style=True, allow_unicode=False).encode(errors="surrogatepass")
    (tmp_path / manifest.FILE_NAME).write_bytes(content + b"\n" + line)
    try:
        found = manifest.read(tmp_path)
    except ManifestError as error:
        assert manifest.FILE_NAME in str(error)  # noqa: PT017
        return
    for entry in found[1].values() if found else ():
        manifest.difference(found[0], HEADER)
        for output in entry.outputs:
            (tmp_path / output).is_file()
            assert (tmp_path / output).resolve().is_relative_to(tmp_path.resolve())


# Places of crops, and directions of anyone's


@pytest.mark.parametrize("reader", ["placement", "direction"])
@fuzz
@given(st.data())
def test_any_bytes_are_read_or_refused_by_name(tmp_path: Path, reader: ReaderName, data: st.DataObject) -> None:
    content = data.draw(altered(list(seeds(reader))))
    try:
        make_reader(reader, tmp_path)(content)
    except OodinvError as error:
        assert "odd." in str(error)  # noqa: PT017


@pytest.mark.parametrize("corner", ["[" * 100_000, "Infinity", "1e999", "null", '{"a": 1}'])
@pytest.mark.parametrize("field", ["quad", "photo_size"])
def test_a_placement_of_anything_else_is_an_image_error(corner: str, field: str, tmp_path: Path) -> None:
    good = {"quad": "[[0, 0], [0, 9], [9, 9], [9, 0]]", "photo_size": "[20, 10]"}
    bad = good | {field: f"[{corner}, {corner}]"}
    (tmp_path / "odd.json").write_text("{" + ", ".join(f'"{key}": {value}' for key, value in bad.items()) + "}")
    with pytest.raises(ImageError, match=r"odd\.json"):
        read_placement(tmp_path / "odd.json")


# Weights


@fuzz
@given(altered([saved_array(np.zeros(16, np.float32)), saved_array(np.zeros((2, 8), np.float32))]))
def test_any_bytes_are_an_average_or_a_weights_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.npy"
    path.write_bytes(content)
    try:
        assert read_average(path).ndim in (1, 2)
    except WeightsError as error:
        assert "odd.npy" in str(error)  # noqa: PT017


@pytest.mark.parametrize(("old", "new"), [(b"{'descr'", b"[{'descr'"), (b"{'descr'", b" \n  1\n {")])
def test_a_header_that_is_no_python_is_a_weights_error(old: bytes, new: bytes, tmp_path: Path) -> None:
    """Found by the test above: NumPy lets the errors of Python's tokenizer through."""
    (tmp_path / "x.npy").write_bytes(saved_array(np.zeros(16, np.float32)).replace(old, new.ljust(len(old))))
    with pytest.raises(WeightsError, match=r"x\.npy"):
        read_average(tmp_path / "x.npy")


def test_an_average_that_claims_more_than_its_file_has_costs_nothing(tmp_path: Path) -> None:
    content = saved_array(np.zeros(16, np.float32))
    (tmp_path / "x.npy").write_bytes(content.replace(b"(16,), }" + b" " * 12, b"(16000000000000,), }"))
    assert b"(16000000000000,)" in (tmp_path / "x.npy").read_bytes()
    with pytest.raises(WeightsError, match=r"x\.npy"):
        read_average(tmp_path / "x.npy")


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def put(index: int) -> bytes:
    return b"r" + index.to_bytes(4, "little")


def get(index: int) -> bytes:
    return b"j" + index.to_bytes(4, "little")


def encoded_again_and_again() -> bytes:
    """One string of 100 kB, made bytes 5,000 times."""
    start = b"c_codecs\nencode\n" + put(0) + b"0" + text("x" * 100_000) + text("latin1") + b"\x86" + put(1) + b"0"
    return b"\x80\x02" + start + b"]" + b"(" + (get(0) + get(1) + b"R") * 5_000 + b"e."


def copied_again_and_again() -> bytes:
    """A dict of 3,000 entries, copied 5,000 times."""
    entries = b"}(" + b"".join(b"M" + n.to_bytes(2, "little") + b"N" for n in range(3_000)) + b"u\x85" + put(1) + b"0"
    start = b"ccollections\nOrderedDict\n" + put(0) + b"0" + entries
    return b"\x80\x02" + start + b"](" + (get(0) + get(1) + b"R") * 5_000 + b"e."


def claimed_again_and_again() -> bytes:
    """1 MB of numbers that 500 arrays claim."""
    raw = bytes(1_000_000)
    dtype = (
        b"cnumpy\ndtype\n" + text("f4") + b"\x85R(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    names = b"cnumpy.core.numeric\n_frombuffer\n" + put(0) + b"0" + dtype + put(1) + b"0"
    names += b"B" + len(raw).to_bytes(4, "little") + raw + put(2) + b"0" + b"M\x90\xd0K\x05\x86" + put(3) + b"0"
    array = get(0) + b"(" + get(2) + get(1) + get(3) + text("C") + b"tR"
    return b"\x80\x03" + names + b"}(" + b"".join(b"M" + n.to_bytes(2, "little") + array for n in range(500)) + b"u."


def long_names() -> bytes:
    """A name of 1 MB for each of 300 dicts in one another."""
    return b"\x80\x02" + text("n" * 1_000_000) + put(0) + b"0" + b"}" + (get(0) + b"}") * 60 + b"s" * 60 + b"."


AMPLIFIERS: list[Callable[[], bytes]] = [
    encoded_again_and_again,
    copied_again_and_again,
    claimed_again_and_again,
    long_names,
]


@pytest.mark.parametrize("make", AMPLIFIERS, ids=lambda make: make.__name__)
def test_what_a_pickle_asks_for_again_and_again_is_bounded(make: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(make())
    size = path.stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(OodinvError, match=r"hostile\.pkl"):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * size + (4 << 20)


HUGE = 1 << 20_000
"""More digits than Python spells."""


@pytest.mark.parametrize("value", [{HUGE: 1}, {"a": {HUGE: {"b": HUGE}}}], ids=["key", "inner"])
def test_a_number_that_can_not_be_spelled_is_no_key(value: object, tmp_path: Path) -> None:
    (tmp_path / "huge.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(WeightsError, match=r"huge\.pkl.*absurd"):
        read(tmp_path / "huge.pkl")


def test_a_shape_of_huge_numbers_is_refused_at_once(tmp_path: Path) -> None:
    class Array:
        def __reduce__(self) -> tuple[object, ...]:
            make, args, _ = np.zeros(4, "f4").__reduce__()
            return make, args, (1, (HUGE,) * 50_000, np.dtype("f4"), False, bytes(16))

    (tmp_path / "huge.pkl").write_bytes(pickle.dumps({"a": Array()}, 3))
    with pytest.raises(WeightsError, match=r"huge\.pkl.*shape"):
        read(tmp_path / "huge.pkl")


def test_honest_pickles_stay_far_below_the_bounds(tmp_path: Path) -> None:
    """Many small arrays in the oldest spelling of bytes, and many dicts, as in a network's pickle."""
    arrays = {f"layer{n}.{part}": np.arange(n % 5 + 1, dtype="f4") for n in range(2_000) for part in ("w", "b")}
    value = {"arrays": arrays, "settings": {f"module{n}": {"hooks": {}, "more": {}} for n in range(2_000)}}
    for protocol in (0, 2, 4):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol))
        found = read(tmp_path / "x.pkl")
        assert len(found.tensors) == 4_000


def legacy(values: bytes) -> bytes:
    """A file as torch.save wrote it before PyTorch 1.6, with these values and no numbers."""
    preamble = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    return b"".join(pickle.dumps(item, protocol=2) for item in preamble) + values + pickle.dumps([], protocol=2)


def calls(name: str, number: int) -> bytes:
    """A pickle of {"a": name(number)}."""
    module, _, attribute = name.rpartition(".")
    called = f"c{module}\n{attribute}\n(I{number}\ntR".encode()
    return b"\x80\x02}X\x01\0\0\0a" + called + b"s."


def refers(*numbers: int) -> bytes:
    """A pickle of references to so many storages, each of so many float32 numbers."""
    one = b"".join(
        f"(Vstorage\nctorch\nFloatStorage\nV{key}\nVcpu\nI{count}\nNtQ".encode() for key, count in enumerate(numbers)
    )
    return b"\x80\x02](" + one + b"e."


@pytest.mark.parametrize("load", [read, read_average])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        refers(1 << 34),
        refers(*[100] * 50),
        calls("torch.FloatStorage", 1 << 34),
        calls("torch.Tensor", 1 << 34),
        calls("builtins.bytearray", 1 << 34),
        calls("torch._utils._rebuild_qtensor", 1 << 34),
        calls("torch.UntypedStorage", 1 << 34),
    ],
    ids=["storage", "storages", "call", "tensor", "bytes", "quantised", "untyped"],
)
def test_a_pytorch_file_that_asks_for_more_than_it_has_is_never_loaded(
    values: bytes, zipped: bool, load: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.pt"
    path.write_bytes(legacy(values))
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("small/data.pkl", values)
            archive.writestr("small/version", "3\n")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(WeightsError, match=r"damaged|refused"):
        load(path)


@pytest.mark.parametrize("old", [False, True])
def test_an_honest_pytorch_file_of_shared_storages_is_read(old: bool, tmp_path: Path) -> None:
    flat = torch.arange(12.0)
    values = {"a": flat, "b": flat[3:9].reshape(2, 3), "p": torch.nn.Parameter(flat[:2]), "n": 7}
    torch.save(values, tmp_path / "honest.pt", _use_new_zipfile_serialization=not old)
    found = read(tmp_path / "honest.pt")
    assert torch.equal(found.tensors["b"], flat[3:9].reshape(2, 3))
    assert torch.equal(found.tensors["p"], flat[:2])
    assert found.settings == {"n": 7}


# Arrays of a folder of results


def archived(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("w_plus.npy", saved_array(np.zeros((2, 8), np.float32)))
    return file.getvalue()


@fuzz
@given(altered([archived(zipfile.ZIP_STORED), archived(zipfile.ZIP_DEFLATED)]))
def test_any_bytes_are_arrays_or_an_image_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(content)
    try:
        read_arrays(path, "oodinv invert")
    except ImageError as error:
        assert "odd.npz" in str(error)  # noqa: PT017


DAMAGED = {
    "encrypted": archived(zipfile.ZIP_STORED).replace(
        b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\x01\0"
    ),
    "method": archived(zipfile.ZIP_STORED).replace(b"\x14\0\0\0\0\0", b"\x14\0\0\0\x63\0"),
    "checksum": archived(zipfile.ZIP_STORED).replace(b"{'descr'", b"[{'descr'"),
    "deflated": archived(zipfile.ZIP_DEFLATED)[:60] + b"\xff\xff" + archived(zipfile.ZIP_DEFLATED)[62:],
}
"""Archives of arrays: locked, packed in an unknown way, altered."""


@pytest.mark.parametrize(
    "content", [saved_array(np.zeros(3, np.float32)), pickle.dumps({"w_plus": 1}), *DAMAGED.values()],
    ids=["npy", "pickle", *DAMAGED],
)  # fmt: skip
def test_arrays_in_another_form_are_an_image_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.npz").write_bytes(content)
    with pytest.raises(ImageError, match=r"odd\.npz: is damaged"):
        read_arrays(tmp_path / "odd.npz", "oodinv invert")


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_direction_in_a_damaged_archive_is_a_weights_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.npz").write_bytes(content)
    with pytest.raises(WeightsError, match=r"odd\.npz: is a damaged \.npz"):
        import_file(tmp_path / "odd.npz", ModelShape("odd", 2, 8))


def test_arrays_that_unfold_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the archive's own list, before anything is unfolded."""
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, w_plus=np.zeros(1 << 18, np.float32))
    assert read_arrays(path, "oodinv invert")["w_plus"].size == 1 << 18
    monkeypatch.setattr(saved_results, "MAX_ARRAY_BYTES", 1 << 20)
    with pytest.raises(ImageError, match=r"bomb\.npz: expands to more than 1 MiB"):
        read_arrays(path, "oodinv invert")


# What fuzzing found


CORPUS = Path(__file__).resolve().parent / "corpus"
FOUND = [(reader, path) for reader in READERS for path in sorted((CORPUS / reader).glob("*"))]


@pytest.mark.parametrize(("reader", "path"), FOUND, ids=lambda value: getattr(value, "name", value))
def test_what_fuzzing_found_is_read_or_refused(reader: ReaderName, path: Path, tmp_path: Path) -> None:
    accepts(make_reader(reader, tmp_path), path.read_bytes())


@pytest.mark.parametrize("reader", READERS)
def test_fuzzing_starts_from_files_that_are_read(reader: ReaderName, tmp_path: Path) -> None:
    read_bytes = make_reader(reader, tmp_path)
    assert any(accepts(read_bytes, seed) for seed in seeds(reader))
