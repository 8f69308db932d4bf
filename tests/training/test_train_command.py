"""`oodinv train` as a process: stopped by signals, resumed, read without a terminal, given bad photos."""

import json
import os
import select
import signal
import time
from pathlib import Path

import pytest
import yaml
from command import MAIN, call_here, smooth_crops, start

from oodinv.cli.training_progress import stopping_on_signals

RECIPE = {
    "kind": "stylegan2",
    "name": "test",
    "licence": "none",
    "data": {"folder": "nowhere", "size": 16, "aligned": True},
    "schedule": {"steps": 100000, "batch": 4, "learning_rate": 1e-3, "log_every": 1, "precision": "float32",
                 "checkpoint_every": 100000, "evaluate_every": 100000},
    "channels": {4: 8, 8: 8, 16: 8},
    "w_dim": 16,
    "z_dim": 16,
    "mapping_layers": 2,
    "adversarial": {"weight": 1.0, "channels": {4: 8, 8: 8, 16: 8}},
}  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    smooth_crops(folder, 40)
    (folder / "broken.png").write_bytes(b"no picture")
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


def steps_logged(log: Path) -> list[int]:
    return [json.loads(line)["step"] for line in log.read_text().splitlines()] if log.is_file() else []


@pytest.mark.slow
def test_signals_save_a_checkpoint_and_say_how_to_resume(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["train", "generator", "--recipe", str(tmp_path / "test.yaml"), "--data", str(photos), "-o", str(out)]
    reached = 0
    for number, more in ((signal.SIGTERM, []), (signal.SIGINT, ["--resume", "--json"])):
        process = start(*arguments, "--device", "cpu", *more)
        deadline = time.monotonic() + 300
        while len(steps_logged(out / "log.jsonl")) < reached + 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 128 + number, stderr
        last = steps_logged(out / "log.jsonl")[-1]
        assert f"stopped after step {last}; the checkpoint is saved" in stderr
        assert f"--data {photos} -o {out} --device cpu" in stderr
        assert stderr.rstrip().endswith("--resume")
        assert f"step {reached + 1}/100000" in stderr
        assert " left  adversarial" in stderr
        assert "1 photos are left out" in stderr
        assert "broken.png" in stderr
        assert (out / "checkpoint.pt").is_file()
        assert last > reached
        reached = last
    summary = json.loads(stdout)
    assert (summary["stopped"], summary["step"]) == (True, reached)
    assert [Path(photo["input"]).name for photo in summary["left_out"]] == ["broken.png"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
def test_a_closed_terminal_saves_a_checkpoint(photos: Path, tmp_path: Path) -> None:
    import pty

    out = tmp_path / "out"
    arguments = ["train", "generator", "--recipe", str(tmp_path / "test.yaml"), "--data", str(photos), "-o", str(out)]
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, which tests may run under, has it ignored
        os.execv(MAIN[0], [*MAIN, *arguments, "--device", "cpu"])
    deadline = time.monotonic() + 300
    while len(steps_logged(out / "log.jsonl")) < 2 and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            os.read(terminal, 65536)
    os.close(terminal)  # sends SIGHUP
    time.sleep(0.2)
    os.kill(process, signal.SIGHUP)  # as a shell does for its jobs
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert (out / "checkpoint.pt").is_file()
    assert (out / "model/test.yaml").is_file()


@pytest.mark.parametrize(("number", "heard"), [("SIGINT", True), ("SIGTERM", True), ("SIGHUP", False)])
def test_only_a_hangup_may_be_ignored(number: str, heard: bool) -> None:
    """SIGINT is ignored in jobs that a script starts in the background, SIGHUP by nohup."""
    name = getattr(signal, number)
    previous = signal.signal(name, signal.SIG_IGN)
    try:
        with stopping_on_signals(quiet=True) as request:
            os.kill(os.getpid(), name)
            assert request.signal == (name if heard else 0)
        assert signal.getsignal(name) is signal.SIG_IGN
    finally:
        signal.signal(name, previous)


def test_a_damaged_checkpoint_is_named_with_the_way_out(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "checkpoint.pt").write_bytes(b"torn")
    done = call_here("train", "generator", "--recipe", tmp_path / "test.yaml", "--data", photos, "-o", out, "--resume")
    assert done.returncode == 1
    assert str(out / "checkpoint.pt") in done.stderr
    assert "--restart" in done.stderr
    assert "Traceback" not in done.stderr
