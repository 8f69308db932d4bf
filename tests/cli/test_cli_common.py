"""What all commands share: defaults from files, logs, dry runs, frames, formats, help on narrow terminals."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from oodinv.cli.main import app


def oodinv(*arguments: str | Path, columns: int = 100) -> Result:
    """Runs a command in this process; `exception` of the result is what it raised."""
    environment = {"COLUMNS": str(columns), "TERMINAL_WIDTH": str(columns)}
    return CliRunner().invoke(app, list(map(str, arguments)), env=environment)


@pytest.fixture
def here(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one photo, as the current one; the user has no defaults of their own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "here"
    (folder / "photos").mkdir(parents=True)
    with Image.open(samples / "rishi-sunak.jpg") as photo:
        photo.thumbnail((300, 300))
        photo.save(folder / "photos/a.jpg", quality=80)
    monkeypatch.chdir(folder)
    return folder


def inverted(card: Path, out: str, *options: str) -> dict[str, object]:
    done = oodinv("invert", "photos", "-o", out, "--model", card, "--json", "--quiet", *options)
    assert done.exit_code == 0, (done.output, done.exception)
    summary: dict[str, object] = json.loads(done.stdout)
    return summary


# --- defaults from files ---------------------------------------------------------------------------------


def test_defaults_come_from_files_and_options_come_first(here: Path, tiny_card: Path) -> None:
    (here / "pyproject.toml").write_text(
        f'[tool.oodinv]\nmodel = "{tiny_card}"\n[tool.oodinv.invert]\nsave = "masks"\n'
    )
    (here / "oodinv.toml").write_text("quiet = true\n[invert]\nsave = 'latents'\nbatch-size = 2\n")
    assert oodinv("invert", "photos", "-o", "one").exit_code == 0
    assert {p.name for p in (here / "one").iterdir()} == {"aligned", "latents", "manifest.jsonl"}
    assert oodinv("invert", "photos", "-o", "two", "--save", "flows").exit_code == 0
    assert {p.name for p in (here / "two").iterdir()} == {"aligned", "flows", "manifest.jsonl"}


def test_the_users_own_file_is_read_too(here: Path, tmp_path: Path) -> None:
    (tmp_path / "config/oodinv").mkdir(parents=True)
    (tmp_path / "config/oodinv/oodinv.toml").write_text("model = 'nobody'")
    assert "nobody" in str(oodinv("invert", here / "photos", "-o", "x").exception)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bath-size = 3", "did you mean batch_size?"),
        ("[invrt]\nsave = 'masks'", "did you mean invert?"),
        ("[invert]\nsafe = 'masks'", "did you mean save?"),
        ("= 3", "expected TOML"),
    ],
)
def test_a_wrong_file_of_defaults_is_named(here: Path, text: str, words: str) -> None:
    (here / "oodinv.toml").write_text(text)
    message = str(oodinv("invert", "photos", "-o", "x").exception)
    assert "oodinv.toml" in message
    assert words in message


def test_somebody_elses_pyproject_is_left_alone(here: Path) -> None:
    (here / "pyproject.toml").write_text("this is no TOML")
    assert oodinv("weights", "list").exit_code == 0


# --- logs and dry runs -----------------------------------------------------------------------------------


def test_a_log_names_every_photo(here: Path, tiny_card: Path) -> None:
    (here / "photos/bad.jpg").write_bytes(b"no photo")
    common = ("invert", "photos", "-o", "out", "--model", tiny_card, "--save", "latents", "--quiet")
    assert oodinv(*common, "--log-file", "run.log").exit_code == 1
    log = (here / "run.log").read_text()
    assert re.search(r"INFO inverting: done photos/a\.jpg in", log)
    assert re.search(r"failed photos/bad\.jpg in .*expected a picture", log)
    assert "kept" not in oodinv(*common).stderr
    assert "2 inputs, of which 1 are done already" in oodinv(*common, "-v").stderr
    assert oodinv(*common, "--log-file", "nowhere/run.log").exit_code == 2


def test_a_dry_run_lists_and_writes_nothing(here: Path, tiny_card: Path) -> None:
    (here / "photos/clip.mp4").write_bytes(b"x")
    (here / "average.yaml").write_text("truncation: 0.5")
    for command in (("invert",), ("align",), ("edit", "-r", "average")):
        done = oodinv(*command, "photos", "-o", "out", "--model", tiny_card, "--dry-run", "--json", "--quiet")
        assert done.exit_code == 0, (done.output, done.exception)
        plan = json.loads(done.stdout)["plan"]
        assert [(row["input"], row["state"]) for row in plan] == [
            ("photos/a.jpg", "to do"),
            ("photos/clip.mp4", "unsupported"),
        ]
        assert not (here / "out").exists()
    (here / "photos/clip.mp4").unlink()
    inverted(tiny_card, "out")
    assert "done already" in oodinv("invert", "photos", "-o", "out", "--model", tiny_card, "--dry-run").stdout
    refused = oodinv("align", "photos", "-o", "out", "--model", tiny_card, "--dry-run")
    assert "holds results of `oodinv invert`" in str(refused.exception)


# --- frames and formats ----------------------------------------------------------------------------------


def test_further_frames_are_mentioned_or_used(here: Path, tiny_card: Path) -> None:
    with Image.open(here / "photos/a.jpg") as photo:
        frames = [photo.convert("RGB"), photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    frames[0].save(here / "photos/b.tiff", save_all=True, append_images=frames[1:])
    (summary,) = inverted(tiny_card, "first", "--save", "pasted")["remarks"]  # type: ignore[misc]
    assert summary["input"] == "photos/b.tiff"
    assert "only the first of 2 frames was used; --frames all" in summary["remarks"][0]
    assert inverted(tiny_card, "all", "--frames", "all", "--save", "pasted")["done"] == 3
    assert {p.name for p in (here / "all/pasted").iterdir()} == {"a.jpg", "b.frame0.png", "b.frame1.png"}
    one, two = (np.asarray(Image.open(here / f"all/pasted/b.frame{n}.png")).astype(int) for n in (0, 1))
    assert np.abs(one - two[:, ::-1])[:20].max() == 0  # the border, which no face reaches
    (here / "average.yaml").write_text("truncation: 0.5")
    common = ("-r", "average", "--model", tiny_card, "--frames", "all", "--quiet")
    assert oodinv("edit", "photos", "-o", "edited", *common).exit_code == 0
    edited = np.asarray(Image.open(here / "edited/pasted/b.frame1.png")).astype(int)
    assert np.abs(edited - two)[:20].max() == 0


@pytest.mark.parametrize(("name", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"), ("tiff", "TIFF")])
def test_pasted_photos_have_the_format_asked_for(here: Path, tiny_card: Path, name: str, kind: str) -> None:
    inverted(tiny_card, "out", "--format", name, "--save", "latents,flows,generated,composites,pasted")
    path = here / f"out/pasted/a.{name}"
    with Image.open(path) as picture:
        assert picture.format == kind
    content = path.read_bytes()
    assert oodinv("blend", "out", "--paste", "--quiet").exit_code == 0
    assert path.read_bytes() == content


def test_quality_is_the_photos_own_unless_it_is_named(here: Path, tiny_card: Path) -> None:
    inverted(tiny_card, "own", "--save", "pasted")
    inverted(tiny_card, "low", "--save", "pasted", "--quality", "20")
    with Image.open(here / "photos/a.jpg") as photo, Image.open(here / "own/pasted/a.jpg") as own:
        assert own.quantization == photo.quantization  # type: ignore[attr-defined]
    assert (here / "low/pasted/a.jpg").stat().st_size < 0.6 * (here / "own/pasted/a.jpg").stat().st_size
    wrong = oodinv("invert", "photos", "-o", "x", "--model", tiny_card, "--format", "png", "--quality", "50")
    assert wrong.exit_code == 2


# --- doctor, weights, messages ---------------------------------------------------------------------------


def test_doctor_names_what_is_there_and_what_is_wrong(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODINV_CACHE", str(here / "cache"))
    done = oodinv("doctor", "--json")
    assert done.exit_code == 0, done.stdout
    about = {finding["about"]: finding["found"] for finding in json.loads(done.stdout)["findings"]}
    assert {"oodinv", "Python", "torch", "CPU", "CUDA", "cache", "model ffhq-mobile", "write test"} <= set(about)
    assert about["model ffhq-mobile"] == "downloads at its first use: mobilestylegan-ffhq"
    assert about["model ffhq-e4e"] == "get by hand: e4e_ffhq_encode.pt, samm.pth"
    assert not (here / "cache").exists(), "doctor downloads nothing"
    (here / "cache").mkdir()
    from oodinv.weights.catalog import named

    (here / "cache" / named("yunet").file).write_bytes(b"damaged")
    wrong = oodinv("doctor", "-o", here / "nowhere")
    assert wrong.exit_code == 1
    assert "problem: yunet: fetch it again" in wrong.stderr
    assert "problem: write test: choose another output folder" in wrong.stderr


@pytest.mark.usefixtures("here")
def test_weights_are_listed_as_a_table_with_a_filter() -> None:
    full = oodinv("weights", "list").stdout.splitlines()
    assert len(full) < 40
    some = oodinv("weights", "list", "lpips").stdout
    assert "lpips-alexnet" in some
    assert "yunet" not in some
    assert "sha256" in oodinv("weights", "list", "yunet").stdout


@pytest.mark.usefixtures("here")
def test_files_of_the_project_are_known() -> None:
    from oodinv.recipe.base import data_folder

    folder = data_folder("pretrained")
    files = [folder / "ffhq-mobile-encoder.safetensors", folder / "directions/ffhq-mobile/smile.safetensors"]
    done = oodinv("weights", "verify", *files, "--json")
    assert done.exit_code == 0
    encoder, direction = json.loads(done.stdout)["results"]
    assert encoder["catalog"] == "is ffhq-mobile-encoder.safetensors, which comes with oodinv"
    assert direction["layout"] == "direction smile of the model ffhq-mobile"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["gpu", "cuda:x", "maia", "cuda:9999"])
def test_a_wrong_device_is_answered_with_those_there_are(tiny_card: Path, name: str) -> None:
    done = oodinv("invert", "photos", "-o", "x", "--model", tiny_card, "--device", name)
    assert done.exit_code == 2
    assert "cpu" in done.stderr
    assert "ipu" not in done.stderr


@pytest.mark.usefixtures("here")
def test_no_bar_is_drawn_for_a_run_that_can_not_start(tiny_card: Path) -> None:
    inverted(tiny_card, "out", "--save", "latents")
    done = oodinv("invert", "photos", "-o", "out", "--model", tiny_card)
    assert "made with other settings" in str(done.exception)
    assert "inverting" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_called_that(here: Path, tiny_card: Path) -> None:
    (here / "out").mkdir(mode=0o500)
    message = str(oodinv("invert", "photos", "-o", "out", "--model", tiny_card).exception)
    assert "can't be written" in message
    assert "lock" not in message


def commands(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, node
    for name, child in getattr(node, "commands", {}).items():
        yield from commands(child, (*path, name))


HELP = """
import contextlib, io, json, sys
from oodinv.cli.main import main
shown = {}
for path in json.loads(sys.argv[1]):
    text = io.StringIO()
    sys.argv = ["oodinv", *path, "--help"]
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main()
    shown[" ".join(path)] = text.getvalue()
