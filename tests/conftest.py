"""Fixtures that more than one test file uses."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from oodinv.cli.memory import tune_allocator

tune_allocator()  # as every command does; halves the time for large pictures
os.environ.setdefault("OODINV_BACKEND", "torch")  # conversions take seconds; tests of backends name theirs

SHARED = Path(__file__).resolve().parents[2] / "shared"


LONGEST = ("test_golden.py", "test_default_model.py")
"""Files whose tests take minutes."""
WITH_RAY = ("test_ray_engine.py", "test_benchmark_shared.py")
"""Files whose tests share a cluster of Ray."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves files with slow tests to the front: one that starts last would keep the other workers waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name not in LONGEST, item.path not in slow))


class ByFile(LoadScopeScheduling):
    """Gives whole test files to the workers of pytest-xdist, and all files that use Ray to the same worker."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "ray" if file.endswith(WITH_RAY) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Replaces pytest-xdist's own scheduler, whose `xdist_group` marks don't work with pytest 9.2."""
    return ByFile(config, log)


def pytest_collection_finish() -> None:
    """Freezes what has been imported, so that garbage collection doesn't traverse it again and again."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seeds PyTorch before each test and its fixtures, so that results don't depend on the tests before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden cases and photos beside the checkout; the test is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference data in {SHARED}, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def samples() -> Path:
    """The photos that come with the project."""
    return Path(__file__).resolve().parents[1] / "samples"


@pytest.fixture(scope="session")
def tiny_card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Card of a 32 px model with random weights and SAMM."""
    from tiny import write_card

    return write_card(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray cluster of two processors, to which commands that run in this process connect."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'oodinv[ray]'")
    tests = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tests, tests / "runs"))), prepend=os.pathsep)
        patch.setenv("RAY_worker_niceness", "0")  # workers keep their turn
        patch.setenv("OMP_NUM_THREADS", "1")  # sums are rounded the same in every process
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()
