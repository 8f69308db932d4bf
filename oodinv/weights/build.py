"""Builds the model of a card: finds and reads the weight files, builds the networks, checks that they fit together."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from oodinv.errors import MissingWeights, WeightsError
from oodinv.models.encoders.base import Encoder
from oodinv.models.generators.base import Generator
from oodinv.models.perceptors.dlib_face import DlibFace
from oodinv.models.perceptors.lpips import Lpips
from oodinv.models.preview import PreviewHead
from oodinv.models.runtime import Runtime
from oodinv.models.samm import Samm
from oodinv.recipe.base import read_yaml
from oodinv.recipe.card import GeneratorOnlyCard, ModelCard, find_card, read_card
from oodinv.weights import catalog
from oodinv.weights.checksum import sha256_path
from oodinv.weights.families import build_encoder, build_generator, build_lpips, build_samm
from oodinv.weights.heads import read_heads
from oodinv.weights.pull import cache_dir, find, pull
from oodinv.weights.reading.average import read_average
from oodinv.weights.reading.dlib import read_dlib
from oodinv.weights.reading.read import read
from oodinv.weights.translation import Translation, translate

Role = Literal["generator", "encoder", "average", "samm", "preview"]


@dataclass(frozen=True)
class Model:
    """A card's networks, in evaluation mode and without gradients.

    path: of the card. files: the weight file of each role. notes: optional parts that are missing. preview: the head of
    the largest pictures. runtime: runs the networks in place of PyTorch.
    """

    card: ModelCard
    path: Path
    generator: Generator
    encoder: Encoder
    samm: Samm | None
    files: dict[Role, Path]
    notes: tuple[str, ...]
    preview: PreviewHead | None = None
    runtime: Runtime | None = None

    @cached_property
    def sha256(self) -> dict[Role, str]:
        """The sha256 of each role's file, computed once."""
        return {role: sha256_path(file) for role, file in self.files.items()}

    @property
    def backend(self) -> str:
        """Name of what runs the networks."""
        return "torch" if self.runtime is None else self.runtime.name

    @property
    def code_shape(self) -> tuple[int, int]:
        """Shape of a face's w_plus, (num_ws, w_dim)."""
        return self.generator.num_ws, self.generator.w_dim

    def to(self, device: torch.device) -> "Model":
        """Moves the networks to a device, without a copy, and returns the model."""
        return replace(
            self,
            generator=self.generator.to(device),
            encoder=self.encoder.to(device),
            samm=None if self.samm is None else self.samm.to(device),
            preview=None if self.preview is None else self.preview.to(device),
        )


def load_model(card: ModelCard, path: Path) -> Model:
    """Loads the networks of a card read from `path`, on the CPU in float32.

    Raises:
        MissingWeights: a file other than SAMM's is missing; the message names its source.
        WeightsError: a file is damaged or unknown, or its kind or sizes differ from the card's.
    """
    files, notes = find_files(card, path)
    networks = {role: file for role, file in files.items() if role not in ("average", "preview")}
    opened = {file: translate(read(file)) for file in networks.values()}
    sources: dict[Role, Translation] = {role: opened[file] for role, file in networks.items()}
    generator = build_generator(sources["generator"], card.generator)
    encoder = build_encoder(sources["encoder"], card.encoder)
    average = choose_average(files, sources, generator)
    if average is not None:
        encoder.w_avg = _as_rows(average, encoder, path)
    samm = None
    if card.samm is not None and "samm" in sources:
        samm = build_samm(card.samm, sources["samm"])
    notes += tuple(note for source in opened.values() for note in source.notes)
    heads = read_heads(files["preview"]) if "preview" in files else {}
    model = Model(card, path, generator, encoder, samm, files, notes, heads[max(heads)] if heads else None)
    _check_fit(model)
    return replace(model, encoder=encoder.prepared(generator))


def load_named(name: str) -> Model:
    """Loads a model by its name or its card FILE.yaml, on the CPU in float32.

    Raises:
        RecipeError: there is no such card, or it doesn't validate. WeightsError: as `load_model`.
    """
    path = find_card(name)
    return load_model(read_card(path), path)


@dataclass(frozen=True)
class GeneratorModel:
    """A card's generator, in evaluation mode and without gradients.

    path: of the card. notes: values that the generator's file lacks. file: that file.
    """

    card: GeneratorOnlyCard
    path: Path
    generator: Generator
    notes: tuple[str, ...]
    file: Path


def load_generator(name: str) -> GeneratorModel:
    """Loads the generator of a card, which may name no encoder, on the CPU in float32.

    Raises:
        RecipeError: there is no such card, or it doesn't validate.
        WeightsError: its file is missing, damaged, or made for another size than the card says.
    """
    path = find_card(name)
    card: GeneratorOnlyCard = read_yaml(path, GeneratorOnlyCard)
    file = locate(card.generator.weights, path)
    source = translate(read(file))
    generator = build_generator(source, card.generator)
    if generator.size != card.size:
        raise WeightsError(f"{file}: makes images of {generator.size} px, and {path} says {card.size}; correct it")
    return GeneratorModel(card, path, generator, source.notes, file)


def load_lpips(backbone: str) -> Lpips:
    """Loads LPIPS from the catalog, downloading it if necessary; without gradients.

    Raises:
        WeightsError: it can't be downloaded, or is damaged.
    """
    return build_lpips(backbone, translate(read(pull(f"lpips-{backbone}"))))


