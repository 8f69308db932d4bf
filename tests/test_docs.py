"""README, CONTRIBUTING and docs: links lead somewhere, commands and options exist, nothing is left out."""

import itertools
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import typer
import yaml
from markdown_it import MarkdownIt

from oodinv.cli.main import app
from oodinv.compositing.regions.base import EditedCrop, Place
from oodinv.faces.parts import PARTS
from oodinv.imaging.provenance import Provenance
from oodinv.metrics.base import Setting
from oodinv.models.synthesis import synthesize
from oodinv.recipe.base import data_folder

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
PARSER = MarkdownIt().enable("table")
COMMANDS: Any = typer.main.get_command(app)


def tokens(page: Path) -> Iterator[Any]:
    """All tokens of a page, those inside paragraphs too."""
    for token in PARSER.parse(page.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as Python-Markdown and GitHub make them."""
    found, parsed = set(), PARSER.parse(page.read_text(encoding="utf-8"))
    for token, inner in itertools.pairwise(parsed):
        if token.type == "heading_open":
            text = "".join(child.content for child in inner.children or ())
            found.add(re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower()))
    return found


def links(page: Path) -> list[str]:
    targets = [str(t.attrGet("href" if t.type == "link_open" else "src")) for t in tokens(page) if t.type in
               ("link_open", "image")]  # fmt: skip
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    wrong = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


def test_a_wrong_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` + c\n\n[one](none.md) ![two](#three)\n")
    assert links(page) == ["none.md", "#three"]
    assert anchors(page) == {"a-b-c"}


def test_pages_of_the_site_stay_inside_it() -> None:
    """The site holds docs/ alone: a link to a file outside works in the repository only."""
    outside = [f"{page.name}: {link}" for page in DOCS.glob("*.md") for link in links(page) if link.startswith("..")]
    assert not outside


def test_the_site_has_every_page() -> None:
    entries = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert {file for entry in entries for file in entry.values()} == {page.name for page in DOCS.glob("*.md")}


def test_the_readme_names_every_page_and_command() -> None:
    readme = ROOT / "README.md"
    pages = {Path(link.partition("#")[0]).name for link in links(readme)}
    assert {page.name for page in DOCS.glob("*.md")} - {"index.md"} <= pages
    text = readme.read_text()
    assert not [name for name in COMMANDS.commands if f"`oodinv {name}`" not in text]


def test_the_page_of_commands_is_that_of_the_help_texts() -> None:
    made = runpy.run_path(str(DOCS / "commands.py"))["page"]()
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == made, "run `make commands`"


def used(page: Path) -> Iterator[str]:
    """Command lines of oodinv in a page's code."""
    for token in tokens(page):
        if token.type in ("fence", "code_block", "code_inline"):
            for line in token.content.replace("\\\n", " ").splitlines():
                at = re.search(r"(?<![\w/.'-])oodinv (?=[a-z-])", line.partition("#")[0])
                if at:
                    yield re.split(r" *[<|&;] *|…", line.partition("#")[0][at.end() :])[0]


def complaint(line: str) -> str | None:
    """What is wrong with the arguments of a command line; None if nothing is."""
    command, words = COMMANDS, shlex.split(line)
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        if words[0] not in command.commands:
            return f"there is no command {words[0]}"
        command = command.commands[words.pop(0)]
    options = {option: parameter for parameter in command.params for option in (*parameter.opts, "--help", "-h")}
    for word, value in itertools.pairwise([*words, ""]):
        name, _, given = word.partition("=")
        if re.match(r"--?[a-zA-Z]", word) and name not in options:
            return f"{command.name} has no {name}"
        shipped = {"--recipe": "recipes", "--model": "pretrained"}.get(name)
        if shipped and not re.search(r"\.ya?ml$|^[A-Z]+$", given or value):
            known = {path.stem for path in data_folder(shipped).rglob("*.yaml")}  # type: ignore[arg-type]
            if (given or value) not in known:
                return f"{name} names no shipped file: {given or value}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_in_code_exist_with_their_options(page: Path) -> None:
    assert not [f"{line}: {wrong}" for line in used(page) if (wrong := complaint(line))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("invert photos/ -o out/ --devise cpu", "no --devise"),
        ("invrt photos/", "no command invrt"),
        ("train sam --data x", "no command sam"),
        ("edit out/ --recipe oldest", "no shipped file: oldest"),
        ("edit out/ --recipe=older --model my.yaml -o x", None),
    ],
)
def test_wrong_commands_are_found(line: str, message: str | None) -> None:
    found = complaint(line)
    assert found is None if message is None else message in str(found)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_options_in_the_text_exist(page: Path) -> None:
    def all_options(command: Any) -> set[str]:
        inner = [all_options(child) for child in getattr(command, "commands", {}).values()]
        return {option for parameter in command.params for option in parameter.opts}.union(*inner)

    known = all_options(COMMANDS) | {"--help", "--install-completion", "--show-completion"}
    spans = [t.content for t in tokens(page) if t.type == "code_inline" and t.content.startswith("--")]
    assert not [span for span in spans if re.split(r"[ =\[]", span)[0] not in known]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_paths_in_the_text_exist(page: Path) -> None:
    """Files and folders of the repository that inline code names."""
    top = ("oodinv/", "tests/", "docs/", "bench/", "recipes/", "pretrained/", "samples/", ".ci/")
    spans = [t.content.split()[-1] for t in tokens(page) if t.type == "code_inline" and t.content.split()]
    named = [span for span in spans if span.startswith(top) and "NAME" not in span and "*" not in span]
    assert not [span for span in named if not (ROOT / span).exists()]


