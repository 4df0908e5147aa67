"""The built book as a reader meets it: in a browser, without a network (`make site-test`)."""

import re
from urllib.parse import quote

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from conftest import HTML, PICTURES

from tools.stage import pages as pages_of_the_contents

# What the theme or Markdown itself causes, with the reason; everything else that axe finds is ours to mend.
ALLOWED = {
    "label-content-name-mismatch": "the theme's search buttons are named 'Search', and show 'Search Ctrl + K'",
    "region": "the theme puts its skip link and its back-to-top button outside the landmarks",
    "empty-table-header": "Markdown knows no table without a header row, and pandas leaves corner cells empty",
}

BUILT = sorted(
    path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts
)
PAGES = [name for name in BUILT if name.startswith("chapters/")] + ["search.html"]
CHAPTERS = [name for name in PAGES if re.match(r"chapters/\d\d_", name)]
LISTINGS = [name for name in BUILT if name not in PAGES]


def picture(name: str, kind: str):
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES / f"{name.removesuffix('.html').replace('/', '-')}-{kind}.png"


def accessibility_violations(page, **options) -> list[str]:
    """Run axe on the page as it is now; one line for each violation that the list above does not explain."""
    page.evaluate(AXE_SCRIPT)
    found = page.evaluate(
        "options => axe.run(document, {resultTypes: ['violations'], preload: false, ...options})", options
    )
    lines = []
    for each in found["violations"]:
        if each["id"] not in ALLOWED:
            node = each["nodes"][0]
            why = " ".join(check["message"] for check in node["any"] + node["all"] + node["none"])
            lines.append(
                f"{each['id']} ({each['impact']}, {len(each['nodes'])} x) at {node['target'][0]}: {why}"
            )
    return lines


def maths_problems(page) -> list[str]:
    """What MathJax left alone or did not understand."""
    left = page.evaluate(
        "() => [...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container'))"
        ".map(e => e.textContent.slice(0, 60))"
    )
    wrong = page.locator("mjx-merror, [data-mjx-error]")
    messages = [wrong.nth(n).get_attribute("data-mjx-error") for n in range(wrong.count())]
    text = page.locator("body").evaluate(
        "e => { const c = e.cloneNode(true); c.querySelectorAll('pre, code, script, style, mjx-container')"
        ".forEach(x => x.remove()); return c.textContent; }"
    )
    raw = re.findall(r"\$[^$\n]*\\[a-zA-Z]+[^$\n]*\$", text)
    return [f"maths left as TeX: {each}" for each in left + raw] + [f"MathJax: {each}" for each in messages]


def sideways(page) -> list[str]:
    """The elements that make a page wider than its window."""
    wide = page.evaluate(
        "() => document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll('body *')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 5).map(e => e.outerHTML.slice(0, 80))"
    )
    return [f"scrolls sideways on a phone: {each}" for each in wide]


def test_there_is_something_to_look_at():
    assert {f"{page}.html" for page in pages_of_the_contents(HTML.parents[1])} <= set(BUILT)


@pytest.mark.parametrize("name", PAGES)
def test_page(name, server, visit):
    """Light, dark and on a phone: nothing from outside, no console error, maths, accessibility."""
    seen = visit(server + name)
    page, found = seen.page, maths_problems(seen.page)
    page.screenshot(path=picture(name, "light"), full_page=True)
    found += accessibility_violations(page)

    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "document.documentElement.dataset.theme === 'dark'"
    )  # it follows the reader's system
    page.screenshot(path=picture(name, "dark"), full_page=True)
    contrast = accessibility_violations(page, runOnly=["color-contrast"])
    found += [f"dark: {each}" for each in contrast]

    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 844})
    page.screenshot(path=picture(name, "phone"), full_page=True)
    found += sideways(page)
    assert found + seen.outside + seen.errors == []


