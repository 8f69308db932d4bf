"""What a picture says about its own making: an XMP packet with IPTC's DigitalSourceType, tool, model and recipe.

A packet that the photo came with is kept; ours is added to it. Nothing in it depends on the time or the machine.

Sources: XMP specification, part 1 (ISO 16684-1); IPTC Photo Metadata Standard 2025.1 (DigitalSourceType, AISystemUsed,
AISystemVersionUsed); IPTC NewsCodes, digitalsourcetype.
"""

import xml.etree.ElementTree as ET  # entities, its one danger, are refused below
from dataclasses import dataclass, replace
from typing import Literal

import oodinv
from oodinv.imaging.files import readable

SourceType = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]
"""The first for pictures that a network drew, the second for photos with such parts."""

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMP = "http://ns.adobe.com/xap/1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
OWN = "urn:oodinv:1.0/"
_META = "adobe:ns:meta/"
_NOTE = "http://ns.adobe.com/xmp/note/"
# Only for readable prefixes; any other namespace of a photo's packet is written with a numbered one.
_PREFIXES = {
    "x": _META,
    "rdf": RDF,
    "xmp": XMP,
    "Iptc4xmpExt": IPTC,
    "oodinv": OWN,
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
}
for _prefix, _uri in _PREFIXES.items():
    ET.register_namespace(_prefix, _uri)


@dataclass(frozen=True)
class Provenance:
    """How a picture was made. `source` is None for pictures that hold no more than their photo did, such as crops."""

    source: SourceType | None = None
    model: str | None = None
    recipe: str | None = None

    def properties(self) -> dict[str, str]:
        """XMP properties by qualified name."""
        tool = f"oodinv {oodinv.__version__}"
        found = {
            f"{{{XMP}}}CreatorTool": tool,
            f"{{{IPTC}}}DigitalSourceType": None if self.source is None else SOURCE_TYPES + self.source,
            f"{{{IPTC}}}AISystemUsed": None if self.source is None else "oodinv",
            f"{{{IPTC}}}AISystemVersionUsed": None if self.source is None else oodinv.__version__,
            f"{{{OWN}}}Tool": tool,
            f"{{{OWN}}}Model": self.model,
            f"{{{OWN}}}Recipe": self.recipe,
        }
        return {name: readable(value) for name, value in found.items() if value is not None}


def packet(provenance: Provenance, existing: bytes | None = None, limit: int | None = None) -> bytes:
    """An XMP packet in UTF-8, added to the photo's own where there is one.

    Properties of ours replace those of the same name, but the tool that made the photo keeps its place as
    CreatorTool. A packet that is no XML, declares entities, or is no XMP is replaced, and so is one with which
    more than `limit` bytes would come together: what the picture is must be said, whatever else has to go.
    """
    rdf = _rdf(existing)
    if rdf is None:
        rdf = ET.Element(f"{{{RDF}}}RDF")
    descriptions = rdf.findall(f"{{{RDF}}}Description")
    about = descriptions[0].get(f"{{{RDF}}}about", "") if descriptions else ""
    properties = provenance.properties()
    creator = f"{{{XMP}}}CreatorTool"
    if any(creator in d.attrib or d.find(creator) is not None for d in descriptions):
        del properties[creator]
    for description in descriptions:
        _remove(description, {*properties, f"{{{_NOTE}}}HasExtendedXMP"})
    ET.SubElement(rdf, f"{{{RDF}}}Description", {f"{{{RDF}}}about": about, **properties})
    meta = ET.Element(f"{{{_META}}}xmpmeta")
    meta.append(rdf)
    body = ET.tostring(meta, encoding="unicode")
    content = f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{body}<?xpacket end="w"?>'.encode()
    too_long = limit is not None and len(content) > limit and existing is not None
    return packet(provenance) if too_long else content


def composite_mark(made: Provenance, existing: bytes | None = None, limit: int | None = None) -> bytes:
    """As `packet`, for a picture that joins photo and generated parts."""
    return packet(replace(made, source="compositeWithTrainedAlgorithmicMedia"), existing, limit)


def _rdf(existing: bytes | None) -> ET.Element | None:
    """The rdf:RDF element of a packet, or None where there is none that may be read."""
    if existing is None or b"<!" in existing.replace(b"<!--", b""):
        return None
    try:
        root = ET.fromstring(existing.strip(b"\0 \r\n\t"))
    except (ET.ParseError, ValueError, LookupError, RecursionError):
        return None
    return root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")


def _remove(description: ET.Element, names: set[str]) -> None:
    for name in names:
        description.attrib.pop(name, None)
        for child in description.findall(name):
            description.remove(child)
