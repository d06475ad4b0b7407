"""The documentation's site: it builds without a warning, and loads nothing from elsewhere."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(find_spec("mkdocs") is None, reason="pip install 'sweepdepth[docs]'")


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


def test_files_outside_the_documentation_come_along(site):
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


@pytest.mark.browser
@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="Chromium is missing: apt-get install chromium")
def test_search_works_on_files_and_the_browser_asks_nobody_else(site):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=root)
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
