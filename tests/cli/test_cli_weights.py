"""`oodinv weights`: what it prints, its exit status, and that it starts without torch."""

import contextlib
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from command import MAIN
from safetensors.torch import save_file
from typer.testing import CliRunner

from oodinv.cli.weights import app
from oodinv.weights.catalog import ROWS
from oodinv.weights.checksum import sha256_file
from oodinv.weights.families import build_generator
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate

run = CliRunner()


class Touch:
    """Unpickled by the standard library, runs a command that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_list_has_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODINV_CACHE", str(tmp_path))
    (tmp_path / "ffhq.pkl").write_bytes(b"x")
    text = run.invoke(app, ["list"])
    assert text.exit_code == 0
    for row in ROWS:
        assert row.name in text.stdout
        alone = run.invoke(app, ["list", row.name]).stdout
        assert row.licence in alone
        assert (row.sha256 or "not on record") in alone
    rows = json.loads(run.invoke(app, ["list", "--json"]).stdout)["weights"]
    assert [row["name"] for row in rows] == [row.name for row in ROWS]
    assert {row["name"]: row["path"] for row in rows if row["path"]} == {
        "stylegan2-ada-ffhq": str(tmp_path / "ffhq.pkl")
    }


def test_pull_goes_on_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODINV_CACHE", str(tmp_path))
    (tmp_path / "ffhq.pkl").write_bytes(b"x")
    result = run.invoke(app, ["pull", "e4e-ffhq", "nonsense", "stylegan2-ada-ffhq"])
    assert result.exit_code == 1
    assert result.stdout.split() == ["stylegan2-ada-ffhq", str(tmp_path / "ffhq.pkl")]
    assert "github.com/omertov" in result.stderr
    assert "nonsense: no such weights" in result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="terminals are opened as on Unix")
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_list_fits_the_terminal_and_breaks_no_word(columns: int) -> None:
    import pty
    import struct
    import termios
    from fcntl import ioctl

    main, side = pty.openpty()
    ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "TERMINAL_WIDTH")}
    with subprocess.Popen([*MAIN, "weights", "list"], stdout=side, stderr=side, stdin=side, env=environment) as started:
        os.close(side)
        shown = b""
        with contextlib.suppress(OSError):  # what Linux raises at the end of a terminal
            while block := os.read(main, 1 << 16):
                shown += block
        os.close(main)
    assert started.returncode == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= columns
    words = set(" ".join(lines).split())
    assert {word for row in ROWS for word in (row.name, *row.purpose.split())} <= words


def test_verify_reads_the_nvidia_pickle_whose_source_ends_the_process(shared: Path) -> None:
    path = shared / "golden/nvlabs_ada_64.pkl"
    result = run.invoke(app, ["verify", str(path), "--json"])
    assert result.exit_code == 0
    (report,) = json.loads(result.stdout)["results"]
    assert report["layout"] == "stylegan2-nvidia"
    assert report["container"] == "nvidia-pickle"
    assert report["sizes"] == {"size": 64, "w_dim": 64, "num_ws": 10}
    assert report["parameters"] == sum(tensor.numel() for tensor in read(path).tensors.values())
    assert report["sha256"] == sha256_file(path)
    text = run.invoke(app, ["verify", str(path)]).stdout
    assert "stylegan2-nvidia" in text
    assert sha256_file(path) in text


def test_verify_refuses_os_system_by_name_and_goes_on(shared: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(pickle.dumps({"G_ema": Touch(tmp_path / "mark")}))
    good = shared / "golden/nvlabs_ada_64.pkl"
    result = run.invoke(app, ["verify", str(evil), str(tmp_path / "absent.pt"), str(good)])
    assert result.exit_code == 1
    assert "os.system" in result.stderr
    assert "absent.pt: there is no such file" in result.stderr
    assert "stylegan2-nvidia" in result.stdout
    assert not (tmp_path / "mark").exists()
    results = json.loads(run.invoke(app, ["verify", str(evil), "--json"]).stdout)["results"]
    assert results[0]["file"] == str(evil)
    assert "os.system" in results[0]["error"]


def test_verify_refuses_an_incomplete_network(shared: Path, tmp_path: Path) -> None:
    imported = tmp_path / "g.safetensors"
    run.invoke(app, ["import", str(shared / "golden/nvlabs_ada_64.pkl"), "-o", str(imported)])
    file = read(imported)
    metadata = {name: str(value) for name, value in file.settings.items()}
    tensors = {k: v for k, v in file.tensors.items() if k != "blocks.16.conv.bias"}
    save_file(tensors, tmp_path / "less.safetensors", metadata)
    result = run.invoke(app, ["verify", str(tmp_path / "less.safetensors")])
    assert result.exit_code == 1
    assert "lacks blocks.16.conv.bias" in result.stderr


@pytest.mark.parametrize(
    ("name", "record"),
    [("ffhq.pkl", "named like stylegan2-ada-ffhq"), ("lpips-vgg16.ckpt", "differs"), ("mine.pkl", "not in")],
)
def test_verify_compares_with_the_catalog(name: str, record: str, shared: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes((shared / "golden/nvlabs_ada_64.pkl").read_bytes())
    assert record in run.invoke(app, ["verify", str(tmp_path / name)]).stdout


def test_import_keeps_every_value(shared: Path, tmp_path: Path) -> None:
    source, target = shared / "golden/nvlabs_ada_64.pkl", tmp_path / "g.safetensors"
    result = run.invoke(app, ["import", str(source), "-o", str(target), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["results"][0]["part"] == "generator"
    before = build_generator(translate(read(source))).state_dict()
    after = build_generator(translate(read(target))).state_dict()
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    report = json.loads(run.invoke(app, ["verify", str(target), "--json"]).stdout)["results"][0]
    assert report["layout"] == "oodinv"
    assert report["sizes"] == {"size": 64, "w_dim": 64, "num_ws": 10}


def test_import_says_what_a_file_does_not_hold(shared: Path, tmp_path: Path) -> None:
    source = shared / "golden/nvlabs_ada_64.pkl"
    result = run.invoke(app, ["import", str(source), "-o", str(tmp_path / "x"), "--part", "samm"])
    assert result.exit_code == 1
    assert "no samm to convert" in result.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("arguments", [["pull"], ["verify"], ["import", "x"], ["verify", "--nonsense", "x"]])
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert run.invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize("command", ["list", "pull", "verify", "import"])
def test_help_has_an_example(command: str) -> None:
    assert f"Example: oodinv weights {command}" in run.invoke(app, [command, "--help"]).stdout


def test_neither_help_nor_list_nor_pull_needs_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from oodinv.cli.weights import app;"
        "run = CliRunner().invoke; results = [run(app, args) for args in (['--help'], ['list'], ['pull', 'x'])];"
        "print([r.exit_code for r in results], 'torch' in sys.modules)"
    )
    environment = {**os.environ, "OODINV_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[0, 0, 1] False"