print(json.dumps(shown))
"""


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_help_fits_the_terminal_and_cuts_no_name_off(columns: int) -> None:
    """In a process of its own, since click's test runner has a width of its own."""
    from typer.main import get_command

    nodes = dict(commands(get_command(app)))
    environment = os.environ | {"COLUMNS": str(columns), "TERMINAL_WIDTH": str(columns)}
    paths = json.dumps([list(path) for path in nodes])
    done = subprocess.run(
        [sys.executable, "-c", HELP, paths], env=environment, capture_output=True, text=True, check=True
    )
    shown = json.loads(done.stdout)
    for path, node in nodes.items():
        text = shown[" ".join(path)]
        assert not [line for line in text.splitlines() if len(line.rstrip()) > columns], path
        words = re.sub(r"[\s│╭╰─╮╯]", "", text)
        for parameter in node.params:
            for name in parameter.opts:
                assert not name.startswith("--") or name in words, (path, name)
            for value in re.findall(r"\w+", getattr(parameter, "metavar", None) or ""):
                assert value in words, (path, value)
        for child in getattr(node, "commands", {}).values():
            first = " ".join(child.help.split("\n\n")[0].split())
            assert re.sub(r"\s|\[/?bold\]", "", first) in words, (path, first)
        assert not re.search(r"\w…|\[bold\]", text)


def test_what_is_to_be_installed_is_named_whole() -> None:
    for columns in (60, 100):
        assert "'oodinv[c2pa]'" in oodinv("sign", "--help", columns=columns).stdout


def test_the_version_has_a_short_option() -> None:
    assert oodinv("-V").stdout == oodinv("--version").stdout != ""
