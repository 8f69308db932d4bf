"""Photos in and out: decoding to 8-bit RGB, tensors in [−1, 1], and writes that are whole or absent.

Pixels stay in the photo's own colour space. A network trained on untagged pictures sees what such a picture
would hold, and the profile goes back into the file, so nothing is rounded twice. Only spaces that are no RGB
at all (CMYK, Lab) are converted, to sRGB.
"""

import errno
import hashlib
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from oodinv.errors import ImageError, OutputError

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]
Levels = NDArray[np.float32]
"""A picture in grey levels, (H, W, 3) in about [0, 255]."""
Mask = NDArray[np.float32]
"""Shares for each pixel, (H, W) in [0, 1]."""
Flow = NDArray[np.float32]
"""Where each pixel of a picture comes from in another, as an offset (H, W, 2) in pixels."""
Number = TypeVar("Number", bound=np.generic)

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
MAX_PIXELS = 178_956_970  # Pillow's own hard limit, read from the header before anything is decoded
MAX_SIDE = 65_535  # a JPEG's limit; a row or column of a hundred million pixels is no photo
# On photos, run lengths alone are packed as fast as zlib's level 1 and smaller; level 6 takes three times as long.
PNG_PACKING = {"compress_level": 1, "compress_type": zlib.Z_RLE}
JPEG_QUALITY = 95

_ORIENTATION = 0x0112
_JPEG_EXIF = 65_533  # bytes: what one segment of a JPEG holds
_PNG_XMP = "XML:com.adobe.xmp"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_XMP_BYTES = 65_533 - len(_JPEG_XMP)
"""The longest XMP packet that fits a JPEG without extensions."""
_ROWS = 256
_PNG_MARK = b"\x89PNG\r\n\x1a\n"
_TIFF_MARKS = (b"II*\0", b"MM\0*")
_TIFF_DESCRIPTIVE = frozenset({270, 271, 272, 282, 283, 296, 305, 306, 315, 33432})
_EXIF_FOLDERS = (0x8769, 0x8825)  # camera settings, place
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error)

# Pillow warns of large photos and odd metadata, both dealt with here; a filter per call is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo and what its file needs to be written again.

    pixels uint8 (H, W, 3), upright. alpha uint8 (H, W) or None; pixels under it keep the colours that the
    file has there, since blending them over a background could not be undone on writing. exif: a block with
    orientation 1. icc: the profile of pixels. xmp: an XMP packet. format: Pillow's name. grey: the file had one
    colour channel. deep: where it was asked for and the file has 16 bits a channel, the same picture unrounded,
    uint16 (H, W, 3), or (H, W, 4) with transparency; a PNG is then written of it.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    format: str = "PNG"
    grey: bool = False
    deep: NDArray[np.uint16] | None = None

    @property
    def suffix(self) -> str:
        """Suffix to write this photo under: lossy stays lossy (.jpg), everything else becomes .png."""
        return ".jpg" if self.format in ("JPEG", "MPO") and self.alpha is None else ".png"


def read(path: Path, *, deep: bool = False) -> Photo:
    """Decodes the first picture of a file to upright 8-bit RGB.

    16-bit values are scaled, palettes expanded, CMYK and Lab converted to sRGB. deep: keep 16 bits a channel too.

    Raises:
        ImageError: the file is missing, unreadable, no picture, damaged, or larger than MAX_PIXELS or MAX_SIDE.
    """
    try:
        if not path.is_file():
            raise ImageError(f"{path}: {_absence(path)}")
        file = path.open("rb")
    except OSError as error:
        raise ImageError(f"{path}: can't be opened ({error.strerror}); check its permissions") from error
    with file:
        return decode(file.read(), path, deep=True) if deep else _decode(file, path)


def decode(content: bytes, path: Path, *, deep: bool = False) -> Photo:
    """As `read`, from a file's bytes; `path` names it in errors. deep: keep 16 bits a channel too.

    Raises:
        ImageError: no picture, damaged, or larger than MAX_PIXELS or MAX_SIDE.
    """
    photo = _decode(BytesIO(content), path)
    return replace(photo, deep=_deep_pixels(content, photo)) if deep else photo


