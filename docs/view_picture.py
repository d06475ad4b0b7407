"""Photographs the live page: `python docs/view_picture.py` runs `demo --view` → docs/images/view.png; with the name of
a recording or depth file it runs `view FILE` → docs/images/view_file.png.

It needs Debian's `chromium` and the Python package `playwright`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pictures import keep
from PIL import Image
from playwright.sync_api import Page, sync_playwright

COMMAND = Path(sys.executable).with_name("sweepdepth")
SETTLING_S = 60
"""Seconds until the plots have content; files have no plots."""


def photograph(page: Page, url: str, target: Path, file: bool) -> None:
    """Open the page, wait until it has settled, and save a screenshot."""
    page.goto(url)
    page.get_by_text("frame 3 of" if file else "Live from").wait_for()
    page.wait_for_timeout(1e3 * (5 if file else SETTLING_S))
    for close in page.get_by_role("alert").get_by_role("button").all():
        close.click()  # a note that graphics are computed in software here
    if file:
        page.get_by_label("Play frames").uncheck()
    else:
        page.get_by_label("Play").uncheck()
        # Not with the arrow keys, which would move the view as well.
        slider = page.get_by_text("Bin", exact=True).get_attribute("for")
        page.locator(f'[id="{slider}"]').locator("xpath=following::input[1]").fill("6")
    page.mouse.move(800, 1000)  # away from elements with tooltips
    page.wait_for_timeout(5000)
    page.screenshot(path=target)


def main() -> None:
    files = sys.argv[1:]
    name = "view_file" if files else "view"
    command = [COMMAND, "view", *files] if files else [COMMAND, "demo", "--view"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as shown:
        assert shown.stderr is not None
        url = shown.stderr.readline().split("the live page is at ")[1].split()[0]
        with sync_playwright() as playwright:
            software = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
            root = ["--no-sandbox"] if os.getuid() == 0 else []
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*software, *root])
            page = browser.new_page(viewport={"width": 1600, "height": 1060})
            page.set_default_timeout(300_000)
            with tempfile.TemporaryDirectory() as folder:
                taken = Path(folder) / "view.png"
                photograph(page, url, taken, file=bool(files))
                with Image.open(taken) as picture:
                    keep(name, picture)
            browser.close()
        shown.terminate()


if __name__ == "__main__":
    main()
