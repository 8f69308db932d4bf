"""Installs the package into fresh environments, with the floors of its dependencies and with the newest versions.

    python bench/floors.py [--only floors|newest] [--torch 2.14.1] [--keep FOLDER]

Each environment then runs a smoke test: `pip check`, the help of every command, an alignment of the samples; an
inversion, an edit and a benchmark with a tiny random model; and a run of training. In both, torch has its floor, which
is the oldest version that the tests ran with; --torch names another one for the newest of the others.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PREPARE = """
import sys
from pathlib import Path
import numpy as np, torch, yaml
from PIL import Image
sys.path.insert(0, sys.argv[1])
from tiny import write_card
from oodinv import directions
folder = Path(sys.argv[2])
write_card(folder)
rng = np.random.default_rng(0)
(folder / "crops").mkdir()
for n in range(40):
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    coarse.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"crops/p{n}.png")
directions.write(folder / "up.safetensors", directions.Direction("up", "tiny", torch.randn(8, 16)))
edit = {"edits": [{"direction": "up.safetensors", "strength": 1.0}], "compose": {"area": "crop"}}
(folder / "up.yaml").write_text(yaml.safe_dump(edit))
protocol = {"kind": "benchmark", "name": "smoke", "title": "smoke", "protocol": "none", "reference": "crop",
            "metrics": [{"metric": "psnr"}, {"metric": "ssim"}], "ablate": ["plain"], "cost_images": 1}
(folder / "smoke.yaml").write_text(yaml.safe_dump(protocol))
train = {"kind": "stylegan2", "name": "smoke", "licence": "none", "data": {"folder": "x", "size": 16, "aligned": True},
         "schedule": {"steps": 2, "batch": 4, "learning_rate": 0.001}, "channels": {4: 8, 8: 8, 16: 8}, "w_dim": 16,
         "z_dim": 16, "mapping_layers": 2, "adversarial": {"weight": 1.0, "channels": {4: 8, 8: 8, 16: 8}}}
(folder / "train.yaml").write_text(yaml.safe_dump(train))
"""
COMMANDS = ["align", "benchmark", "blend", "directions", "edit", "invert", "report", "sign", "train", "weights"]


def floors() -> Iterator[str]:
    """The dependencies of pyproject.toml, each at its floor."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[.*\])?>=([0-9.]+)", requirement)
        if match is None:
            raise SystemExit(f"{requirement}: expected NAME>=VERSION")
        yield f"{match[1]}=={match[2]}"


def run(*command: str | Path) -> None:
    """Runs a command; its output is shown if it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, cwd=tempfile.gettempdir())
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n", file=sys.stderr)
        raise SystemExit(f"failed: {' '.join(map(str, command))[:200]}")


def install(folder: Path, pins: list[str]) -> Path:
    """Makes an environment with the package and versions that pins name; returns the folder of its programs."""
    venv.create(folder, with_pip=True, clear=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n")
    run(programs / "python", "-m", "pip", "install", "--quiet", "--upgrade", "--constraint", constraints, ROOT)
    run(programs / "python", "-m", "pip", "check")
    return programs


def smoke(programs: Path, work: Path) -> None:
    """Uses the installed package."""
    oodinv, card, crops = programs / "oodinv", work / "tiny.yaml", work / "crops"
    run(programs / "python", "-c", PREPARE, ROOT / "bench", work)
    run(oodinv, "--version")
    for name in COMMANDS:
        run(oodinv, name, "--help")
    run(oodinv, "align", ROOT / "samples", "-o", work / "aligned", "--quiet")
    run(oodinv, "invert", crops, "--aligned", "--model", card, "-o", work / "inverted", "--quiet")
    run(oodinv, "edit", work / "inverted", "--recipe", work / "up.yaml", "--model", card, "-o", work / "up", "--quiet")
    run(oodinv, "report", work / "up", "--quiet")
    protocol = ("--aligned", "--protocol", work / "smoke.yaml", "--quiet")
    run(oodinv, "benchmark", "--dataset", crops, "--model", card, "-o", work / "bench", *protocol)
    run(oodinv, "train", "generator", "--recipe", work / "train.yaml", "--data", crops, "-o", work / "train", "--quiet")


def main() -> None:
    parser = argparse.ArgumentParser(description="Tests the floors of all dependencies, and the newest versions.")
    parser.add_argument("--only", choices=("floors", "newest"), help="one of the two environments")
    parser.add_argument("--torch", help="version of torch beside the newest of the others; default its floor")
    parser.add_argument("--keep", type=Path, help="folder for the environments, which are then kept")
    options = parser.parse_args()
    oldest = list(floors())
    torch = (
        next(pin for pin in oldest if pin.startswith("torch==")) if options.torch is None else f"torch=={options.torch}"
    )
    pins = {"floors": oldest, "newest": [torch]}
    with tempfile.TemporaryDirectory() as temporary:
        for name in [options.only] if options.only else list(pins):
            folder = (options.keep or Path(temporary)).resolve() / name
            print(f"{name}: {', '.join(pins[name])}", flush=True)
            programs = install(folder, pins[name])
            with tempfile.TemporaryDirectory() as work:
                smoke(programs, Path(work))
            listed = [str(programs / "python"), "-m", "pip", "list", "--format", "freeze"]
            versions = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
            print(f"{name}: works with\n{versions}", flush=True)


if __name__ == "__main__":
    main()
