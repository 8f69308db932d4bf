"""Benchmark protocols: photos, metrics with their sizes, ablations, and published results."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from oodinv.errors import RecipeError, suggestion
from oodinv.recipe.base import Name, Size, data_folder, read_yaml, recipe_names, recipe_path
from oodinv.records import Strict


class MetricUse(Strict):
    """A metric by name; size: side in pixels to which both pictures are resized, by default the model's."""

    metric: str
    size: Size | None = None

    @property
    def key(self) -> str:
        """Key in tables and files, such as lpips_alexnet@256."""
        return self.metric if self.size is None else f"{self.metric}@{self.size}"


class Dataset(Strict):
    """Photos of a protocol.

    files, source, licence: for the error about a missing folder. count: number of photos in the published protocol.
    shipped: the photos come with oodinv; otherwise `folder` is searched for in $OODINV_DATA and in ./datasets.
    """

    folder: str
    aligned: bool
    count: PositiveInt | None = None
    shipped: bool = False
    files: str
    source: str
    licence: str


class PublishedRow(Strict):
    """A row of a published table: values by the keys of metrics or distances, or by keys of `published_columns`."""

    method: str
    values: dict[str, float]


class BenchmarkRecipe(Strict):
    """A protocol: photos, metrics with their sizes, ablations, and results that others published under it.

    reference: `photo` compares with the photo cropped at the size of the comparison, `crop` with the crop that the
    model was given (a small model scores higher on that). edits: edit recipes to score. distances: distances between
    the sets of photos and composites, such as `fid`. A metric is skipped, with a note, where the file of its network
    has to be fetched by hand and is missing.
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
    distances: list[str] = Field(default_factory=list)
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
            raise ValueError(f"metrics must list each metric and size once, not {keys}")
        known = {*keys, *self.published_columns, *self.distances}
        unknown = {key for row in self.published for key in row.values} - known
        if unknown:
            raise ValueError(
                f"published rows have unknown keys {sorted(unknown)}; add them to metrics or published_columns"
            )
        return self


def find_benchmark_recipe(name: str) -> BenchmarkRecipe:
    """Reads a protocol, by the name of a shipped one or as FILE.yaml; names of metrics are not checked.

    Raises:
        RecipeError: there is no such recipe, or it is invalid.
    """
    path = recipe_path("benchmark", name)
    if not path.is_file():
        names = ", ".join(benchmark_names())
        raise RecipeError(
            f"{name!r} is neither a folder nor a benchmark; there are {names}, or pass a FILE.yaml"
            f"{suggestion(name, benchmark_names())}"
        )
    recipe: BenchmarkRecipe = read_yaml(path, BenchmarkRecipe)
    return recipe


def benchmark_names() -> list[str]:
    """Names of the shipped protocols."""
    return recipe_names("benchmark")


def find_dataset(dataset: Dataset) -> Path:
    """Finds the folder of a protocol's photos.

    Raises:
        RecipeError: the folder is missing; the message names the files, their source, destination and licence.
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
        f"the photos of this benchmark are missing. Needed: {dataset.files}. From: {dataset.source}. "
        f"Put them into {' or '.join(map(str, places))} (or name another place in OODINV_DATA), or give any folder "
        f"as --dataset FOLDER with --protocol. Licence: {dataset.licence}"
    )
