"""Figures as small inline SVG that takes the colour of the page's text.

Matplotlib's SVG is made for files.  In a page it has three faults: its ids collide with those of the next
figure, black text disappears in dark mode, and it is several times larger than it need be.  This module
mends them, and lets the frames of a slider share what they have in common.
"""

import io
import re
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

INK = "currentColor"
"""What black becomes: the colour of the text around the figure."""

SHARED_FROM = 150
"""A part that several frames have in common is moved out of them if it is longer than this many characters."""

_BLACK = re.compile(r"#0{6}\b")
_NUMBER = re.compile(r"-?\d+\.\d+")
_LINK = re.compile(r"url\(#([^)]+)\)")
_UNSEEN = {"metadata", "title", "desc"}


def _rounded(text: str, digits: int) -> str:
    return _NUMBER.sub(lambda match: f"{round(float(match[0]), digits):.10g}", text)


def _path(text: str) -> str:
    return _rounded(re.sub(r" ?([A-Za-z]) ?", r"\1", " ".join(text.split())), 2)


def _tidy(element: ElementTree.Element) -> None:
    """Short numbers, ink instead of black, no namespaces; in place, all descendants."""
    for node in element.iter():
        node.tag = node.tag.rpartition("}")[2]
        node.text = node.tail = None
        for key in list(node.attrib):
            value = node.attrib.pop(key)
            key = key.rpartition("}")[2]
            if key == "d":
                value = _path(value)
            elif key in ("x", "y", "width", "height", "points"):
                value = _rounded(value, 2)
            elif key == "transform":
                value = _rounded(value, 6)
            elif key == "style" or key in ("fill", "stroke"):
                value = _BLACK.sub(INK, value).replace("; ", ";").replace(": ", ":")
            elif value.startswith("data:"):
                value = "".join(
                    value.split()
                )  # pictures: Matplotlib breaks the line, browsers may not like it
            if key not in ("version", "type"):
                node.set(key, value)


def _drop(element: ElementTree.Element, tags: set[str]) -> None:
    for node in list(element.iter()):
        for child in list(node):
            if child.tag in tags or (child.tag in ("g", "defs") and len(child) == 0):
                node.remove(child)


def _references(element: ElementTree.Element) -> set[str]:
    found = set()
    for node in element.iter():
        for key, value in node.attrib.items():
            found.update(_LINK.findall(value))
            if key == "href" and value.startswith("#"):
                found.add(value[1:])
    return found


def parse(fig: Figure) -> ElementTree.Element:
    """Draw a figure and return its SVG as a tidy tree.

    Ids that nothing refers to are dropped; the others are still Matplotlib's.  The same figure gives the
    same tree every time.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
        The figure; it is not closed.

    Returns
    -------
    xml.etree.ElementTree.Element
        The element ``svg``.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> parse(Figure(figsize=(2, 1))).get("viewBox")
    '0 0 144 72'
    """
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "mtl", "savefig.transparent": True}):
        fig.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    tree = ElementTree.fromstring(file.getvalue())
    _tidy(tree)
    # Matplotlib repeats its default style in a <style> element, which would apply to the whole page.
    _drop(tree, {*_UNSEEN, "style"})
    used = _references(tree)
    for node in tree.iter():
        if node.get("id") not in used:
            node.attrib.pop("id", None)
    tree.set("style", "stroke-linejoin:round;stroke-linecap:butt")
    tree.set("fill", INK)  # Matplotlib leaves the fill out where it is black
    return tree


def _rename(element: ElementTree.Element, names: dict[str, str]) -> None:
    for node in element.iter():
        for key, value in node.attrib.items():
            if key == "id":
                node.set(key, names.get(value, value))
            elif key == "href" and value.startswith("#"):
                node.set(key, "#" + names.get(value[1:], value[1:]))
            elif "url(#" in value:
                node.set(key, _LINK.sub(lambda match: f"url(#{names.get(match[1], match[1])})", value))


def _text(element: ElementTree.Element) -> str:
    return ElementTree.tostring(element, encoding="unicode")


