"""Parts that all HTML pages share: Jinja2 environments, and embedded pictures."""

import base64
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment(package: str) -> Environment:
    """Builds an environment for the folder `templates` of a package: escapes all text, rejects undefined names."""
    return Environment(loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture inside a page: its caption, and the file in base64, empty without a file."""

    caption: str
    data: str


def embedded(caption: str, content: bytes) -> EmbeddedPicture:
    """Encodes the content of a picture file for a data URI."""
    return EmbeddedPicture(caption, base64.b64encode(content).decode())