def _absence(path: Path) -> str:
    if path.is_dir():
        return "expected a picture, found a folder; name the pictures in it, or give the folder as the input"
    if path.exists():
        return "expected a picture, found something that is not a regular file"
    return "no such file; check the spelling, or whether it was moved while the run went on"


def _decode(file: BinaryIO, path: Path) -> Photo:
    try:
        with Image.open(file, formats=FORMATS) as picture:
            _check_size(picture, path)
            picture.load()
            return _photo(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path) from error
    except UnidentifiedImageError as error:
        found = "an empty file" if file.seek(0, 2) == 0 else "something else, whatever its suffix says"
        expected = ", ".join(FORMATS)
        raise ImageError(f"{path}: expected a picture ({expected}), found {found}; export it again") from error
    except _DAMAGED as error:
        raise ImageError(f"{path}: the picture is damaged or incomplete ({error}); export it again") from error


def _check_size(picture: Image.Image, path: Path) -> None:
    if picture.width * picture.height > MAX_PIXELS or max(picture.size) > MAX_SIDE:
        raise _too_large(path)


def _too_large(path: Path) -> ImageError:
    return ImageError(
        f"{path}: its header announces more than {MAX_PIXELS // 1_000_000} megapixels or {MAX_SIDE:,} pixels on a "
        "side, which is refused as a decompression bomb; shrink it first if it is a real photo"
    )


def _photo(picture: Image.Image) -> Photo:
    icc = picture.info.get("icc_profile")
    grey = picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16")
    if picture.mode in ("CMYK", "LAB"):
        rgb, alpha, icc = _to_srgb(picture, icc), None, None
    else:
        rgb, alpha = _to_rgb(picture)
    turn = _orientation(picture)
    return Photo(
        pixels=upright(rgb, turn),
        alpha=None if alpha is None else upright(alpha, turn),
        exif=_exif(picture),
        icc=icc or None,
        xmp=_xmp(picture),
        format=picture.format or "PNG",
        grey=grey,
    )


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation; 1 where the tag is missing or no number."""
    value = picture.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) else 1


def _to_rgb(picture: Image.Image) -> tuple[Pixels, Pixels | None]:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        white = 1.0 if picture.mode == "F" else 65535.0
        return _by_bands(picture, 3, lambda band: _repeat(_scale(np.asarray(band, np.float32), white))), None
    if picture.has_transparency_data:
        rgba = _values(picture, "RGBA")
        return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])
    return _values(picture, "RGB"), None


def _values(picture: Image.Image, mode: Literal["RGB", "RGBA"]) -> Pixels:
    """The picture in a mode, (H, W, 3 or 4)."""
    return _by_bands(picture, len(mode), lambda band: np.asarray(band.convert(mode)))


def _by_bands(picture: Image.Image, channels: int, convert: Callable[[Image.Image], Pixels]) -> Pixels:
    """A picture converted some rows at a time, (H, W, channels); at once, it would take up to three copies more."""
    width, height = picture.size
    values = np.empty((height, width, channels), dtype=np.uint8)
    for rows in _bands(height):
        values[rows] = convert(picture.crop((0, rows.start, width, rows.stop)))
    return values


def _bands(height: int) -> Iterator[slice]:
    """Rows to work on at a time, so that a large photo needs little memory beside itself."""
    return (slice(top, min(top + _ROWS, height)) for top in range(0, height, _ROWS))


def _scale(values: NDArray[np.float32], white: float) -> Pixels:
    """Values in [0, white] → uint8 in [0, 255], rounded; ValueError for others, whose range nobody stated."""
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= white):
        raise ValueError(f"grey values outside 0 to {white:g}")
    scaled: NDArray[np.float32] = np.rint(values * np.float32(255.0 / white))
    return scaled.astype(np.uint8)


def _repeat(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=2)


def _to_srgb(picture: Image.Image, icc: bytes | None) -> Pixels:
    """CMYK or Lab → sRGB through the embedded profile, or by Pillow's plain formula where CMYK has none."""
    if picture.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    elif icc is None or icc[16:20] != b"CMYK":
        return _values(picture, "RGB")
    else:
        source = ImageCms.ImageCmsProfile(BytesIO(icc))
    srgb = ImageCms.createProfile("sRGB")
    try:
        transform = ImageCms.buildTransform(source, srgb, picture.mode, "RGB")
        return _by_bands(picture, 3, lambda band: np.asarray(ImageCms.applyTransform(band, transform)))
    except ImageCms.PyCMSError as error:
        raise ValueError(f"its colour profile can't be used: {error}") from error


