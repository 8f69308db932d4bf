"""Identifies weight files and checks that they are complete."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from oodinv.errors import UnknownLayout
from oodinv.recipe.card import SammCard
from oodinv.weights import catalog
from oodinv.weights.checksum import sha256_path
from oodinv.weights.families import (
    build_encoder,
    build_generator,
    build_inception,
    build_recognition,
    build_samm,
    build_vgg19,
    config_of,
)
from oodinv.weights.origins import Row
from oodinv.weights.reading.read import Container, container_of, read
from oodinv.weights.translation import Translation, translate


@dataclass(frozen=True)
class Report:
    """Identity of a weight file.

    layout: name of a layout, or "onnx".
    sizes: image `size` in pixels, `w_dim` and `num_ws` of the latent codes, if the file has them.
    parameters: number of values of all its tensors, including buffers and training state; 0 for ONNX files.
    row: the catalog's entry with the same sha256.
    namesake: without such an entry, the one with the same file name.
    notes: values that the file lacks and that oodinv supplies.
    """

    path: Path
    container: Container
    layout: str
    sizes: dict[str, int]
    parameters: int
    sha256: str
    row: Row | None
    namesake: Row | None
    notes: tuple[str, ...] = ()


def verify(path: Path) -> Report:
    """Identifies a file and checks that its networks are complete and that all shapes are right.

    Raises:
        MissingWeights: there is no such file.
        UnknownLayout: no known layout fits, or the file is incomplete.
        WeightsError: it is damaged, or would execute code.
    """
    container = container_of(path)
    layout: str = container
    sizes, parameters, notes = dict[str, int](), 0, tuple[str, ...]()
    if container != "onnx":  # OpenCV runs these, so that their sha256 is all there is to check
        file = read(path)
        source = translate(file)
        layout, sizes = _identify(source)
        parameters, notes = sum(tensor.numel() for tensor in file.tensors.values()), source.notes
    sha256 = sha256_path(path)
    row = catalog.by_sha256(sha256)
    return Report(
        path=path,
        container=container,
        layout=layout,
        sizes=sizes,
        parameters=parameters,
        sha256=sha256,
        row=row,
        namesake=None if row else catalog.by_file(path.name),
        notes=notes,
    )


def _identify(source: Translation) -> tuple[str, dict[str, int]]:
    """Returns layout and sizes, by building the networks without values."""
    source, name = _without_values(source), source.file.path.name
    sizes: dict[str, int] = {}
    if "generator" in source.parts:
        generator = build_generator(source)
        sizes |= {"size": generator.size, "w_dim": generator.w_dim, "num_ws": generator.num_ws}
    if "encoder" in source.parts:
        encoder = build_encoder(source)
        sizes |= {"w_dim": encoder.w_dim, "num_ws": encoder.num_ws}
    if "samm" in source.parts:
        build_samm(SammCard(weights=name, sizes=samm_sizes(source)), source)
    if "vgg19" in source.parts:
        build_vgg19(source)
    if "recognition" in source.parts:
        build_recognition(source)
    if "inception" in source.parts:
        build_inception(source)
    return source.layout, sizes


def samm_sizes(source: Translation) -> list[int]:
    """Returns the sizes of SAMM in a file, ascending.

    Raises:
        UnknownLayout: there are none, or one is not a power of two.
    """
    named = (re.fullmatch(r"project\.(\d+)\.bias", key) for key in source.part("samm"))
    sizes = sorted(int(match[1]) for match in named if match)
    if not sizes or any(size.bit_count() != 1 for size in sizes):
        raise UnknownLayout(f"{source.file.path}: has SAMM for sizes {sizes}; powers of two were expected")
    return sizes


def _without_values(source: Translation) -> Translation:
    """Moves the tensors to the meta device, so that networks built from them take no memory."""
    parts = {p: {k: v.to("meta") for k, v in state.items()} for p, state in source.parts.items()}
    average = source.average
    if average is None and "generator" in parts:  # it would be computed, from numbers
        average = torch.empty(config_of(source, "generator")["w_dim"])
    return replace(source, parts=parts, average=average)