# The examples of CONTRIBUTING.md, so that they keep up with the interfaces


EXAMPLES = {
    block.splitlines()[0].removeprefix("# "): block
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
}


def example(path: str) -> dict[str, Any]:
    """Names defined by the module of an example."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(EXAMPLES[path], path, "exec", dont_inherit=True), names)
    return names


def test_the_example_of_a_metric_measures() -> None:
    metric = example("oodinv/metrics/median.py")["MEDIAN"]
    a = torch.zeros(2, 3, 8, 8)
    assert metric.load(Setting(torch.device("cpu")))(a, a + 0.5, None).tolist() == [0.5, 0.5]


def test_the_example_of_a_detector_finds_a_face() -> None:
    (face,) = example("oodinv/faces/detectors/centred.py")["load"](Path, "cpu").detect(np.zeros((40, 60, 3), np.uint8))
    assert np.abs(face.points.mean(axis=0) - (30, 20.8)).max() < 0.1


def test_the_example_of_a_source_lists_files(tmp_path: Path) -> None:
    (tmp_path / "photos.txt").write_text("a.jpg\n\nb/c.png\n")
    source = example("oodinv/runs/sources/listing.py")["LISTING"]
    assert source.accepts(tmp_path / "photos.txt")
    found = [(one.path, one.relative) for one in source.find(tmp_path / "photos.txt", frozenset())]
    assert found == [(tmp_path / "a.jpg", Path("a.jpg")), (tmp_path / "b/c.png", Path("c.png"))]


def test_the_example_of_a_sink_writes_a_number(tmp_path: Path) -> None:
    sink = example("oodinv/runs/sinks/areas.py")["AREAS"]
    face = SimpleNamespace(subject=SimpleNamespace(name="a/b"), mask=np.full((4, 4), 51, np.uint8))
    assert list(sink.write(face, tmp_path, Provenance())) == ["areas/a/b.txt"]
    assert (tmp_path / "areas/a/b.txt").read_text() == "0.2000\n"


def test_the_example_of_a_region_limits_an_edit() -> None:
    region = example("oodinv/compositing/regions/lips.py")["REGION"]
    parts = np.full((16, 16), PARTS.index("skin"), np.uint8)
    parts[8:] = PARTS.index("lip")
    before = np.zeros((128, 128, 3), np.float32)
    limited = region.limit(EditedCrop(before, before + 9, None, Place(parts)))
    assert limited[:48].max() < 0.1
    assert limited[-48:].min() > 8.9


def test_recipes_of_the_guide_name_its_examples() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = set(re.findall(r'Choice\("(\w+)"', text))
    area, technique = re.findall(r"area: (\w+), technique: (\w+)", text)[0]
    assert {area, technique} <= lines


def test_the_example_of_a_technique_joins() -> None:
    crop = np.ones((4, 4, 3), np.float32)
    mask = np.tri(4, dtype=np.float32)
    joined = example("oodinv/compositing/techniques/hard.py")["join"](crop, crop * 5, mask)
    assert np.array_equal(joined[..., 0], np.where(mask > 0.5, 1, 5))


def test_the_examples_of_networks_fit_each_other() -> None:
    generator = example("oodinv/models/generators/blocks.py")["Blocks"](32)
    encoder = example("oodinv/models/encoders/linear.py")["LinearEncoder"](num_ws=3, w_dim=generator.w_dim)
    codes = encoder.encode(torch.zeros(2, 3, 32, 32), generator).w_plus
    assert synthesize(generator, codes).shape == (2, 3, 32, 32)


def test_the_example_of_a_task_learns(tmp_path: Path) -> None:
    task = example("oodinv/training/tasks/colour.py")["TASK"].build(None, None, None)
    images = torch.full((2, 3, 4, 4), 0.25)
    losses = [task.step(images, step, 0.5)["error"] for step in range(9)]
    assert losses[-1] < 1e-4 < losses[0]
    assert task.evaluate([images]).scores["mse"] < 1e-4
    assert "0.24" in task.export(tmp_path).read_text()