def upright(pixels: NDArray[Number], orientation: int) -> NDArray[Number]:
    """Undoes EXIF orientation 1 to 8 on (H, W) or (H, W, C); other values count as 1.

    Source: Exif 2.32, tag 0x0112: the value says where row 0 and column 0 are seen.
    """
    if not 2 <= orientation <= 8:
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _exif(picture: Image.Image) -> bytes | None:
    """EXIF block with orientation 1. Of TIFF, which has it among its own tags, the descriptive ones."""
    block = picture.info.get("exif")
    if isinstance(block, bytes):
        return _reset_orientation(block)
    tags = picture.getexif()
    kept = Image.Exif()
    kept.update({tag: value for tag, value in tags.items() if tag in _TIFF_DESCRIPTIVE})
    for folder in _EXIF_FOLDERS:
        if tags.get_ifd(folder):
            kept[folder] = dict(tags.get_ifd(folder))
    return kept.tobytes() if kept else None


def _xmp(picture: Image.Image) -> bytes | None:
    """The XMP packet; older versions of Pillow keep that of a PNG as text."""
    found = picture.info.get("xmp") or picture.info.get(_PNG_XMP)
    found = found.encode() if isinstance(found, str) else found
    return found if isinstance(found, bytes) else None


def _reset_orientation(block: bytes) -> bytes:
    """The same block with orientation 1 written in place: maker notes and offsets survive untouched."""
    start = 6 if block.startswith(b"Exif\0\0") else 0
    endian = {b"II": "<", b"MM": ">"}.get(block[start : start + 2])
    if endian is None or len(block) < start + 8:
        return block
    patched = bytearray(block)
    entry = start + struct.unpack_from(f"{endian}I", block, start + 4)[0]
    if entry + 2 > len(block):
        return block
    (count,) = struct.unpack_from(f"{endian}H", block, entry)
    for offset in range(entry + 2, min(entry + 2 + 12 * count, len(block) - 11), 12):
        if struct.unpack_from(f"{endian}H", block, offset)[0] == _ORIENTATION:
            struct.pack_into(f"{endian}H", patched, offset + 8, 1)
    return bytes(patched)


def decode_deep(content: bytes, size: int) -> NDArray[np.float32] | None:
    """A 16-bit colour picture without rounding to 8 bits, float32 (3, size, size) in [−1, 1]; None for others.

    Upright. Only for bytes that `decode` took: the size limit is checked there. Transparency is left out.
    """
    found = _decode_16(content)
    if found is None or found.shape[2] < 3:
        return None
    rgb = found[..., :3].astype(np.float32) / 32767.5 - 1
    if rgb.shape[:2] != (size, size):
        shrinks = min(rgb.shape[:2]) > size
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        rgb = np.asarray(cv2.resize(rgb, (size, size), interpolation=how), np.float32)
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


def _decode_16(content: bytes) -> NDArray[np.uint16] | None:
    """A PNG or TIFF of 16 bits a channel, upright, (H, W, C): grey, RGB or RGB and transparency; None for others."""
    png = content.startswith(_PNG_MARK) and content[24:25] == b"\x10"  # its bits a channel
    if not png and not content.startswith(_TIFF_MARKS):
        return None
    try:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # a picture of a shape, or damaged in a way, that only Pillow takes
        return None
    if found is None or found.dtype != np.uint16:
        return None
    values = np.asarray(found.reshape(*found.shape[:2], -1), np.uint16)
    channels = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(values.shape[2])
    if channels is None:
        return None
    with Image.open(BytesIO(content), formats=FORMATS) as picture:
        turn = _orientation(picture)
    for rows in _bands(len(values)):
        values[rows] = values[rows][..., channels]
    return np.ascontiguousarray(upright(values, turn))


