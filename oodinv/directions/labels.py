"""Labels of faces: columns of a CSV file, parts of file names, and measures of the faces themselves."""

import csv
import re
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from oodinv.errors import RecipeError

Labels = dict[str, NDArray[np.float64]]
"""Values by name, (N,) for N faces; NaN for a face that has none."""

MAX_CATEGORIES = 50


def from_csv(path: Path, files: tuple[str, ...]) -> Labels:
    """Reads labels from a CSV file with a header; column `file` names the faces, the others hold numbers or nothing.

    Files are named by their path below the folder, or by the last part of it if that is unique.

    Raises:
        RecipeError: it can't be read, lacks a column, has other values or two lines for a file, or matches none.
    """
    rows = _read_rows(path)
    keys = [key for key in rows[0] if key != "file"]
    last = Counter(PurePosixPath(file).name for file in files)
    by_file = {row["file"]: row for row in rows}
    if len(by_file) != len(rows):
        raise RecipeError(f"{path}: has two lines for one file; keep one")
    found = [by_file.get(f) or (by_file.get(PurePosixPath(f).name) if last[PurePosixPath(f).name] == 1 else None)
             for f in files]  # fmt: skip
    if not any(found):
        raise RecipeError(f"{path}: no entry in column `file` matches a face, such as {files[0]}; correct the column")
    return {key: np.array([_number(row[key], key, path) if row else np.nan for row in found]) for key in keys}


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"{path}: can't be read as CSV ({error})") from error
    if "file" not in names or len(names) < 2 or len(set(names)) != len(names):
        raise RecipeError(f"{path}: needs a heading with `file` and one or more labels, each once; it has {names}")
    if any(None in row or None in row.values() for row in rows) or not rows:
        raise RecipeError(f"{path}: expected {len(names)} values in each line, and at least one line")
    return rows


def _number(text: str, key: str, path: Path) -> float:
    if not text.strip():
        return float("nan")
    try:
        value = float(text)
    except ValueError as error:
        raise RecipeError(f"{path}: {key} must be a number or empty, not {text!r}") from error
    if not np.isfinite(value):
        raise RecipeError(f"{path}: {key} must be a finite number or empty, not {text!r}")
    return value


def from_names(pattern: str, files: tuple[str, ...]) -> Labels:
    """Reads labels from file names such as 34_1_0_2017.jpg; a pattern such as `age_sex_ethnicity` names the parts.

    "-" skips a part. Files with fewer parts, or parts that are not numbers, get no labels.

    Raises:
        RecipeError: the pattern has no names or a duplicate, or matches no file.
    """
    keys = pattern.split("_")
    named = [key for key in keys if key != "-"]
    if not named or len(set(named)) != len(named) or not all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", k) for k in named):
        raise RecipeError(f"the pattern {pattern!r} must be names joined by _, each once, as in age_sex_ethnicity")
    table = np.array([_parts(PurePosixPath(file).name, keys) for file in files])
    if np.isnan(table).all():
        raise RecipeError(f"no file has a name like {pattern.upper()}; the first is {files[0]}")
    return {key: table[:, i] for i, key in enumerate(keys) if key != "-"}


def _parts(name: str, keys: list[str]) -> list[float]:
    parts = PurePosixPath(name).stem.split("_")
    wanted = [part if key != "-" else "0" for part, key in zip(parts, keys, strict=False)]
    if len(wanted) < len(keys) or not all(re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", part) for part in wanted):
        return [float("nan")] * len(keys)
    return [float(part) for part in wanted]


def join(*tables: Labels) -> Labels:
    """Merges tables of labels.

    Raises:
        RecipeError: two have a label of the same name.
    """
    joined: Labels = {}
    for table in tables:
        if both := sorted(joined.keys() & table.keys()):
            raise RecipeError(
                f"two sources give the label {both[0]}; rename or leave out one (measures have own names)"
            )
        joined |= table
    return joined


def one_hot(values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Encodes a label of categories (N,) as columns of 0 and 1 for all but the first. → (N, K − 1)

    Raises:
        RecipeError: there are more than MAX_CATEGORIES.
    """
    kinds = np.unique(values[np.isfinite(values)])
    if len(kinds) > MAX_CATEGORIES:
        raise RecipeError(f"the label {name} has {len(kinds)} different values, too many for categories")
    columns: NDArray[np.float64] = (values[:, None] == kinds[1:]).astype(np.float64)
    return columns
