"""Draws pictures from seeds or latent codes with a model's generator alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv.directions.codes import stacked
from oodinv.errors import UnknownLayout, WeightsError
from oodinv.imaging.encode import write_png
from oodinv.imaging.files import atomic_write, write_npz
from oodinv.imaging.pixels import to_uint8
from oodinv.imaging.provenance import Provenance, packet
from oodinv.inversion import in_halves, inference
from oodinv.models.generators.base import Generator, Noise, map_latents
from oodinv.models.runtime import Runtime
from oodinv.models.synthesis import synthesize
from oodinv.weights.reading.damage import ARCHIVE_DAMAGE, NUMPY_DAMAGE

Artefact = Literal["images", "latents", "arrays"]
ARTEFACTS: tuple[Artefact, ...] = get_args(Artefact)

NoiseName = Literal["fixed", "zero", "random"]

CODE_KEYS = ("pivot", "w_plus", "w", "codes")
"""Names of arrays in an .npz file that are read as codes, in order of preference; otherwise its only array is read."""


@dataclass(frozen=True, eq=False)
class Code:
    """One picture to draw.

    name: of its files. w_plus: float32 (num_ws, w_dim). noise_seed: of its random noise.
    """

    name: str
    w_plus: Tensor
    noise_seed: int


def seeded_z(seed: int, z_dim: int) -> Tensor:
    """Draws z (1, z_dim) of a seed: `torch.randn(1, z_dim)` from PyTorch's CPU generator after `manual_seed(seed)`."""
    return torch.randn(1, z_dim, generator=torch.Generator().manual_seed(seed))


def codes_of_seeds(generator: Generator, seeds: Sequence[int], truncation_psi: float) -> list[Code]:
    """Maps the z of each seed to w, truncates it towards the average, and repeats it for all rows of w_plus.

    Raises:
        WeightsError: the generator has no mapping network.
    """
    if not generator.has_mapping:
        raise WeightsError("this generator has no mapping network, so seeds give no codes; pass codes with --codes")
    device = generator.w_avg.device
    found = []
    for seed in seeds:
        with torch.no_grad():
            w = map_latents(generator, seeded_z(seed, generator.z_dim).to(device), truncation_psi).cpu()
        found.append(Code(f"seed{seed:04d}", w.expand(generator.num_ws, -1), seed))
    return found


def codes_of_file(generator: Generator, path: Path, truncation_psi: float) -> list[Code]:
    """Reads codes of a .npy or .npz file, truncated to the average.

    Their shapes are those of `directions.codes.read_codes`. In an .npz, `pivot` and `w_plus` (num_ws, w_dim), as
    `invert` writes them, are one code, and `w` (N, w_dim) is N codes, whatever N is.

    Raises:
        WeightsError: the file is missing, damaged, or contains other arrays.
    """
    values, key = _read_codes(path)
    rows, width = generator.num_ws, generator.w_dim
    shape = values.shape
    if values.ndim == 2 and key in ("w", "w_plus", "pivot"):
        values = values[:, None] if key == "w" else values[None]
    found = stacked(torch.from_numpy(np.array(values, dtype=np.float32)), (rows, rows + generator.spare_rows), width)
    if found is None:
        raise UnknownLayout(
            f"{path}: holds an array of shape {shape}; expected one code ({rows}, {width}) or ({width},), or several "
            f"(N, {rows}, {width}) or (N, {width})"
        )
    if not found.isfinite().all():
        raise WeightsError(f"{path}: holds values that are not finite; make it again")
    w_avg = generator.w_avg.cpu()
    codes = found.expand(-1, rows, -1) if found.shape[1] == 1 else found[:, :rows]
    if truncation_psi != 1.0:
        codes = w_avg.lerp(codes, truncation_psi)
    return [Code(f"code{index:04d}", code, index) for index, code in enumerate(codes)]


def _read_codes(path: Path) -> tuple[NDArray[np.floating], str]:
    """Reads the array of codes; returns also its name in an .npz."""
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; pass codes as .npy or .npz")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _floating(loaded, path), ""
        with loaded as arrays:
            names = arrays.files
            key = next((key for key in CODE_KEYS if key in names), names[0] if len(names) == 1 else None)
            if key is None:
                raise UnknownLayout(f"{path}: has arrays {', '.join(names)}; name the codes w or w_plus")
            return _floating(arrays[key], path), key
    except WeightsError:
        raise
    except (*NUMPY_DAMAGE, *ARCHIVE_DAMAGE, OSError) as error:
        raise WeightsError(f"{path}: is not a .npy or .npz file, or damaged ({error}); make it again") from error


def _floating(values: NDArray[np.generic], path: Path) -> NDArray[np.floating]:
    if not np.issubdtype(values.dtype, np.floating):
        raise UnknownLayout(f"{path}: holds {values.dtype}, where codes are floating-point numbers")
    return values  # type: ignore[return-value]


def drawn(
    generator: Generator,
    codes: list[Code],
    noise: NoiseName,
    dtype: torch.dtype,
    batch_size: int,
    runtime: Runtime | None = None,
) -> Iterator[tuple[Code, NDArray[np.float32]]]:
    """Yields codes with their pictures float32 (3, size, size), about [−1, 1] and not clipped, in batches.

    runtime: runs the generator in place of PyTorch. Random noise comes from PyTorch's CPU generator, seeded for each
    picture by its seed or its index in the file.

    Raises:
        OodinvError: memory is too small for one picture.
    """
    device = generator.w_avg.device

    def some(codes: list[Code]) -> list[NDArray[np.float32]]:
        chosen: Noise = noise if noise != "random" else tuple(_noise_source(code) for code in codes)
        with inference(device, dtype):
            w_plus = torch.stack([code.w_plus for code in codes]).to(device)
            if runtime is not None:
                return list(runtime.synthesize(w_plus, None, chosen)[0].numpy())
            return list(synthesize(generator, w_plus, chosen).float().cpu().numpy())

    for start in range(0, len(codes), batch_size):
        batch = codes[start : start + batch_size]
        yield from zip(batch, in_halves(batch, some, device, generator.size), strict=True)


def _noise_source(code: Code) -> torch.Generator:
    return torch.Generator().manual_seed(code.noise_seed)


def write_drawn(
    folder: Path, code: Code, picture: NDArray[np.float32], save: frozenset[Artefact], made: Provenance
) -> Iterator[str]:
    """Writes the artefacts of one picture that `save` names; yields paths below the folder as they are written.

    Raises:
        ImageError, OutputError: a file can't be written.
    """
    if "images" in save:
        yield (output := f"generated/{code.name}.png")
        write_png(folder / output, to_uint8(torch.from_numpy(picture[None]))[0], packet(made))
    if "latents" in save:
        yield (output := f"latents/{code.name}.npz")
        write_npz(folder / output, w_plus=code.w_plus.numpy())
    if "arrays" in save:
        yield (output := f"arrays/{code.name}.npy")
        atomic_write(folder / output, lambda file: np.save(file, picture, allow_pickle=False))