def _deep_pixels(content: bytes, photo: Photo) -> NDArray[np.uint16] | None:
    """The photo unrounded, if its file has 16 bits a channel and OpenCV sees in it what Pillow saw.

    They differ for rarities (ink colours, transparency by colour, unusual TIFF); such a photo stays at 8 bits.
    """
    found = _decode_16(content)
    if found is None:
        return None
    deep = np.repeat(found, 3, axis=2) if found.shape[2] == 1 else found
    if deep.shape != (*photo.pixels.shape[:2], 3 if photo.alpha is None else 4):
        return None
    for rows in _bands(len(deep)):
        pixels = photo.pixels[rows]
        seen = pixels if photo.alpha is None else np.dstack([pixels, photo.alpha[rows]])
        if (np.abs(deep[rows] // 257 - seen.astype(np.int32)) > 1).any():
            return None
    return deep


def resize(pixels: Pixels, size: int) -> Pixels:
    """uint8 (H, W, 3) → (size, size, 3), anti-aliased (Lanczos); one of that size is returned as it is."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))


def smoothstep(t: NDArray[np.float32]) -> NDArray[np.float32]:
    """3t² − 2t³, with t clipped to [0, 1]: a fade that is level at both ends."""
    t = t.clip(0, 1)
    return t * t * (3 - 2 * t)


def luma(levels: Levels) -> NDArray[np.float32]:
    """Brightness (H, W) of RGB grey levels (H, W, 3), by ITU-R BT.601."""
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def blurred(picture: NDArray[np.float32], deviation: float) -> NDArray[np.float32]:
    """A Gaussian blur, (H, W) or (H, W, C); a wide one is computed on a smaller picture, less what shrinking blurs."""
    factor = int(deviation / 4)
    if factor < 2:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation), dtype=np.float32)
    height, width = picture.shape[:2]
    size = (max(1, width // factor), max(1, height // factor))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    box = (1 - 1 / factor**2) / 12
    soft = cv2.GaussianBlur(small, (0, 0), np.sqrt((deviation / factor) ** 2 - box))
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def to_tensor(pixels: Pixels) -> "Tensor":
    """uint8 (H, W, 3) or (B, H, W, 3) → float32 (B, 3, H, W) in [−1, 1]: v / 127.5 − 1."""
    import torch  # takes a second to load, which what only reads and writes pictures needn't wait for

    batch = pixels if pixels.ndim == 4 else pixels[None]
    return torch.from_numpy(np.array(batch)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(images: "Tensor") -> Pixels:
    """float (B, C, H, W) in [−1, 1], clipped → uint8 (B, H, W, C): rint((x + 1) · 127.5)."""
    scaled = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).byte()
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).cpu().numpy())


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Lets `write` fill a temporary file beside path and renames it, so that path is whole or absent.

    Missing folders are made. The temporary name follows from path alone: a run that was killed while writing
    leaves one behind, and its successor writes over it. So two threads must not write one path at once.

    Raises:
        OutputError: the operating system refuses (no space, no permission, a file where a folder should be).
        ImageError: this one name is too long for the file system.
    """
    digest = hashlib.sha256(path.name.encode(errors="surrogateescape")).hexdigest()
    temporary = path.with_name(f".{digest[:16]}.tmp")  # short, so that long names fit
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                write(file)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ENAMETOOLONG:
            raise ImageError(f"{path}: can't be written ({reason}); give the photo a shorter name") from error
        raise OutputError(f"{path}: can't be written ({reason}); check the free space and permissions") from error


def write_png(path: Path, pixels: Pixels, xmp: bytes | None = None) -> None:
    """Writes uint8 (H, W), (H, W, 3) or (H, W, 4) as PNG, with an XMP packet; the same pixels give the same bytes.

    Raises:
        OutputError, ImageError: see `atomic_write`.
    """
    picture = Image.fromarray(pixels)
    atomic_write(path, lambda file: picture.save(file, "PNG", pnginfo=_png_info(xmp), **PNG_PACKING))


def _png_info(xmp: bytes | None) -> PngInfo:
    info = PngInfo()
    if xmp is not None:
        info.add_itxt(_PNG_XMP, xmp.decode(errors="replace"))
    return info


def _jpeg_segment(xmp: bytes | None) -> bytes:
    """An APP1 segment with an XMP packet (XMP specification, part 3); empty for one that is too long for it."""
    if xmp is None or len(xmp) > JPEG_XMP_BYTES:
        return b""
    return b"\xff\xe1" + struct.pack(">H", 2 + len(_JPEG_XMP) + len(xmp)) + _JPEG_XMP + xmp


def write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    """Writes named arrays as an uncompressed .npz; the same arrays give the same bytes.

    Raises:
        OutputError, ImageError: see `atomic_write`.
    """
    atomic_write(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def write_photo(path: Path, photo: Photo) -> None:
    """Writes a photo with its EXIF block, XMP, profile and transparency, as the suffix says (.png, .jpg, .jpeg).

    A grey photo whose channels are still equal is written with one channel. JPEG: no chroma subsampling. PNG:
    16 bits a channel where the photo has `deep`.

    Raises:
        ImageError: another suffix, or transparency in a JPEG. OutputError: see `atomic_write`.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise ImageError(f"{path}: photos are written as .png or .jpg; choose one of these suffixes")
    if suffix != ".png" and photo.alpha is not None:
        raise ImageError(f"{path}: JPEG holds no transparency; write this photo as .png")
    if suffix == ".png" and photo.deep is not None:
        content = _deep_png(photo, photo.deep)
        atomic_write(path, lambda file: file.write(content))
        return
    picture = _picture(photo)
    extra: dict[str, bytes] = {}
    if photo.exif is not None and (suffix == ".png" or len(photo.exif) <= _JPEG_EXIF):
        extra["exif"] = photo.exif
    if photo.icc is not None and _profile_fits(photo.icc, picture.mode):
        extra["icc_profile"] = photo.icc
    if suffix == ".png":
        info = _png_info(photo.xmp)
        atomic_write(path, lambda file: picture.save(file, "PNG", pnginfo=info, **PNG_PACKING, **extra))
    else:
        extra["extra"] = _jpeg_segment(photo.xmp)
        atomic_write(path, lambda file: picture.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0, **extra))


def _picture(photo: Photo) -> Image.Image:
    pixels = photo.pixels
    colourless = photo.grey and bool((pixels[..., :1] == pixels).all())
    channels = pixels[..., :1] if colourless else pixels
    if photo.alpha is not None:
        channels = np.concatenate([channels, photo.alpha[..., None]], axis=2)
    return Image.fromarray(channels[..., 0] if channels.shape[2] == 1 else channels)


def _deep_png(photo: Photo, deep: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits a channel with the photo's metadata: OpenCV packs the pixels, which Pillow can't.

    Source: PNG specification, third edition, 11.2 and 11.3: the chunks iCCP, eXIf and iTXt, all before IDAT.
    """
    colourless = photo.grey and deep.shape[2] == 3 and bool((deep[..., :1] == deep).all())
    bgr = deep[..., 0] if colourless else deep[..., [2, 1, 0, 3][: deep.shape[2]]]
    packing = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, packed = cv2.imencode(".png", np.ascontiguousarray(bgr), packing)
    if not done:
        raise ValueError("OpenCV can't pack this picture as PNG")
    plain, chunks = packed.tobytes(), b""
    if photo.icc is not None and _profile_fits(photo.icc, "L" if colourless else "RGB"):
        chunks += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(photo.icc))
    if photo.exif is not None:
        chunks += _chunk(b"eXIf", photo.exif.removeprefix(b"Exif\0\0"))
    if photo.xmp is not None:
        chunks += _chunk(b"iTXt", _PNG_XMP.encode() + b"\0\0\0\0\0" + photo.xmp)
    end_of_header = len(_PNG_MARK) + 25
    return plain[:end_of_header] + chunks + plain[end_of_header:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _profile_fits(icc: bytes, mode: str) -> bool:
    """Whether a profile describes this mode; viewers reject files with a grey profile on RGB pixels."""
    return icc[16:20] == (b"GRAY" if mode in ("L", "LA") else b"RGB ")