@pytest.mark.parametrize("name", LISTINGS)
def test_listing(name, server, visit):
    """Source code and indices, which Sphinx writes: they load by themselves and fit a phone."""
    seen = visit(server + name, width=390)
    assert sideways(seen.page) + seen.outside + seen.errors == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_slider_changes_its_picture_by_keyboard_and_by_mouse(name, server, visit):
    seen = visit(server + name)
    sliders = seen.page.locator("figure.mtl-slider")
    assert sliders.count() > 0, "a chapter has a figure that moves"
    for number in range(sliders.count()):
        figure = sliders.nth(number)
        control, frames = figure.locator("input[type=range]"), figure.locator(".mtl-frame:visible")
        assert control.get_attribute("aria-label") or control.get_attribute("aria-labelledby")

        def state(figure=figure, frames=frames):
            assert frames.count() == 1, "exactly one frame shows"
            assert frames.bounding_box()["height"] > 50, "and it is a picture"
            return (
                frames.get_attribute("data-index"),
                frames.inner_html(),
                figure.locator("output").inner_text(),
            )

        control.scroll_into_view_if_needed()
        control.focus()
        control.press("Home")
        first = state()
        control.press("ArrowRight")
        second = state()
        assert all(a != b for a, b in zip(first, second, strict=True)), (
            f"slider {number}: the arrow key moves nothing"
        )
        box = control.bounding_box()
        seen.page.mouse.click(box["x"] + 0.97 * box["width"], box["y"] + box["height"] / 2)
        third = state()
        assert all(a != b for a, b in zip(first, third, strict=True)), (
            f"slider {number}: the mouse moves nothing"
        )
        seen.page.mouse.move(box["x"] + 0.97 * box["width"], box["y"] + box["height"] / 2)
        seen.page.mouse.down()
        seen.page.mouse.move(box["x"] + 0.03 * box["width"], box["y"] + box["height"] / 2, steps=5)
        seen.page.mouse.up()
        assert state() == first, f"slider {number}: dragging does not lead back"
    assert seen.errors == []


def search(visit, address: str) -> None:
    seen = visit(address + "search.html?q=norm")
    seen.page.locator("#search-results li a").first.wait_for()
    assert any("norm" in text.lower() for text in seen.page.locator("#search-results li").all_inner_texts())
    # Extracts below the results are fetched, which browsers refuse to pages from the disk; the results are there.
    refused = ("Access to fetch at 'file://", "Failed to load resource: net::ERR_FAILED (file://")
    if address.startswith("file:"):
        refused += ("Failed to fetch",)  # the same refusal, as the theme's script meets it
    assert seen.outside + [each for each in seen.errors if not each.startswith(refused)] == []


def test_search_finds_a_word(server, visit):
    search(visit, server)


def test_search_starts_from_any_page(server, visit):
    page = visit(server + CHAPTERS[0]).page
    page.keyboard.press("Control+k")
    page.keyboard.type("gradient")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=gradient*")
    page.locator("#search-results li a").first.wait_for()


@pytest.mark.parametrize("name", ["index.html", *CHAPTERS])
def test_from_the_disk(name, visit):
    """Without any server, as unpacked from an archive."""
    seen = visit((HTML / name).as_uri())
    assert maths_problems(seen.page) == []
    if seen.page.locator("figure.mtl-slider").count():
        figure = seen.page.locator("figure.mtl-slider").first
        figure.locator("input[type=range]").press("End")
        assert figure.locator(".mtl-frame:visible").get_attribute("data-index") != "0"
    assert (seen.outside, seen.errors) == ([], [])


def test_search_works_from_the_disk(visit):
    search(visit, HTML.as_uri() + "/")


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_colab_button_opens_this_notebook(name, server, visit):
    target = (
        visit(server + name)
        .page.locator("a[href*='colab.research.google.com/github']")
        .first.get_attribute("href")
    )
    assert target.endswith("/blob/main/" + quote(name.replace(".html", ".ipynb")))


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_page_is_light_enough_to_load_in_a_second_or_two(name):
    assert (HTML / name).stat().st_size < 3_000_000, "fewer or smaller frames in its sliders"
