"""Two processes that share a batch against one that has all of it."""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import yaml
from command import call_here, start
from PIL import Image

from oodinv.training.parallel import ALONE

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

SCRIPT = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from oodinv.training import parallel
from oodinv.training.device import Compute
from oodinv.training.tasks.stylegan2 import GeneratorTask
from oodinv.training.networks import LossNetworks
from oodinv.training.tasks.samm import SammTask
from oodinv.weights.build import load_model
from oodinv.recipe.card import read_card
from training_setup import random_lpips
from test_training_tasks import full_samm_recipe, generator_recipe

card, output = Path(sys.argv[1]), Path(sys.argv[2])
device = torch.device("cpu")
with parallel.joined(device, 8) as team:
    compute = Compute(device, False, team)
    recipe = full_samm_recipe(1, card)
    schedule = recipe.schedule.model_copy(update={{"accumulate": 1}})
    recipe = recipe.model_copy(update={{"occluders": 0.0, "schedule": schedule}})
    samm = SammTask(recipe, load_model(read_card(card), card), LossNetworks(random_lpips()), compute)
    generator = GeneratorTask(generator_recipe(1).model_copy(update={{"mixing": 0.0}}), compute)
    rng = torch.Generator().manual_seed(0)
    samm.step(team.share(torch.randn(8, 3, 32, 32, generator=rng).clamp(-1, 1)), 5, 1e-3)
    generator.step(team.share(torch.randn(8, 3, 16, 16, generator=rng).clamp(-1, 1)), 0, 1e-3)
    modules = {{"samm": samm.samm, "critic": samm.critic.network}}
    modules |= {{"g": generator.generator, "d": generator.critic.network}}
    parameters = {{f"{{n}} {{k}}": p for n, m in modules.items() for k, p in m.named_parameters()}}
    found = {{name: p.grad for name, p in parameters.items() if p.grad is not None}}
    found |= {{"p": generator.controller.p, "path": generator.path_mean.value, "w": generator.generator.w_avg}}
    if team.leads:
        torch.save(found, output)
threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
assert not [name for name in threads if "gloo" in name], threads  # one that outlives the team may abort the process
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def torchrun(size: int) -> list[str]:
    head = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={size}", "--master-addr=127.0.0.1"]
    return [*head, f"--master-port={free_port()}"]


def environment() -> dict[str, str]:
    paths = [str(REPOSITORY), str(REPOSITORY / "tests")]
    threads = str(torch.get_num_threads())  # as many as here, where other runs are compared with those of processes
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": threads, "PIP_NO_INDEX": "1"}


def test_two_processes_equal_one_with_twice_the_batch(tiny_card: Path, tmp_path: Path) -> None:
    """Gradients of SAMM with its critic and area loss, and of StyleGAN2 with every regulariser, and their state.

    Gradients, because Adam's first step makes whole steps of those that are zero but for rounding; without those of
    the noise's strength, because each process draws its own noise.
    """
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(tests=str(REPOSITORY / "tests" / "training")))
    with mock.patch.object(sys, "argv", [str(script), str(tiny_card), str(tmp_path / "1.pt")]):
        runpy.run_path(str(script))
    call = [*torchrun(2), str(script), str(tiny_card), str(tmp_path / "2.pt")]
    done = subprocess.run(call, env=environment(), capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / f"{size}.pt", weights_only=True) for size in (1, 2))
    assert one.keys() == two.keys()
    for module in ("samm ", "critic ", "g ", "d "):
        names = [name for name in one if name.startswith(module) and "noise_strength" not in name]
        scale = max(one[name].abs().max() for name in names)
        assert scale > 0
        apart = {name: ((one[name] - two[name]).abs().max() / scale).item() for name in names}
        assert max(apart.values()) < 1e-4, max(apart, key=lambda name: apart[name])
    for name in ("p", "path", "w"):
        torch.testing.assert_close(one[name], two[name])


def test_a_team_of_one_does_nothing() -> None:
    x = torch.arange(6.0, requires_grad=True)
    assert torch.equal(ALONE.share(x), x)
    ALONE.mean(x).backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full((6,), 1 / 6))


def make_run(folder: Path, card: Path, steps: int) -> Path:
    """A folder of photos and a recipe for a short SAMM run, without LPIPS so that nothing is fetched."""
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for n in range(60):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((32, 32)).save(photos / f"{n}.png")
    recipe = {
        "kind": "samm",
        "name": "short",
        "model": str(card),
        "data": {"folder": str(photos), "size": 32, "aligned": True},
        "schedule": {"steps": steps, "batch": 4, "learning_rate": 1e-3, "log_every": 1, "evaluate_every": 1000},
        "sizes": [16, 32],
        "start_steps": {16: 0, 32: 2},
        "area": {16: 0.3, 32: 0.2},
        "lpips": 0.0,
        "missing": "allow",
    }
    recipe["schedule"]["checkpoint_every"] = 5  # type: ignore[index]
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def log_losses(output: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines if "mse" in line]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_command_resumes_with_the_same_losses(
    tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_run(tmp_path, tiny_card, 40)
    command = ["train", "samm", "-r", str(recipe), "--quiet", "--device", "cpu"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert call_here(*command, "-o", whole).returncode == 0
    process = start(*command, "-o", killed)
    while not (killed / "checkpoint.pt").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = call_here(*command, "-o", killed, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert log_losses(killed) == log_losses(whole)
    summary = json.loads(done.stdout)
    assert summary["step"] == 40
    assert Path(summary["card"]).is_file()
