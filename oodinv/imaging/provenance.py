"""Provenance of pictures: an XMP packet with IPTC's DigitalSourceType, tool, model and recipe.

An existing packet of the photo is preserved; ours is added to it. Nothing in it depends on the time or the machine.

Sources: XMP specification, part 1 (ISO 16684-1); IPTC Photo Metadata Standard 2025.1 (DigitalSourceType, AISystemUsed,
AISystemVersionUsed); IPTC NewsCodes, digitalsourcetype.
"""

import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from typing import Literal

import oodinv
from oodinv.imaging.files import readable
from oodinv.imaging.xmp import NOTE, RDF, XMP, rdf_of, serialized

SourceType = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]
"""Source types of generated pictures, and of photos with generated parts."""

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
OWN = "urn:oodinv:1.0/"
ET.register_namespace("oodinv", OWN)


@dataclass(frozen=True)
class Provenance:
    """Origin of a picture. source: None for pictures without generated parts, such as crops."""

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
    """Builds an XMP packet in UTF-8; an existing one is extended.

    Our properties replace those of the same name, except CreatorTool. A packet that is not XMP, declares entities, or
    would exceed `limit` bytes in total is replaced, because the provenance takes precedence.
    """
    rdf = rdf_of(existing)
    if rdf is None:
        rdf = ET.Element(f"{{{RDF}}}RDF")
    descriptions = rdf.findall(f"{{{RDF}}}Description")
    about = descriptions[0].get(f"{{{RDF}}}about", "") if descriptions else ""
    properties = provenance.properties()
    creator = f"{{{XMP}}}CreatorTool"
    if any(creator in d.attrib or d.find(creator) is not None for d in descriptions):
        del properties[creator]
    for description in descriptions:
        _remove(description, {*properties, f"{{{NOTE}}}HasExtendedXMP"})
    ET.SubElement(rdf, f"{{{RDF}}}Description", {f"{{{RDF}}}about": about, **properties})
    content = serialized(rdf)
    too_long = limit is not None and len(content) > limit and existing is not None
    return packet(provenance) if too_long else content


def composite_mark(made: Provenance, existing: bytes | None = None, limit: int | None = None) -> bytes:
    """Builds the packet of a picture composed of photo and generated parts."""
    return packet(replace(made, source="compositeWithTrainedAlgorithmicMedia"), existing, limit)


def _remove(description: ET.Element, names: set[str]) -> None:
    for name in names:
        description.attrib.pop(name, None)
        for child in description.findall(name):
            description.remove(child)
