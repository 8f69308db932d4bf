"""Runs `oodinv edit` and other commands in this process, and reads the pictures that they write."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from oodinv.cli.main import app

IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
NAMES = ("barack-obama", "rishi-sunak")


def oodinv(*arguments: str | Path) -> Result:
    """Runs a command in this process; `exception` of the result is what it raised."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def xmp(path: Path) -> dict[str, str]:
    with Image.open(path) as picture:
        root = ET.fromstring(picture.info["xmp"])
    return {key: value for element in root.iter() for key, value in element.attrib.items()}


def edited(here: Path, tiny_card: Path, recipe: str, out: Path, *options: str) -> Result:
    done = oodinv("edit", here / "out", "--recipe", recipe, "-o", out, "--model", tiny_card, "--quiet", *options)
    assert done.exit_code == 0, (done.output, done.exception)
    return done
