"""matplotlib figures as SVG that lies inside a page: it takes the page's colours and fonts, and no id is used twice."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from ..extra import need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from xml.etree.ElementTree import Element

__all__ = ["Labels", "colour", "inline_svg", "plain_rules"]

_VARIABLES = ("ink", "muted", "line", "band", "shade", "paper", "arm-aa", *(f"arm-{index}" for index in range(8)))
_KEPT = ("d", "x", "y", "x1", "y1", "x2", "y2", "width", "height", "points", "transform", "viewBox", "text-anchor")
_STYLES = ("fill", "fill-opacity", "opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray")


def colour(variable: str) -> str:
    """A stand-in that matplotlib takes for a colour; in the page it is the style sheet's ``--variable``."""
    return f"#a110{_VARIABLES.index(variable):02x}"


class Labels:
    """Texts that matplotlib never sees: it would look for mathematics in them, and miss glyphs that a browser has."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def __call__(self, text: str) -> str:
        """A stand-in for `text`."""
        self._texts.append(text)
        return f"~{len(self._texts) - 1}~"

    def of(self, stand_in: str) -> str:
        """What stands for itself is returned as it is."""
        found = re.fullmatch(r"~(\d+)~", stand_in)
        return stand_in if found is None else self._texts[int(found[1])]


@contextmanager
def plain_rules() -> Iterator[None]:
    """matplotlib's own defaults, whatever the user has configured; the same figure gives the same SVG."""
    matplotlib = need("matplotlib")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "llamasmith", "text.parse_math": False})
        yield


def inline_svg(figure: Any, prefix: str, description: str, labels: Labels, titles: Mapping[str, Sequence[str]]) -> str:
    """The figure as an ``<svg>`` element. `prefix` begins its ids; `titles` are those of a series' points, by gid."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    names = _names(root, prefix)
    clean = _element(root, names, labels, titles)
    assert clean is not None
    clean.attrib = {
        "class": "plot",
        "viewBox": clean.attrib["viewBox"],
        "role": "img",
        "aria-label": printable(description),
    }
    return ElementTree.tostring(clean, encoding="unicode", short_empty_elements=True)


def printable(text: str) -> str:
    """`text` without the characters that no markup may hold, not even escaped."""
    return "".join(char if char >= " " and not "\ud800" <= char <= "\udfff" else "\ufffd" for char in text)


def _names(root: Element, prefix: str) -> dict[str, str]:
    """Short names for those ids that something refers to."""
    used = dict.fromkeys(link for element in root.iter() if (link := _link(element)))
    return {link: f"{prefix}-{index}" for index, link in enumerate(used)}


def _link(element: Element) -> str:
    return next((value[1:] for name, value in element.attrib.items() if name.endswith("href")), "")


def _element(
    element: Element, names: Mapping[str, str], labels: Labels, titles: Mapping[str, Sequence[str]]
) -> Element | None:
    """A lean copy of what draws something; None for what does not."""
    tag = str(element.tag).rpartition("}")[2]
    if tag in ("metadata", "style"):
        return None
    copy = ElementTree.Element(tag, {name: _rounded(element.attrib[name]) for name in _KEPT if name in element.attrib})
    if element.get("id") in names:
        copy.set("id", names[element.attrib["id"]])
    if link := _link(element):
        copy.set("href", f"#{names[link]}")
    if style := _style(element.get("style", ""), tag):
        copy.set("style", style)
    if tag == "text":
        if copy.get("transform", "").startswith("rotate(-0 "):
            del copy.attrib["transform"]
        copy.text = printable(labels.of(element.text or ""))
    children = [_element(child, names, labels, titles) for child in element]
    copy.extend([child for child in children if child is not None])
    if (own := titles.get(element.get("id", ""))) is not None:
        _add_titles(copy, own)
    if tag == "defs" and not len(copy):
        return None
    if tag == "g" and not copy.attrib:
        return _lifted(copy)
    return copy


def _lifted(group: Element) -> Element | None:
    """The only child of a group that says nothing itself."""
    return group[0] if len(group) == 1 else group if len(group) else None


def _add_titles(group: Element, titles: Sequence[str]) -> None:
    """One for each point, in their order; the points' common look moves to the group."""
    points = list(group.iter("use"))
    for point, title in zip(points, titles, strict=True):
        ElementTree.SubElement(point, "title").text = printable(title)
    looks = {point.get("style", "") for point in points}
    if len(looks) == 1:
        group.set("style", looks.pop())
        for point in points:
            point.attrib.pop("style", None)


def _style(style: str, tag: str) -> str:
    """Colours become variables; fonts but their size and weight are the page's."""
    kept = {}
    for part in style.split(";"):
        name, _, value = (piece.strip() for piece in part.partition(":"))
        if name in _STYLES:
            kept[name] = re.sub(r"#a110([0-9a-f]{2})", lambda found: f"var(--{_VARIABLES[int(found[1], 16)]})", value)
        elif name in ("font", "font-size", "font-weight"):
            if size := re.search(r"([\d.]+)px", value):
                kept["font-size"] = f"{float(size[1]):g}px"
            if re.search(r"\bbold\b|\b700\b", value):
                kept["font-weight"] = "600"
        elif name == "text-anchor" and tag == "text":
            kept[name] = value
    if kept.get("fill") == "var(--paper)" and tag == "text":
        kept["stroke"] = "none"  # on a bar it needs no halo of the paper's colour
    return ";".join(f"{name}:{value}" for name, value in kept.items())


def _rounded(text: str) -> str:
    """Coordinates in hundredths of a pixel."""
    return re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text)
