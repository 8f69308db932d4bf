"""Removes from XMP packets what contradicts an upright, edited picture.

Sources: XMP specification, parts 1 to 3 (ISO 16684-1); Metadata Working Group, guidelines 2.0, for the orientation,
where EXIF takes precedence, and for regions.
"""

import re
import xml.etree.ElementTree as ET  # entities, its one danger, are refused with their DOCTYPE

from oodinv.imaging.embedded import is_picture

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMP = "http://ns.adobe.com/xap/1.0/"
META = "adobe:ns:meta/"
NOTE = "http://ns.adobe.com/xmp/note/"
TIFF = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
# Only for readable prefixes; any other namespace of a photo's packet is written with a numbered one.
_PREFIXES = {
    "x": META,
    "rdf": RDF,
    "xmp": XMP,
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "exif": EXIF,
    "tiff": TIFF,
}
for _prefix, _uri in _PREFIXES.items():
    ET.register_namespace(_prefix, _uri)

_ORIENTATION = f"{{{TIFF}}}Orientation"
_STALE = frozenset(
    {
        _ORIENTATION,
        f"{{{TIFF}}}ImageWidth",
        f"{{{TIFF}}}ImageLength",
        f"{{{EXIF}}}PixelXDimension",
        f"{{{EXIF}}}PixelYDimension",
        f"{{{XMP}}}Thumbnails",
        f"{{{NOTE}}}HasExtendedXMP",
    }
)
"""Properties to remove: orientation and size of the original file, thumbnails of the unedited photo, the extension."""
_GONE = (
    "http://ns.google.com/photos/1.0/",
    "http://ns.google.com/photos/dd/1.0/",
    "http://ns.adobe.com/hdr-gain-map/",
    "http://ns.apple.com/HDRGainMap/",
    "http://ns.apple.com/pixeldatainfo/",
)
"""Properties of pictures and films appended to the photo's file: depth, gain maps, motion photos."""
_REGIONS = (
    "http://www.metadataworkinggroup.com/schemas/regions/",
    "http://ns.microsoft.com/photo/1.2/",
)
"""Positions in the stored picture, which are wrong after a rotation."""
_CONTROL = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f]")
"""Characters that XML doesn't allow."""


class _WithoutDoctype(ET.TreeBuilder):
    """Refuses documents with a DOCTYPE, which XMP has none of, before any of its entities is read."""

    def doctype(self, name: str, _public: str | None, _system: str | None) -> None:
        raise ValueError(f"DOCTYPE {name}")


def in_utf8(packet: bytes) -> bytes:
    """Recodes a packet in UTF-16, with or without byte order mark, as UTF-8; other packets are returned as they are."""
    for coding, marked, plain in (("utf-16-le", b"\xff\xfe", b"<\0"), ("utf-16-be", b"\xfe\xff", b"\0<")):
        if packet.startswith((marked, plain)):
            return packet.decode(coding, errors="replace").removeprefix("\ufeff").encode(errors="replace")
    return packet


def rdf_of(packet: bytes | None) -> ET.Element | None:
    """Finds the rdf:RDF element of a packet; None if it is missing, has a DOCTYPE or can't be parsed.

    Bytes that aren't UTF-8 and control characters, which some programs leave in titles, are passed over.
    """
    if packet is None:
        return None
    found = _parsed(packet)
    return _parsed(_repaired(packet)) if found is None else found


def _repaired(packet: bytes) -> bytes:
    return _CONTROL.sub("", packet.decode(errors="replace")).encode(errors="replace")


def _parsed(packet: bytes) -> ET.Element | None:
    try:
        root = ET.fromstring(packet.strip(b"\0 \r\n\t"), parser=ET.XMLParser(target=_WithoutDoctype()))
    except (ET.ParseError, ValueError, LookupError, RecursionError):
        return None
    return root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")


def orientation_of(packet: bytes | None) -> int | None:
    """tiff:Orientation, 1 to 8, as an attribute or an element, perhaps with rdf:value; None if a packet has none."""
    rdf = rdf_of(packet)
    if rdf is None:
        return None
    for element in rdf.iter():
        text = element.get(_ORIENTATION)
        if element.tag == _ORIENTATION:
            text = element.get(f"{{{RDF}}}value") or "".join(element.itertext())
        if text is not None and re.fullmatch(r"\s*\+?0*[1-8]\s*", text, re.ASCII):
            return int(text)
    return None


def clean(packet: bytes | None, *, turned: bool) -> bytes | None:
    """Removes from a packet what contradicts the upright picture: orientation, size, pictures, and parts left behind.

    turned: true if the pixels were rotated, which invalidates regions of faces too. A packet with nothing to take
    out is returned as it is, byte for byte; one that can't be read can't be cleaned, so it is dropped (None).
    """
    if packet is None:
        return None
    sound = _parsed(packet)
    rdf = _parsed(_repaired(packet)) if sound is None else sound
    if rdf is None:
        return None
    removed = [_strip(element, turned) for element in list(rdf.iter())]
    return serialized(rdf) if any(removed) or sound is None else packet


def serialized(rdf: ET.Element) -> bytes:
    """Serialises a packet in UTF-8 with this rdf:RDF element."""
    meta = ET.Element(f"{{{META}}}xmpmeta")
    meta.append(rdf)
    body = ET.tostring(meta, encoding="unicode")
    return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{body}<?xpacket end="w"?>'.encode()


def _strip(element: ET.Element, turned: bool) -> bool:
    """Removes stale attributes and children of an element; returns True if there were any."""
    attributes = [name for name, value in element.attrib.items() if _is_stale(name, turned) or is_picture(value)]
    children = [child for child in element if _is_stale(child.tag, turned) or is_picture(child.text or "")]
    for name in attributes:
        del element.attrib[name]
    for child in children:
        element.remove(child)
    tails = [child for child in element if is_picture(child.tail or "")]
    for child in tails:
        child.tail = None
    return bool(attributes or children or tails)


def _is_stale(name: str, turned: bool) -> bool:
    gone = _GONE + _REGIONS if turned else _GONE
    return name in _STALE or name.removeprefix("{").startswith(gone)
