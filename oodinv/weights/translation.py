"""Recognises the layout of a weight file and translates its keys to our parameters.

A layout is a table of rules from the keys of a file to our parameters, under the part that they belong to:
`generator.*`, `encoder.*`, `samm.*`, `lpips.*`, …, and `average` for the average latent. The first rule that
matches a key wins; unknown and missing keys are errors.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from oodinv.errors import UnknownLayout
from oodinv.models import encoders, generators
from oodinv.models.naming import Embedded, Layout, Refuse, Rule, State, each, under
from oodinv.weights import native, rules
from oodinv.weights.reading.read import WeightsFile

Part = Literal["generator", "encoder", "samm", "lpips", "vgg19", "recognition", "inception"]
PARTS: tuple[Part, ...] = get_args(Part)


def layouts() -> tuple[Layout, ...]:
    """Returns all known layouts; a file has the first whose mark matches one of its keys."""
    of_encoders = (layout for family in encoders.ENCODERS for layout in family.layouts)
    of_generators = (layout for family in generators.GENERATORS for layout in family.layouts)
    return (*of_encoders, *of_generators, *rules.LAYOUTS)


def expanded(layout: Layout) -> tuple[Rule, ...]:
    """Returns the rules of a layout, with those of embedded networks inserted."""
    names = {
        "generator": each(family.names for family in generators.GENERATORS),
        "encoder": each(family.names for family in encoders.ENCODERS),
    }
    found: list[Rule] = []
    for rule in layout.rules:
        whole = under(rule.prefix, f"{rule.part}.", names[rule.part]) if isinstance(rule, Embedded) else (rule,)
        found += [one for one in whole if isinstance(one, Rule)]
    return tuple(found)


HINTS: tuple[tuple[str, str], ...] = (
    (r"G_ema\.synthesis\.input\..*", "it holds a StyleGAN3 generator; oodinv has StyleGAN2"),
    (r"G_ema\..*", "it holds an NVIDIA network other than a StyleGAN2 generator"),
    (r"(.*\.)?encoder\..*", "it holds an encoder other than e4e, ReStyle-e4e and Feature-Style"),
    (r"(input_layer|body)\..*|layer1\.0\..*", "it holds a face-recognition network, not an encoder"),
    (r"features\.\d+\..*", "it holds an image classifier"),
)


def summarise(names: Iterable[str], most: int = 5) -> str:
    """Lists the first few names and the number of others."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _has(file: WeightsFile, layout: Layout) -> bool:
    match file.settings.get("opts"):
        case {"encoder_type": encoder_type} if layout.encoder_type not in (None, encoder_type):
            return False
    return any(re.fullmatch(layout.mark, key) for key in file.tensors)


def find_layout(file: WeightsFile) -> Layout | None:
    """Finds the layout of a file; None for oodinv's own files.

    Raises:
        UnknownLayout: no known layout fits.
    """
    if file.settings.get("format") == native.FORMAT:
        return None
    for layout in layouts():
        if _has(file, layout):
            return layout
    hint = next((text for p, text in HINTS if any(re.fullmatch(p, k) for k in file.tensors)), "")
    found = f"its tensors are {summarise(file.tensors)}" if file.tensors else "it holds no tensors"
    known = ", ".join(dict.fromkeys(layout.name for layout in layouts()))
    raise UnknownLayout(
        f"{file.path}: is laid out like no file that oodinv knows ({known}); {hint or found}. Use the file "
        "that the model card names, as its authors published it"
    )


# ---------------------------------------------------------------------------------------------------------
# Translation


@dataclass(frozen=True)
class Translation:
    """Tensors of a file by part, with the keys of our modules; floating-point values are float32.

    average: the average latent in the file, (w_dim,), (1, w_dim) or (num_ws, w_dim).
    notes: values that the file lacks and that were supplied.
    """

    file: WeightsFile
    layout: str
    parts: dict[Part, dict[str, Tensor]]
    average: Tensor | None
    notes: tuple[str, ...] = ()

    def part(self, part: Part) -> dict[str, Tensor]:
        """Returns the state dict of one module.

        Raises:
            UnknownLayout: the file doesn't contain it.
        """
        if part not in self.parts:
            raise UnknownLayout(
                f"{self.file.path}: is a {self.layout} file with {' and '.join(self.parts) or 'nothing'} in "
                f"it, and no {part}; correct the model card"
            )
        return self.parts[part]


