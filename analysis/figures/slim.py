"""SVG as matplotlib writes it, without what nobody sees."""

from __future__ import annotations

import re


def slim(svg: str) -> str:
    """The SVG without comments, metadata, empty groups and identities that nothing refers to; series have theirs."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="series-(\d+)">', r'<g data-s="\1">', svg)
    svg = re.sub(r'<g id="behind-(\d+)">', r'<g class="behind" data-s="\1">', svg)
    used = {old: n for n, old in enumerate(dict.fromkeys(re.findall(r'(?:href="|url\()#([^")]+)', svg)))}
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="i{used[found[1]]}"' if found[1] in used else "", svg)
    svg = re.sub(r'(href="|url\()#([^")]+)', lambda found: f"{found[1]}#i{used[found[2]]}", svg)
    svg = re.sub(r"<[^>]*>", _short, svg, flags=re.DOTALL)
    svg = re.sub(r">\s+<", "><", svg)
    while (less := re.sub(r"<g( [^>]*)?(/>|></g>)", "", svg)) != svg:
        svg = less
    return svg


def _short(tag: re.Match[str]) -> str:
    """A tag with its numbers to a hundredth of a point; what is written between tags stays as it is."""
    text = re.sub(r"(\d\.\d{2})\d+", r"\1", tag[0])
    text = re.sub(r"(\.\d*?)0+(?=[\s\"])", lambda zeros: zeros[1].rstrip("."), text)
    text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)
    text = re.sub(r' style="[^"]*"', lambda style: re.sub(r"([:;]) ", r"\1", style[0]), text)
    return re.sub(r' d="([^"]*)"', lambda path: f' d="{_path(path[1])}"', text)


def _path(words: str) -> str:
    """A path's ``M 1 2 L 3 4 L 6 5`` as ``M1 2l2 2 3 1``: the same places, each told from the one before."""
    found, before, last = "", (0, 0), ""
    for letter, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", words):
        values = [round(100 * float(number)) for number in numbers.split()]
        here = (values[-2], values[-1]) if values else before
        if letter == "L":
            values = [here[0] - before[0], here[1] - before[1]]
        told = " ".join(f"{value / 100:g}" for value in values)
        found += f" {told}" if letter == last == "L" else f"{letter.lower() if letter == 'L' else letter}{told}"
        before, last = here, letter
    return found.replace(" -", "-")
