"""Report of a run: contact sheets and HTML pages in its output folder."""

from pathlib import Path

from oodinv.imaging.provenance import Provenance, composite_mark
from oodinv.reporting.pages import write_pages
from oodinv.reporting.panels import panels
from oodinv.reporting.sheets import write_sheets
from oodinv.runs.results import Results


def write_report(results: Results) -> list[Path]:
    """Writes contact sheets and pages of all faces of a run into its folder; returns the paths.

    Raises:
        ImageError: a crop or a composite is missing or damaged. OutputError: a file can't be written.
    """
    total = sum(1 for _ in results.all_faces())
    facts = {} if results.recipe is None else {"recipe": results.recipe}
    facts |= {
        "model": f"{results.model} (weights: {results.header.card.get('licence')})",
        "faces": str(total),
        "composed by the run": results.composition.technique,
        "these pictures are": "photos with parts drawn by a trained network (compositeWithTrainedAlgorithmicMedia)",
    }
    title = f"oodinv {results.header.command}" + ("" if results.recipe is None else f": {results.recipe}")
    mark = composite_mark(Provenance(model=results.model, recipe=results.recipe))
    paths = write_sheets(results.path, panels(results), mark)
    return paths + write_pages(results.path, panels(results), total, title, facts)
