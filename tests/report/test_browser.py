"""The page in a real browser: it loads without a complaint, sorts, tells and chooses."""

from __future__ import annotations

import shutil

import pytest

from adaptxfer.report.write import write_report

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
    assert shown.count() == 1 and shown.first.inner_text().startswith("i03")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_can_be_read_on_their_colours(open_page, scheme) -> None:
    """Contrast of at least 4.5 to 1 between text and the fullest colours (WCAG 2.2, 1.4.3)."""
    page = open_page(scheme)
    ratios = page.evaluate(
        """() => {
          const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
          const light = (colour) => {
            canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
              .map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          return ["more", "less"].map((name) => {
            const cell = document.querySelector(".heat td[style]");
            cell.className = name; cell.style.setProperty("--v", "1.00");
            const style = getComputedStyle(cell);
            const [a, b] = [light(style.backgroundColor), light(style.color)].sort();
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          });
        }"""
    )
    assert min(ratios) >= 4.5, ratios


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
