from __future__ import annotations

import re
from html.parser import HTMLParser

from adaptxfer.report.gather import gather
from adaptxfer.report.page import render_page
from tests.folders import add_run

HOSTILE = "<img src=x onerror=alert(1)>&\"'</script>"

VOID = {"meta", "img", "br", "circle", "path"}


class Outline(HTMLParser):
    """Checks that tags close in order, and collects them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def outline(page: str) -> Outline:
    found = Outline()
    found.feed(page)
    assert found.open == []
    return found


def test_every_tag_closes_and_nothing_is_fetched(simulated) -> None:
    page = render_page(simulated)
    seen = outline(page).seen
    assert not [attributes for _, attributes in seen if {"src", "href"} & attributes.keys()
                and not str(attributes.get("href", "")).startswith("#")]  # fmt: skip
    assert "http" not in re.sub(r"http-equiv", "", page)
    ids = [attributes["id"] for _, attributes in seen if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_gain_has_a_cell_with_its_sentence(simulated) -> None:
    titles = [a["title"] for tag, a in outline(render_page(simulated)).seen if tag == "td" and a.get("title")]
    matrix = simulated.gains[0].matrix
    assert len(titles) == len(matrix.cells) + len(matrix.overall) + len(matrix.by_language) + len(matrix.cells)


def test_names_cannot_become_markup(tmp_path) -> None:
    add_run(tmp_path, "evaluate", "weather", 1, how="none", model=HOSTILE)
    add_run(tmp_path, "evaluate", "weather", 2, intermediates=[HOSTILE], model=HOSTILE)
    page = render_page(gather([tmp_path], resamples=100))
    assert "<img" not in page and page.count("</script>") == 1
    assert "&lt;img" in page
    outline(page)


def test_curves_have_a_text_alternative(runs) -> None:
    seen = outline(render_page(gather([runs], resamples=100))).seen
    (label,) = [a["aria-label"] for tag, a in seen if tag == "svg" and a.get("role") == "img"]
    assert "intermediate: nli, 1 run" in label and "best dev score 200.0" in label