def share(frames: Sequence[ElementTree.Element], prefix: str) -> ElementTree.Element:
    """Move what frames have in common into one element, and make all ids begin with `prefix`; in place.

    The letters of the labels, clip paths, axes, grid lines and pictures that appear in several frames are
    kept once, in an ``svg`` of no size that must stand in the page beside the frames.

    Parameters
    ----------
    frames : sequence of Element
        Trees made by :func:`parse`, all of one size for the result to make sense.
    prefix : str
        Unique in the page; letters, digits and hyphens.

    Returns
    -------
    Element
        The ``svg`` that holds the shared parts.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> trees = []
    >>> for height in (1, 2):
    ...     figure = Figure()
    ...     _ = figure.subplots().bar([0, 1], [3, height])
    ...     trees.append(parse(figure))
    >>> before = sum(len(_text(tree)) for tree in trees)
    >>> shared = share(trees, "f1")
    >>> sum(len(_text(tree)) for tree in (shared, *trees)) < before
    True
    """
    store = ElementTree.Element("svg", {"width": "0", "height": "0", "style": "position:absolute"})
    store.set("aria-hidden", "true")
    definitions = ElementTree.SubElement(store, "defs")
    # 1. Everything with an id (letters, markers, clip paths). Equal content gets one name.
    names_of: dict[str, str] = {}
    for frame in frames:
        named = {node.get("id"): node for node in frame.iter() if node.get("id")}
        parents = {child: parent for parent in frame.iter() for child in parent}
        names = {}
        for old, node in named.items():
            node.attrib.pop("id")
            content = _text(node)
            if content not in names_of:
                names_of[content] = f"{prefix}-{len(names_of):x}"
                copy = ElementTree.fromstring(content)
                copy.set("id", names_of[content])
                definitions.append(copy)
            names[old] = names_of[content]
            parent = parents[node]
            place = list(parent).index(node)
            parent.remove(node)
            if parent.tag != "defs":  # it was drawn where it stood, and still must be
                parent.insert(place, ElementTree.Element("use", {"href": f"#{old}"}))
        _rename(frame, names)
        _drop(frame, set())
    # 2. Parts that several frames draw alike, the largest first.
    if len(frames) > 1:
        seen = Counter(text for frame in frames for text in {_text(node) for node in frame.iter()})
        common = {text for text, times in seen.items() if times > 1 and len(text) > SHARED_FROM}

        def replace(node: ElementTree.Element) -> None:
            for place, child in enumerate(list(node)):
                content = _text(child)
                if content not in common:
                    replace(child)
                    continue
                if content not in names_of:
                    names_of[content] = f"{prefix}-{len(names_of):x}"
                    copy = ElementTree.fromstring(content)
                    copy.set("id", names_of[content])
                    definitions.append(copy)
                node[place] = ElementTree.Element("use", {"href": f"#{names_of[content]}"})

        for frame in frames:
            replace(frame)
    return store


def dress(tree: ElementTree.Element, label: str, least_width: int = 0) -> None:
    """Give a tree its size on the page and its name for those who do not see it; in place.

    Parameters
    ----------
    tree : Element
        An ``svg`` made by :func:`parse`.
    label : str
        What the picture shows.
    least_width : int
        Pixels below which it is not squeezed.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> tree = parse(Figure())
    >>> dress(tree, "nothing")
    >>> tree.get("role"), tree.get("aria-label")
    ('img', 'nothing')
    """
    _, _, width, _ = (float(number) for number in tree.get("viewBox").split())
    for key in ("width", "height"):
        tree.attrib.pop(key, None)
    pixels = round(width * 4 / 3)  # the viewBox is in points
    least = f"min-width:{least_width}px;" if least_width else ""
    tree.set("style", f"{tree.get('style')};display:block;width:100%;{least}max-width:{pixels}px;height:auto")
    tree.set("role", "img")
    tree.set("aria-label", label)


def text(tree: ElementTree.Element) -> str:
    """Markup of a tree, to stand in an HTML page.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> text(parse(Figure())).startswith("<svg")
    True
    """
    return _text(tree)