def load_dlib_face() -> DlibFace:
    """dlib's face recognition network, frozen; fetched if need be.

    Raises:
        WeightsError: its file can't be had, or is damaged.
    """
    path = pull("dlib-face")
    network = DlibFace()
    try:
        network.load_layers(read_dlib(path))
    except ValueError as error:
        raise WeightsError(f"{path}: {error}; fetch it again") from error
    return network.eval().requires_grad_(False)


# ---------------------------------------------------------------------------------------------------------
# Files


def find_files(card: ModelCard, path: Path) -> tuple[dict[Role, Path], tuple[str, ...]]:
    """Finds the file of each role of a card; returns also notes on missing optional files.

    Raises:
        MissingWeights: a required file is missing.
    """
    files: dict[Role, Path] = {
        "generator": locate(card.generator.weights, path),
        "encoder": locate(card.encoder.weights, path),
    }
    if card.encoder.average is not None:
        files["average"] = locate(card.encoder.average, path)
    if card.preview is not None:
        files["preview"] = locate(card.preview.weights, path)
    if card.samm is None:
        return files, (f"{card.name} has no SAMM: inversion is plain, masks are zero",)
    try:
        files["samm"] = locate(card.samm.weights, path)
    except MissingWeights as missing:
        return files, (f"no SAMM, so the inversion is plain and masks are zero: {missing}",)
    return files, ()


def locate(weights: str, card: Path) -> Path:
    """Finds a weight file named by a card: a path relative to the card or to the cache, or a name in the catalog.

    Raises:
        MissingWeights: it isn't found and can't be downloaded; the message names its source.
    """
    beside = card.parent / weights
    if beside.exists():
        return beside
    row = next((row for row in catalog.ROWS if weights in (row.name, row.file)), None)
    if row is None:
        cached = cache_dir() / weights
        if cached.exists():
            return cached
        raise MissingWeights(
            f"{card} names {weights}, but neither {beside} nor {cached} is there; put it there, or correct the card"
        )
    try:
        return pull(row.name)
    except MissingWeights as missing:
        raise MissingWeights(f"{card} names {weights}, but {beside} is not there. {missing}") from missing


def missing_files(card: GeneratorOnlyCard, path: Path) -> list[str]:
    """Weight files of a card read from `path` that are neither beside it nor in the cache; downloads nothing."""

    def is_here(weights: str) -> bool:
        rows = [row for row in catalog.ROWS if weights in (row.name, row.file)]
        return any(find(row.name) is not None for row in rows) or any(
            (folder / weights).exists() for folder in (path.parent, cache_dir())
        )

    parts = (card.generator, card.encoder, card.samm, card.preview)
    return [weights for weights in dict.fromkeys(p.weights for p in parts if p is not None) if not is_here(weights)]


# ---------------------------------------------------------------------------------------------------------
# Average latent


def choose_average(files: dict[Role, Path], sources: dict[Role, Translation], generator: Generator) -> Tensor | None:
    """Returns the average latent to which the encoder's output is added; None to use that of the encoder.

    The first of: the card's file for it, the files of the encoder, the generator and SAMM, the mean of the generator's
    mapping network.
    """
    if "average" in files:
        return read_average(files["average"])
    if "w_avg" in sources["encoder"].part("encoder"):
        return None
    in_files = (sources[role].average for role in ("encoder", "generator", "samm") if role in sources)
    return next((average for average in in_files if average is not None), generator.w_avg)


def _as_rows(average: Tensor, encoder: Encoder, card: Path) -> Tensor:
    """(w_dim,), (1, w_dim) or (num_ws, w_dim) → (num_ws, w_dim)."""
    expected = (encoder.num_ws, encoder.w_dim)
    if average.shape[-1] != encoder.w_dim or average.numel() not in (
        encoder.w_dim,
        encoder.num_ws * encoder.w_dim,
    ):
        raise WeightsError(
            f"{card}: the average latent has shape {tuple(average.shape)}, which does not fit the encoder's "
            f"{expected}; name the right file as encoder.average"
        )
    return average.reshape(-1, encoder.w_dim).expand(expected).clone()


# ---------------------------------------------------------------------------------------------------------
# Do the parts fit?


def _check_fit(model: Model) -> None:
    """Raises `WeightsError` for parts that were not made for each other."""
    generator, encoder = model.generator, model.encoder
    _check_equal(model, "generator", "the image size", generator.size, "the card", model.card.size)
    latents = (generator.num_ws, generator.w_dim)
    _check_equal(model, "encoder", "w_plus", (encoder.num_ws, encoder.w_dim), "the generator", latents)
    if model.preview is not None:
        key, config = model.preview.key, model.preview.config()
        fits = (generator.taps[key].channels, generator.w_dim) if key in generator.taps else None
        has = (config["channels"], config["w_dim"])
        _check_equal(model, "preview", f"the shape of the head at {key}", has, "the generator", fits)
    if model.samm is None:
        return
    for size in model.samm.sizes:
        what = f"the number of channels at {size}"
        tap, taps = generator.taps.get(size), encoder.tap_channels.get(size)
        made = None if tap is None else tap.channels
        _check_equal(model, "samm", what, model.samm.channels[size], "the generator", made)
        _check_equal(model, "samm", f"{what} before projection", model.samm.tap_channels[size], "the encoder", taps)


def _check_equal(model: Model, role: Role, what: str, has: object, other: str, needed: object) -> None:
    if has != needed:
        raise WeightsError(
            f"{model.files[role]}: {what} is {has}, but {needed} in {other}; {model.path} joins files that "
            "do not belong together"
        )
