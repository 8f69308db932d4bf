"""A model's networks compiled by a backend. Graphs are converted to ONNX once and stay in the cache folder."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

import oodinv
from oodinv.backends import Backend
from oodinv.backends.base import Graph, Session
from oodinv.backends.graphs import (
    StoredNoise,
    aligned_graph,
    encoder_graph,
    generator_graph,
    reusing_graph,
    tap_keys,
)
from oodinv.backends.onnx_file import OPSET, write_onnx
from oodinv.errors import OodinvError
from oodinv.models.encoders.base import Encoder, Encoding
from oodinv.models.generators.base import Generator, Noise, PhotoNoise
from oodinv.models.samm import Alignment, AlignmentSource, Predicted, Samm
from oodinv.models.synthesis import synthesize_aligned
from oodinv.weights.build import GeneratorModel, Model
from oodinv.weights.checksum import sha256_path
from oodinv.weights.pull import cache_dir

FOLDER = "graphs"
"""Folder of converted graphs below the cache folder."""
TOLERANCE = 1e-3
"""Largest deviation of a backend's results, in standard deviations."""
SMALL = 1e-3
"""Least standard deviation that this refers to."""


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks on the CPU, and a text that changes with anything that changes their results."""

    generator: Generator
    encoder: Encoder | None
    samm: Samm | None
    identity: str


class Compiled:
    """A `Runtime`: one sample at a time, as more gain nothing on a CPU. Random noise is left to PyTorch.

    A graph is converted once and its results compared with PyTorch's before it is put into the cache folder.
    say: is called with a sentence before that, as it takes seconds.
    """

    def __init__(self, backend: Backend, networks: Networks, threads: int, say: Callable[[str], None]) -> None:
        self.name = backend.name
        self._start: Callable[[Path, int], Session] = backend.load().start
        self._networks, self._threads, self._say = networks, threads, say
        self._sessions: dict[str, Session] = {}
        self._lock = Lock()
        packages = " ".join(version(package) for package in backend.packages)
        self._versions = f"{oodinv.__version__} {torch.__version__} {packages} {OPSET}"

    def prepare(self, noise: StoredNoise) -> None:
        """Compiles what inverting or generating needs, so that problems show at once.

        Raises:
            OodinvError: a graph can't be converted. OutputError: the cache can't be written.
        """
        networks = self._networks
        if networks.encoder is not None:
            self._encoder(networks.encoder)
        if networks.encoder is not None and networks.samm is not None:
            self._aligned(networks.encoder, networks.samm, noise, networks.encoder.noise_channels)
        else:
            self._plain(noise, {} if networks.encoder is None else networks.encoder.noise_channels)

    def encode(self, image: Tensor) -> Encoding:
        """As `Encoder.encode`."""
        encoder = self._networks.encoder
        assert encoder is not None
        w_plus, *found = _run(self._encoder(encoder), [image])
        keys = tap_keys(encoder, self._networks.samm)
        features, noise = found[: len(keys)], found[len(keys) :]
        return Encoding(
            w_plus, dict(zip(keys, features, strict=True)), dict(zip(encoder.noise_channels, noise, strict=True))
        )

    def synthesize(
        self, w_plus: Tensor, source: AlignmentSource | None, noise: Noise | PhotoNoise
    ) -> tuple[Tensor, dict[int, Alignment]]:
        """As `synthesize_aligned`."""
        encoder, generator, samm = self._networks.encoder, self._networks.generator, self._networks.samm
        shared, offsets = noise if isinstance(noise, PhotoNoise) else (noise, dict[int, Tensor]())
        if shared != "fixed" and shared != "zero":
            return synthesize_aligned(generator, w_plus, source, noise)
        noisy = {key: offsets[key].shape[1] for key in sorted(offsets)}
        maps = [offsets[key] for key in noisy]
        if source is None:
            return _run(self._plain(shared, noisy), [w_plus, *maps])[0], {}
        if isinstance(source, Predicted):
            if source.samm is not samm or source.sizes is not None or encoder is None:
                return synthesize_aligned(generator, w_plus, source, noise)
            keys = tap_keys(encoder, samm)
            features = [source.features[key] for key in keys]
            picture, *found = _run(self._aligned(encoder, samm, shared, noisy), [w_plus, *features, *maps])
            pairs = zip(keys, found[::2], found[1::2], strict=True)
            return picture, {key: Alignment(flow, mask) for key, flow, mask in pairs}
        known = dict(source.alignments)
        keys = sorted(known)
        if not keys:
            return _run(self._plain(shared, noisy), [w_plus, *maps])[0], {}
        tensors = [tensor for key in keys for tensor in (known[key].flow, known[key].mask)]
        return _run(self._reusing(keys, shared, noisy), [w_plus, *tensors, *maps])[0], known

    # Sessions

    def _encoder(self, encoder: Encoder) -> Session:
        networks = self._networks
        return self._session("encoder", lambda: encoder_graph(encoder, networks.generator, networks.samm))

    def _plain(self, noise: StoredNoise, noisy: Mapping[int, int]) -> Session:
        generator = self._networks.generator
        return self._session(_named("generator", noise, noisy), lambda: generator_graph(generator, noise, noisy))

    def _aligned(self, encoder: Encoder, samm: Samm, noise: StoredNoise, noisy: Mapping[int, int]) -> Session:
        generator = self._networks.generator
        name = _named("aligned", noise, noisy)
        return self._session(name, lambda: aligned_graph(encoder, generator, samm, noise, noisy))

    def _reusing(self, keys: list[int], noise: StoredNoise, noisy: Mapping[int, int]) -> Session:
        generator = self._networks.generator
        name = _named("-".join(("reusing", *map(str, keys))), noise, noisy)
        return self._session(name, lambda: reusing_graph(generator, keys, noise, noisy))

    def _session(self, name: str, make: Callable[[], Graph]) -> Session:
        with self._lock:
            if name not in self._sessions:
                digest = hashlib.sha256(f"{self._versions} {self._networks.identity} {name}".encode()).hexdigest()
                path = cache_dir() / FOLDER / f"{self.name}-{name}-{digest[:16]}.onnx"
                if path.is_file():
                    self._sessions[name] = self._start(path, self._threads)
                else:
                    self._say(f"converting a network for {self.name}, once for this model: {path}")
                    self._sessions[name] = self._converted(make(), path)
            return self._sessions[name]

    def _converted(self, graph: Graph, path: Path) -> Session:
        """Converts a graph and checks it.

        Raises:
            OodinvError: it can't be converted, or its results are not PyTorch's. OutputError: `path` can't be written.
        """
        unchecked = path.with_suffix(f".{os.getpid()}.onnx")
        write_onnx(graph, unchecked)
        try:
            session = self._start(unchecked, self._threads)
            check(graph, session, f"{self.name} with {path}")
            unchecked.replace(path)
        finally:
            unchecked.unlink(missing_ok=True)
        return session


def _named(network: str, noise: StoredNoise, noisy: Mapping[int, int]) -> str:
    """Name of a generator's graph with a kind of noise, and the keys and channels of photos' noise."""
    return "-".join((network, noise, *(f"noise{key}x{channels}" for key, channels in noisy.items())))


def check(graph: Graph, session: Session, what: str) -> None:
    """Compares a compiled graph with PyTorch on the graph's examples.

    Raises:
        OodinvError: an output differs by more than `TOLERANCE` standard deviations.
    """
    with torch.inference_mode():
        expected = graph.network(*graph.inputs.values())
    found = session([tensor.numpy() for tensor in graph.inputs.values()])
    for name, theirs, ours in zip(graph.outputs, found, expected, strict=True):
        spread = max(float(ours.std()), SMALL)
        deviation = float((torch.from_numpy(theirs) - ours).abs().max()) / spread
        if not deviation <= TOLERANCE:
            raise OodinvError(
                f"{what}: {name} differs from PyTorch's by {deviation:.1e} standard deviations; use --backend torch"
            )


def _run(session: Session, inputs: list[Tensor]) -> list[Tensor]:
    """Runs a batch, sample by sample."""
    arrays = [tensor.detach().float().contiguous().numpy() for tensor in inputs]
    samples = [session([array[i : i + 1] for array in arrays]) for i in range(len(arrays[0]))]
    if len(samples) == 1:
        return [torch.from_numpy(array) for array in samples[0]]
    return [torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*samples, strict=True)]


def compile_model(model: Model, backend: Backend, noise: StoredNoise, say: Callable[[str], None]) -> Model:
    """The same model with its networks run by a backend, on as many threads as PyTorch uses.

    Raises:
        OodinvError: a network can't be converted.
    """
    identity = f"{model.card.model_dump_json()} {sorted(model.sha256.items())}"
    networks = Networks(model.generator, model.encoder, model.samm, identity)
    return replace(model, runtime=_prepared(backend, networks, noise, say))


def compile_generator(
    model: GeneratorModel, backend: Backend, noise: StoredNoise, say: Callable[[str], None]
) -> Compiled:
    """A generator run by a backend, like `compile_model`."""
    identity = f"{model.card.model_dump_json()} {sha256_path(model.file)}"
    return _prepared(backend, Networks(model.generator, None, None, identity), noise, say)


def _prepared(backend: Backend, networks: Networks, noise: StoredNoise, say: Callable[[str], None]) -> Compiled:
    compiled = Compiled(backend, networks, torch.get_num_threads(), say)
    compiled.prepare(noise)
    return compiled
