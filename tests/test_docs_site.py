"""The documentation's site builds without warnings, and loads nothing from other servers."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(find_spec("mkdocs") is None, reason="pip install 'sweepdepth[docs]'")

CHROMIUM = pytest.mark.skipif(
    not Path("/usr/bin/chromium").exists(), reason="Chromium is missing: apt-get install chromium"
)
ROOT_ARGUMENTS = ["--no-sandbox"] if os.getuid() == 0 else []


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr  # not even a hint
    return folder


def test_every_page_is_in_the_navigation(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f'href="{page.stem}.html"' in text or page.stem == "index", page.name


def test_pages_load_nothing_from_elsewhere(site):
    loading = re.compile(
        r'<(?:script|img|iframe|source)\b[^>]*\bsrc="(https?:)?//|<link\b[^>]*href="(https?:)?//[^>]*>'
    )
    for page in site.rglob("*.html"):
        found = [
            match[0] for match in loading.finditer(page.read_text(encoding="utf-8")) if "canonical" not in match[0]
        ]
        assert not found, page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_linked_files_outside_docs_are_copied(site):
    for name in ("stream/wire/schema.json", "examples/node/subscriber.mjs", "examples/cpp/subscriber.cpp"):
        assert (site / "source" / name).read_bytes() == (ROOT / name).read_bytes()
    assert 'href="source/stream/wire/schema.json"' in (site / "wire.html").read_text(encoding="utf-8")


def test_the_reference_has_docstrings(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    for words in ("One monotone pass of the focus", "Receives the frames", "Bin more events of the sweep"):
        assert words in text


def test_pictures_are_small():
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 350_000, picture.name


def test_charts_show_the_numbers_of_their_pages():
    """Charts match the current tables; `python docs/pictures.py charts` redraws them."""
    from PIL import Image

    charts = charts_of_the_pages()
    for name, (draw, page) in charts.CHARTS.items():
        assert f"images/{name}.png" in (ROOT / "docs" / page).read_text(encoding="utf-8"), (
            f"{page} does not show {name}"
        )
        with Image.open(ROOT / "docs" / "images" / f"{name}.png") as picture:
            numbers = picture.info.get("numbers")
        assert numbers == charts.digest(draw()), f"{name}.png is older than {page}: python docs/pictures.py charts"


def test_an_outdated_chart_is_detected(monkeypatch):
    charts = charts_of_the_pages()
    before = charts.digest(charts.rates())
    table = charts.read_table("live.md", "M events/s", "lost")
    monkeypatch.setattr(charts, "read_table", lambda *_: [table[0] | {"age, median": "1 ms"}, *table[1:]])
    assert charts.digest(charts.rates()) != before


def charts_of_the_pages() -> Any:
    spec = spec_from_file_location("charts", ROOT / "docs" / "charts.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_shown_somewhere():
    pages = "".join(page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    config = (ROOT / "mkdocs.yml").read_text()
    for picture in (ROOT / "docs" / "images").iterdir():
        assert f"images/{picture.name}" in pages + config, picture.name


STICKS_OUT = """() => {
    const found = [], width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width) found.push('the page itself is wider than its window');
    for (const part of document.querySelectorAll('.md-content table, .md-content pre, .md-content img')) {
        let scrolls = false;
        for (let above = part; above; above = above.parentElement)
            scrolls ||= ['auto', 'scroll'].includes(getComputedStyle(above).overflowX);
        if (part.getBoundingClientRect().right > width + 1 && !scrolls) found.push(part.outerHTML.slice(0, 80));
    }
    return found;
}"""

BROKEN_WORDS = """() => {
    const found = [], range = document.createRange();
    for (const code of document.querySelectorAll('.md-content table code')) {
        const text = code.firstChild;
        if (code.getClientRects().length < 2 || text?.nodeType !== Node.TEXT_NODE) continue;
        let above = null;
        for (let at = 0; at < text.length; at++) {
            range.setStart(text, at);
            range.setEnd(text, at + 1);
            const box = range.getClientRects()[0];
            if (!box) continue;
            if (above !== null && box.top > above + 5 && /\\w\\w/.test(text.data.slice(at - 1, at + 1)))
                found.push(text.data.slice(0, at) + '|' + text.data.slice(at));
            above = box.top;
        }
    }
    return found;
}"""


@pytest.mark.browser
@CHROMIUM
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "telephone"])
def test_code_and_tables_fit_the_page(site, width):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ROOT_ARGUMENTS)
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(120_000)
        for html in sorted(site.glob("*.html")):
            if html.stem != "404":
                page.goto(f"file://{html}")
                assert page.evaluate(STICKS_OUT) == [], html.name
                assert page.evaluate(BROKEN_WORDS) == [], html.name
        browser.close()


@pytest.mark.browser
@CHROMIUM
def test_search_works_offline(site):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ROOT_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(120_000)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{site}/index.html")
        page.get_by_label("Search", exact=True).first.click()
        page.locator("input[name=query]").press_sequentially("breathing")
        page.locator(".md-search-result__link").first.wait_for()
        found = page.locator(".md-search-result__link").all_inner_texts()
        browser.close()
    assert any("Calibration" in text or "calibration" in text for text in found)
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
