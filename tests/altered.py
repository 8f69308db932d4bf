"""Damaged files for tests that give a reader any bytes."""

import io
import zipfile

import numpy as np
from fuzz import saved_array
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

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


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def archived(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("w_plus.npy", saved_array(np.zeros((2, 8), np.float32)))
    return file.getvalue()


DAMAGED = {
    "encrypted": archived(zipfile.ZIP_STORED).replace(
        b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\x01\0"
    ),
    "method": archived(zipfile.ZIP_STORED).replace(b"\x14\0\0\0\0\0", b"\x14\0\0\0\x63\0"),
    "checksum": archived(zipfile.ZIP_STORED).replace(b"{'descr'", b"[{'descr'"),
    "deflated": archived(zipfile.ZIP_DEFLATED)[:60] + b"\xff\xff" + archived(zipfile.ZIP_DEFLATED)[62:],
}
"""Archives of arrays: locked, packed in an unknown way, altered."""
