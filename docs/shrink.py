"""Writes a smaller JPEG of a picture, for the documentation.

python docs/shrink.py IN.png OUT.jpg
"""

import sys
from pathlib import Path

from PIL import Image

WIDTH = 1200


def main() -> None:
    """Shrinks the picture to `WIDTH` pixels."""
    source, target = map(Path, sys.argv[1:])
    with Image.open(source) as picture:
        height = round(picture.height * WIDTH / picture.width)
        picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS).save(target, quality=88)


if __name__ == "__main__":
    main()
