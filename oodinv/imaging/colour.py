"""Colour spaces: ICC profiles for the colour chunks of PNG and code points of HEIC, and colourless pictures.

Sources: ICC.1:2010 (profile version 4.3); PNG specification, third edition, 11.3.2; ITU-T H.273 for the code points.
"""

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.pixels import Levels, Number, Pixels, luma, rounded

Chromaticities = tuple[float, ...]
"""x and y of white, red, green and blue."""
_SRGB: Chromaticities = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_P3: Chromaticities = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
_BT2020: Chromaticities = (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)
_PRIMARIES = {1: _SRGB, 9: _BT2020, 12: _P3}
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_CURVES: dict[int, tuple[float, ...]] = {4: (2.2,), 5: (2.8,), 8: (1.0,), 13: _SRGB_CURVE}
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SPARSE = 32  # one row of so many is looked at first
_COLOURLESS = 2  # grey levels by which channels of a grey photo may differ, from JPEG's rounding


def is_colourless(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bool:
    """True if the channels of a picture of 8 or 16 bits (H, W, 3) are equal up to rounding."""
    if pixels.shape[0] > _SPARSE and not is_colourless(pixels[::_SPARSE]):
        return False  # the answer for most photos, at a fraction of the cost
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool((spread <= _COLOURLESS * (np.iinfo(pixels.dtype).max // 255)).all())


def without_colour(levels: Levels) -> Levels:
    """Replaces every channel of grey levels (H, W, 3), or of their change, by the luma."""
    return np.repeat(luma(levels)[..., None], 3, axis=2)


def matching_colour(made: Pixels, source: Pixels) -> Pixels:
    """Removes the colour of a picture uint8 (H, W, 3) if its source is colourless."""
    return rounded(without_colour(made.astype(np.float32))) if is_colourless(source) else made


def profile_of_png(chunks: Mapping[bytes, bytes], *, grey: bool) -> bytes | None:
    """ICC profile equivalent to the chunks cICP, or gAMA and cHRM; None if they are missing or mean sRGB."""
    if len(code := chunks.get(b"cICP", b"")) == 4:
        return profile_of_codes(code[0], code[1], grey=grey)
    if b"sRGB" in chunks or len(chunks.get(b"gAMA", b"")) != 4:
        return None
    gamma = struct.unpack(">I", chunks[b"gAMA"])[0] / 100_000
    places = chunks.get(b"cHRM", b"")
    chromaticities = tuple(v / 100_000 for v in struct.unpack(">8I", places)) if len(places) == 32 else _SRGB
    return _profile(chromaticities, (1 / gamma,), grey) if gamma > 0 else None


def profile_of_codes(primaries: int, transfer: int, *, grey: bool) -> bytes | None:
    """ICC profile for code points of H.273, as in HEIC and cICP; None for sRGB and unknown ones."""
    chromaticities, curve = _PRIMARIES.get(primaries), _CURVES.get(transfer)
    is_srgb = (primaries, transfer) == (1, 13)
    return None if chromaticities is None or curve is None or is_srgb else _profile(chromaticities, curve, grey)


def rgb_profile_of(grey: bytes) -> bytes | None:
    """RGB profile with the curve of a grey one, for formats without grey pixels; None if it has no such curve."""
    try:
        (count,) = struct.unpack_from(">I", grey, 128)
        fields = [struct.unpack_from(">4sII", grey, 132 + 12 * n) for n in range(min(count, len(grey) // 12))]
    except struct.error:
        return None
    curves = [grey[start : start + length] for name, start, length in fields if name == b"kTRC"]
    if len(curves) != 1 or grey[20:24] != b"XYZ " or curves[0][:4] not in (b"curv", b"para"):
        return None
    return _display(_to_d50(_SRGB), curves[0])


def _profile(places: Chromaticities, curve: tuple[float, ...], grey: bool) -> bytes | None:
    """Display profile. curve: parameters of a parametric curve of type 0 or 3. None for invalid primaries."""
    try:
        columns = None if grey else _to_d50(places)
    except np.linalg.LinAlgError:
        return None
    kind = 0 if len(curve) == 1 else 3
    trc = b"para" + struct.pack(">4xHxx", kind) + b"".join(_fixed(value) for value in curve)
    if columns is not None and (not np.isfinite(columns).all() or np.abs(columns).max() > 100):
        return None
    return _display(columns, trc)


def _display(columns: NDArray[np.float64] | None, curve: bytes) -> bytes:
    """Display profile with XYZ of the primaries as columns (3, 3), or without for grey; curve: a tag's data."""
    tags = {b"desc": _text("as in the source"), b"cprt": _text("no copyright"), b"wtpt": _xyz(_D50)}
    if columns is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {name + b"XYZ": _xyz(columns[:, n]) for n, name in enumerate((b"r", b"g", b"b"))}
        tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    return _assembled(tags, b"GRAY" if columns is None else b"RGB ")


def _to_d50(places: Chromaticities) -> NDArray[np.float64]:
    """XYZ of the primaries as columns (3, 3), adapted to D50 by Bradford's method."""
    white, *primaries = (np.array([x, y, 1 - x - y]) / max(y, 1e-6) for x, y in zip(*[iter(places)] * 2, strict=True))
    matrix = np.stack(primaries, axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: NDArray[np.float64] = np.linalg.solve(_BRADFORD, cones[:, None] * (_BRADFORD @ matrix))
    return adapted


def _fixed(value: float) -> bytes:
    """s15Fixed16Number."""
    return struct.pack(">i", round(min(max(value, -32767.0), 32767.0) * 65536))


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_fixed(float(value)) for value in values)


def _text(words: str) -> bytes:
    """multiLocalizedUnicodeType with one record."""
    encoded = words.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII", 1, 12) + b"enUS" + struct.pack(">II", len(encoded), 28) + encoded


def _assembled(tags: Mapping[bytes, bytes], space: bytes) -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    header = struct.pack(">I4xI", size, 0x04300000) + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp"
    header += bytes(28) + b"".join(_fixed(float(value)) for value in _D50)
    return header.ljust(128, b"\0") + table + body


def equal_channels(pixels: NDArray[Number]) -> bool:
    """True if all channels of a picture (H, W, C) are equal."""
    return bool((pixels[..., :1] == pixels).all())
