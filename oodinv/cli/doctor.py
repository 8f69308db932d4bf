"""`oodinv doctor`: checks the installation and reports problems."""

import json as json_format
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from oodinv.cli import options
from oodinv.cli.console import print_facts


@dataclass(frozen=True)
class Finding:
    """One line of the report. problem: the remedy; None if there is no problem."""

    about: str
    found: str
    problem: str | None = None


PACKAGES = ("torch", "numpy", "pillow", "opencv-python", "face-alignment", "typer", "rich", "pydantic", "safetensors")
EXTRAS = ("ray", "c2pa-python", "onnxruntime", "openvino")


def doctor(
    *,
    folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the write test.", rich_help_panel=options.OUTPUT)
    ] = Path(),
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Check the installation: versions, devices, instruction sets, cache, checksums of weights, and a write test.

    Downloads nothing. The exit status is 1 if there is a problem.

    [bold]Example[/]

        oodinv doctor
    """
    findings = [*_versions(), *_devices(), *_weights(), *_config(), _writable(folder)]
    problems = [finding for finding in findings if finding.problem is not None]
    if json:
        typer.echo(json_format.dumps({"findings": [asdict(f) for f in findings], "problems": len(problems)}))
    elif not quiet:
        print_facts("", {finding.about: finding.found for finding in findings}, indent=0)
    if not json:
        for finding in problems:
            typer.echo(f"problem: {finding.about}: {finding.problem}", err=True)
    if problems:
        raise typer.Exit(1)


def _versions() -> Iterator[Finding]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import oodinv

    yield Finding("oodinv", oodinv.__version__)
    yield Finding("Python", f"{platform.python_version()} on {platform.platform()}")
    for name in (*PACKAGES, *EXTRAS):
        try:
            yield Finding(name, version(name))
        except PackageNotFoundError:
            if name in EXTRAS:
                yield Finding(name, "not installed (optional)")
            else:
                yield Finding(name, "not installed", f"pip install {name}")


def _devices() -> Iterator[Finding]:
    import torch

    from oodinv.device import supports_natively

    cpu = torch.device("cpu")
    formats = [str(d).removeprefix("torch.") for d in (torch.bfloat16, torch.float16) if supports_natively(cpu, d)]
    extra = f", fast {' and '.join(formats)}" if formats else ", float32 only"
    yield Finding("CPU", f"{torch.backends.cpu.get_cpu_capability()}{extra}, {torch.get_num_threads()} threads")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        yield Finding(f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
    if not count:
        yield Finding("CUDA", "no device")


def _weights() -> Iterator[Finding]:
    from oodinv.recipe.card import card_names
    from oodinv.weights.catalog import ROWS
    from oodinv.weights.pull import cache_dir, find

    folder = cache_dir()
    yield Finding("cache", f"{folder}{'' if folder.is_dir() else ' (not there yet)'}")
    here = [row.name for row in ROWS if find(row.name) is not None]
    yield Finding("cached weights", f"{', '.join(here)} (checksums right)" if here else "none")
    for row in ROWS:
        path = folder / row.file
        if row.name not in here and row.sha256 is not None and path.is_file():
            remedy = f"fetch it again: oodinv weights pull {row.name}"
            yield Finding(row.name, f"{path}: sha256 differs from the catalog's", remedy)
    yield from map(_model, card_names())


def _model(name: str) -> Finding:
    """Loads a model if its files are here."""
    from oodinv.errors import OodinvError
    from oodinv.recipe.base import read_yaml
    from oodinv.recipe.card import GeneratorOnlyCard, find_card
    from oodinv.weights.build import load_generator, load_named, missing_files
    from oodinv.weights.catalog import ROWS
    from oodinv.weights.origins import UserFile

    path, about = find_card(name), f"model {name}"
    card: GeneratorOnlyCard = read_yaml(path, GeneratorOnlyCard)
    missing = missing_files(card, path)
    by_hand = [w for w in missing if all(isinstance(r.origin, UserFile) for r in ROWS if w in (r.name, r.file))]
    if by_hand:
        return Finding(about, f"get by hand: {', '.join(by_hand)}")
    if missing:
        return Finding(about, f"downloads at its first use: {', '.join(missing)}")
    try:
        (load_generator if card.encoder is None else load_named)(name)
    except OodinvError as error:
        return Finding(about, "damaged", str(error))
    return Finding(about, "complete")


def _config() -> Iterator[Finding]:
    from oodinv.cli.config import places

    found = [str(path) for path in places() if path.is_file()]
    yield Finding("defaults from", ", ".join(found) or "no file")


def _writable(folder: Path) -> Finding:
    import tempfile

    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".oodinv-") as place:
            Path(place, "test").write_bytes(b"x")
    except OSError as error:
        return Finding("write test", f"{folder.resolve()}: {error.strerror}", "choose another output folder")
    return Finding("write test", f"{folder.resolve()} can be written")
