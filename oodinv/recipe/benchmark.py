"""Benchmark protocols: pictures, metrics with their sizes, ablations, and what others published."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from oodinv.errors import RecipeError
from oodinv.recipe.base import Name, Size, Strict, data_folder, read_yaml, recipe_names, recipe_path

MetricName = Literal[
    "psnr",
    "psnr_peak_sqrt2",
    "ssim",
    "ms_ssim",
    "mse_unit",
    "mse_pm1",
    "mae_pm1",
    "lpips_alexnet",
    "lpips_vgg16",
    "identity_sface",
    "identity_arcface",
]


class MetricUse(Strict):
    """A metric and the size at which pictures are compared, both resized to it; without one, the model's size."""

    metric: MetricName
    size: Size | None = None

    @property
    def key(self) -> str:
        """Name in tables and files, such as lpips_alexnet@256."""
        return self.metric if self.size is None else f"{self.metric}@{self.size}"


class Dataset(Strict):
    """Photos to measure on. `files`, `source` and `licence` tell what to do where they are missing.

    `count`: how many the protocol has. `shipped`: they come with oodinv. Otherwise `folder` is looked for in
    $OODINV_DATA and in ./datasets.
    """

    folder: str
    aligned: bool
    count: PositiveInt | None = None
    shipped: bool = False
    files: str
    source: str
    licence: str


class PublishedRow(Strict):
    """A row of a published table: values by the keys of metrics, or by names listed in `published_columns`."""

    method: str
    values: dict[str, float]


class BenchmarkRecipe(Strict):
    """A protocol: pictures, metrics with their sizes, ablations, and what others published under it.

    reference: `photo` compares with the photo cropped at the size of the comparison, so that a small model pays
    for its size; `crop` with the crop that the model saw. edits: recipes whose edits are scored too. frechet: the
    distance in SFace features. fid: the one in InceptionV3's. Metrics whose network only a person may fetch are left
    out where its file is missing.
    """

    kind: Literal["benchmark"]
    name: Name
    title: str
    protocol: str
    dataset: Dataset | None = None
    reference: Literal["photo", "crop"]
    metrics: Annotated[list[MetricUse], Field(min_length=1)]
    ablate: list[str] = Field(default_factory=list)
    edits: list[str] = Field(default_factory=list)
    frechet: bool = False
    fid: bool = False
    seed: int = 0
    resamples: PositiveInt = 1000
    cost_images: PositiveInt = 8
    published_source: str = ""
    published_columns: dict[str, str] = Field(default_factory=dict)
    published: list[PublishedRow] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        keys = [use.key for use in self.metrics]
        if len(set(keys)) != len(keys):
            raise ValueError(f"metrics must name each metric and size once, they are {keys}")
        if any(use.metric == "ms_ssim" and (use.size or 256) < 256 for use in self.metrics):
            raise ValueError("ms_ssim needs a size of at least 256: its coarsest scale is a sixteenth of it")
        known = {*keys, *self.published_columns, *(["fid"] if self.fid else [])}
        unknown = {key for row in self.published for key in row.values} - known
        if unknown:
            raise ValueError(f"published rows have {sorted(unknown)}, which no metric and no published_columns name")
        return self


def find_benchmark_recipe(name: str) -> BenchmarkRecipe:
    """A protocol by the name of a shipped one or as FILE.yaml.

    Raises:
        RecipeError: there is no such recipe, or it doesn't validate.
    """
    path = recipe_path("benchmark", name)
    if not path.is_file():
        names = ", ".join(benchmark_names())
        raise RecipeError(f"{name!r} is neither a folder nor a benchmark; there are {names}, or pass a FILE.yaml")
    recipe: BenchmarkRecipe = read_yaml(path, BenchmarkRecipe)
    return recipe


def benchmark_names() -> list[str]:
    """Names of the shipped protocols."""
    return recipe_names("benchmark")


def find_dataset(dataset: Dataset) -> Path:
    """The folder of a protocol's photos.

    Raises:
        RecipeError: it is nowhere; says which files are needed, from where, where they go, and their licence.
    """
    if dataset.shipped:
        return data_folder("samples")
    places = [Path("datasets") / dataset.folder]
    if chosen := os.environ.get("OODINV_DATA"):
        places.insert(0, Path(chosen) / dataset.folder)
    for place in places:
        if place.is_dir():
            return place
    raise RecipeError(
        f"the photos of this benchmark are not here. Needed: {dataset.files}. From: {dataset.source}. "
        f"Put them into {' or '.join(map(str, places))} (or name another place in OODINV_DATA), or give any folder "
        f"as --dataset FOLDER with --protocol. Licence: {dataset.licence}"
    )
