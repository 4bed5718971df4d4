"""The variants of an engine, one for each kind of CPU, and which of them runs here.

A build with ``LLAMASMITH_CPU=dispatch`` leaves ``variants.json`` beside the modules: what each variant needs, from the
least to the best. What CPU and operating system offer is read by ``src/machine/cpu.c``. Only the chosen module is ever
opened: the code that a library runs when it is opened may already use what the CPU lacks.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from .errors import BuildError, EngineError, InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Choice", "Variant", "best", "choose", "explain", "read_variants"]

_ENVIRONMENT = "LLAMASMITH_CPU_VARIANT"
_NAME = re.compile(r"[\w.]+")


@dataclass(frozen=True)
class Variant:
    """One module of an engine, and the features that its code uses."""

    name: str
    path: Path
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The variant that runs, whether the environment asked for it, and what the CPU offers, by which it was chosen."""

    variant: Variant
    asked_for: bool
    features: Mapping[str, str]
    """Feature -> ``usable``, ``barred`` (the CPU has it, the operating system has not switched it on) or ``absent``."""


def read_variants(folder: Path) -> tuple[tuple[Variant, ...], dict[str, str]]:
    """The variants in an engine's folder, from the least to the best, and why others were not built.

    Nothing if the engine is a single module. Raises BuildError if the list cannot be read.
    """
    file = folder / "variants.json"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        variants = tuple(
            Variant(str(row["name"]), folder / row["file"], tuple(map(str, row["needs"]))) for row in record["variants"]
        )
        left_out = {str(name): str(why) for name, why in record["left_out"].items()}
    except FileNotFoundError:
        return (), {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise BuildError(f"{file} cannot be read ({error}). Install llamasmith anew.") from error
    for variant in variants:
        # The list chooses among files of this folder, and nothing else.
        if not _NAME.fullmatch(variant.name) or variant.path.name != f"libggml-cpu-{variant.name}.so":
            raise BuildError(f"{file} names the variant {variant.name!r} in {variant.path}. Install llamasmith anew.")
        if variant.path.parent != folder:
            raise BuildError(f"{file} names a file of another folder, {variant.path}. Install llamasmith anew.")
    if not variants:
        raise BuildError(f"{file} lists no variant. Install llamasmith anew.")
    return variants, left_out


def lacking(variant: Variant, features: Mapping[str, str]) -> tuple[str, ...]:
    """What the variant needs and cannot have here. A feature that nobody knows counts as missing."""
    return tuple(need for need in variant.needs if features.get(need) != "usable")


def best(variants: Sequence[Variant], features: Mapping[str, str]) -> Variant | None:
    """The best variant that runs here."""
    return next((variant for variant in reversed(variants) if not lacking(variant, features)), None)


def choose(variants: Sequence[Variant], features: Mapping[str, str], environment: Mapping[str, str]) -> Choice:
    """The variant to load: the one that ``LLAMASMITH_CPU_VARIANT`` names, else the best.

    Raises InvalidOption for a name that was not built, EngineError if the CPU cannot run it, or can run none.
    """
    asked = environment.get(_ENVIRONMENT)
    if asked is None:
        variant = best(variants, features)
        if variant is None:
            least = variants[0]
            raise EngineError(
                f"No variant of the engine runs on this CPU: even {least.name} needs "
                f"{_why_not(least, features)}. Build the package on this machine, with LLAMASMITH_CPU=native."
            )
        return Choice(variant, False, features)
    by_name = {variant.name: variant for variant in variants}
    if asked not in by_name:
        close = get_close_matches(asked, by_name, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InvalidOption(f"{_ENVIRONMENT} is {asked!r}.{hint} Allowed: {', '.join(by_name)}.")
    if lacking(by_name[asked], features):
        found = best(variants, features)
        advice = f"the best that it can run is {found.name}" if found else "it can run none"
        raise EngineError(
            f"{_ENVIRONMENT} is {asked!r}, which this machine cannot run: it needs "
            f"{_why_not(by_name[asked], features)}. Unset it, or choose another; {advice}."
        )
    return Choice(by_name[asked], True, features)


def refuse_without_variants(engine: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raises InvalidOption if a variant is asked for of an engine that has none."""
    asked = environment.get(_ENVIRONMENT)
    if asked is not None:
        raise InvalidOption(
            f"{_ENVIRONMENT} is {asked!r}, but the engine {engine} is a single module. Unset it; "
            f"variants are built with LLAMASMITH_CPU=dispatch."
        )


def explain(choice: Choice, variants: Sequence[Variant], left_out: Mapping[str, str]) -> str:
    """Why this variant, in a sentence or two: what keeps the next better one from running."""
    names = [variant.name for variant in variants]
    above = variants[names.index(choice.variant.name) + 1 :]
    text = f"{_ENVIRONMENT} asks for it" if choice.asked_for else "the best that runs here"
    found = best(variants, choice.features)
    if found is not None and found.name != choice.variant.name:
        text += f"; {found.name} is better and would run"
    impossible = [variant for variant in above if lacking(variant, choice.features)]
    # The next one, and the best that the CPU could run if the system let it: that can be mended.
    told = impossible[:1] + [each for each in reversed(impossible) if _only_barred(each, choice.features)][:1]
    for variant in dict.fromkeys(told):
        text += f"; {variant.name} needs {_why_not(variant, choice.features)}"
    if not above:
        text += "; none that was built is better"
    for name, why in left_out.items():
        text += f"; {name} was not built: {why}"
    return text


def _only_barred(variant: Variant, features: Mapping[str, str]) -> bool:
    return all(features.get(name) == "barred" for name in lacking(variant, features))


def _why_not(variant: Variant, features: Mapping[str, str]) -> str:
    missing = lacking(variant, features)
    barred = [name for name in missing if features.get(name) == "barred"]
    absent = [name for name in missing if features.get(name) != "barred"]
    parts = []
    if absent:
        parts.append(f"{', '.join(absent)}, which this CPU does not have")
    if barred:
        parts.append(f"{', '.join(barred)}, which the operating system (or the virtual machine) has not switched on")
    return "; and ".join(parts)
