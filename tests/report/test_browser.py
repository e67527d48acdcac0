"""The page in a real browser: it loads without a complaint, sorts, tells and chooses."""

from __future__ import annotations

import shutil

import pytest

from adaptxfer.report.gather import gather
from adaptxfer.report.write import write_report
from tests.folders import add_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    if not CHROMIUM:
        pytest.skip("the browser tests need chromium (Debian package chromium)")
    with sync.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(simulated, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("page with spaces")
    write_report(simulated, folder, ("html",))
    return (folder / "report.html").as_uri()


@pytest.fixture
def open_page(browser, address):
    """Opens the page; complaints fail the test at its end."""
    contexts, complaints = [], []

    def make(scheme: str = "light", width: int = 1200, script: bool = True):
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 800}, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: None if request.url == address else complaints.append(request.url))
        page.goto(address)
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


def texts(page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def test_sorting_by_a_column(open_page, simulated) -> None:
    page = open_page()
    column = 2
    head = page.locator("#gains .heat").first.locator("thead th").nth(column - 1)
    for direction, backwards in (("descending", True), ("ascending", False)):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == direction
        shown = texts(page, f"#gains .heat >> nth=0 >> tbody td:nth-child({column})")
        values = [float(text.rstrip("+-?·")) for text in shown]
        assert values == sorted(values, reverse=backwards) and len(values) == 4


def test_pointing_at_a_cell_and_walking_with_the_keys(open_page, simulated) -> None:
    page = open_page()
    told = [spot.told for _, spots in simulated.gains[0].maps[0].rows for spot in spots]
    cell = page.locator("#gains .heat td").first
    cell.hover()
    assert page.locator("#tip").inner_text() == told[0]
    page.mouse.move(0, 0)
    cell.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text() == told[1]
    page.keyboard.press("ArrowDown")
    assert page.locator("#tip").inner_text() == told[5]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == told[5]
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_choosing_an_intermediate_task(open_page) -> None:
    page = open_page()
    shown = page.locator(".choice:visible caption")
    assert shown.count() == 1
    page.locator(".chooser select").select_option(index=2)
    assert shown.count() == 1 and shown.first.text_content().startswith("i03")  # inner_text is empty until it is drawn


CONTRAST = """([selectors, against]) => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const light = (colour) => {
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
      .map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "white";
  };
  const cells = document.querySelectorAll(".heat td[style]");
  ["more", "less"].forEach((name, place) => {
    cells[place].className = name; cells[place].style.setProperty("--v", "1.00");
  });
  return selectors.flatMap((selector) => [...document.querySelectorAll(selector)].slice(0, 12).map((element) =>
    [selector, ratio(getComputedStyle(element)[against], behind(element))]));
}"""
"""The ratio of luminances (WCAG 2.2) between what a selector finds and what is behind it."""
TEXT = ["td", "th", "caption", ".note", ".claims b", "a", "dt", "dd", "h2", "summary", "footer", ".banner", ".legend"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_what_is_behind_it(open_page, scheme) -> None:
    """At least 4.5 to 1 (1.4.3), on the fullest colours of a map too."""
    found = open_page(scheme).evaluate(CONTRAST, [TEXT, "color"])
    assert {"td", ".claims b"} <= {selector for selector, _ in found}
    assert [pair for pair in found if pair[1] < 4.5] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_stand_out(browser, runs, tmp_path, scheme) -> None:
    """At least 3 to 1 (1.4.11), each with a pattern of its own and in words below."""
    for seed in range(2, 8):
        add_run(runs, "intermediate", "nli", seed)
    write_report(gather([runs], resamples=100), tmp_path / "out", ("html",))
    page = browser.new_page(color_scheme=scheme)
    page.goto((tmp_path / "out" / "report.html").as_uri())
    found = page.evaluate(CONTRAST, [[".panels figure > svg path"], "stroke"])
    assert len({ratio for _, ratio in found}) == 6 and min(ratio for _, ratio in found) >= 3
    looks = page.locator(".panels figure > svg path").evaluate_all(
        "all => all.map(one => one.getAttribute('style') + one.getAttribute('stroke-dasharray'))"
    )
    assert len(looks) == len(set(looks)) == 7
    page.locator(".panels summary").first.click()
    assert page.locator(".panels li:visible").count() == 7
    page.close()


@pytest.mark.parametrize("width", [390, 1200])
def test_only_tables_scroll_sideways(open_page, width) -> None:
    page = open_page(width=width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_scripts_everything_is_there(open_page) -> None:
    page = open_page(script=False)
    assert page.locator(".choice:visible").count() == 4
    assert page.locator(".chooser:visible").count() == 0
    assert page.locator("#gains .heat td").first.get_attribute("title")


def test_paper_shows_every_map(open_page) -> None:
    page = open_page()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator(".choice:visible").count() == 4
    assert page.locator("nav").is_hidden()


def test_a_table_that_goes_on_to_the_right_fades_out_there(open_page) -> None:
    page = open_page(width=360)
    wide = page.locator("#gains .scroll").first
    fade = "element => getComputedStyle(element).getPropertyValue('--fade')"
    assert wide.evaluate("element => element.scrollWidth > element.clientWidth")
    assert wide.evaluate(fade) == "40px"
    wide.evaluate("element => element.scrollTo(element.scrollWidth, 0)")
    page.wait_for_function(f"element => ({fade})(element) === '0px'", arg=wide.element_handle())
    assert open_page(width=2400).locator("#gains .scroll").first.evaluate(fade) == "0px"
