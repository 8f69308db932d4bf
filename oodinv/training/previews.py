"""Preview heads that a training recipe names."""

from pathlib import Path

from oodinv.models.preview import PreviewHead
from oodinv.recipe.base import data_folder
from oodinv.weights.build import locate
from oodinv.weights.heads import read_heads


def load_heads(weights: str, source: str) -> dict[int, PreviewHead]:
    """Reads heads by their blocks; weights: a file in the current folder, among the shipped models, or in the cache.

    Raises:
        MissingWeights: there is no such file; source: name of the recipe, for the error. WeightsError: it holds
        something else.
    """
    shipped = data_folder("pretrained") / weights
    return read_heads(shipped if shipped.is_file() else locate(weights, Path(source)))