def recognise(file: WeightsFile) -> str:
    """Returns the name of a file's layout after checking every key.

    Raises:
        UnknownLayout: as `translate`.
    """
    return translate(file).layout


def translate(file: WeightsFile) -> Translation:
    """Translates the keys of a file to those of our modules.

    Raises:
        UnknownLayout: no layout fits, a key is unknown, or two keys refer to the same parameter.
    """
    layout = find_layout(file)
    if layout is None:
        return Translation(file, "oodinv", {_own_part(file): native.as_float32(file.tensors)}, None)
    renamed = native.as_float32(_rename(file, layout))
    average = renamed.pop("average", None)
    if average is not None and average.ndim not in (1, 2):
        raise UnknownLayout(f"{file.path}: its average latent has shape {tuple(average.shape)}; it was altered")
    parts: dict[Part, dict[str, Tensor]] = {}
    for part in PARTS:
        prefix = f"{part}."
        if state := {k.removeprefix(prefix): v for k, v in renamed.items() if k.startswith(prefix)}:
            parts[part] = state
    notes = _supply(file, parts["generator"]) if "generator" in parts else ()
    return Translation(file, layout.name, parts, average, notes)


def _supply(file: WeightsFile, state: dict[str, Tensor]) -> tuple[str, ...]:
    """Adds buffers that a generator's file may lack; returns notes about them."""
    family = next((f for f in generators.GENERATORS if any(re.fullmatch(f.mark, key) for key in state)), None)
    supplied = None if family is None else family.supplied(state)
    if supplied is None:
        return ()
    state |= supplied.buffers
    return (f"{file.path}: {supplied.note}",)


def _own_part(file: WeightsFile) -> Part:
    part = native.part_of(file.settings.get("kind"))
    if part is None:
        raise UnknownLayout(
            f"{file.path}: holds a {file.settings.get('kind')!r}, which this oodinv doesn't know; update oodinv"
        )
    return part


def _rename(file: WeightsFile, layout: Layout) -> dict[str, Tensor]:
    table = [(re.compile(rule.pattern), rule) for rule in expanded(layout)]
    renamed: dict[str, Tensor] = {}
    unknown = []
    for key, value in _arranged(file, layout).items():
        found = next(((m, rule) for pattern, rule in table if (m := pattern.fullmatch(key))), None)
        if found is None:
            unknown.append(key)
            continue
        match, rule = found
        if isinstance(rule.target, Refuse):
            raise UnknownLayout(f"{file.path}: {rule.target.reason} ({key})")
        transformed = _transformed(file, key, value, rule)
        if isinstance(rule.target, str):
            name = match.expand(rule.target)
            if name in renamed:
                raise UnknownLayout(f"{file.path}: {key} is there twice, under two names; it was altered")
            renamed[name] = transformed
    if unknown:
        raise UnknownLayout(
            f"{file.path}: looks like a {layout.name} file, but its {summarise(unknown)} are unknown; "
            "use the file as its authors published it"
        )
    return renamed


def _arranged(file: WeightsFile, layout: Layout) -> State:
    """Renames the tensors of a file to the keys that the layout's rules use."""
    if layout.arrange is None:
        return file.tensors
    try:
        return layout.arrange(file.tensors, file.settings)
    except ValueError as error:
        raise UnknownLayout(
            f"{file.path}: looks like a {layout.name} file, but {error}; use the file as its authors published it"
        ) from error


def _transformed(file: WeightsFile, key: str, value: Tensor, rule: Rule) -> Tensor:
    if rule.transform is None:
        return value
    try:
        return rule.transform(value)
    except (ValueError, RuntimeError) as error:
        raise UnknownLayout(f"{file.path}: {key} {error}; it was altered, or it is another network") from error
