"""Looks at TensorBoard's HPARAMS page in a real browser, and keeps a screenshot of it.

python .ci/hparams_page.py ADDRESS SCREENSHOT WORD...

Fails if a word is not on the page. Needs chromium, its driver and the package selenium.
"""

import sys
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1600,700"),
    *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# The page is made of elements with insides of their own, which its text does not contain.
ALL_TEXT = """
const parts = (node) => [...(node.shadowRoot ? node.shadowRoot.childNodes : []), ...node.childNodes];
const read = (node) => node.nodeType === Node.TEXT_NODE ? node.data : parts(node).map(read).join(" ");
return read(document.body);
"""


def main(address: str, screenshot: str, words: list[str]) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in FLAGS:
        options.add_argument(flag)
    with webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver")) as browser:
        browser.get(f"{address}/#hparams")
        deadline, missing = time.monotonic() + 60, words
        while missing and time.monotonic() < deadline:
            time.sleep(1)
            text = browser.execute_script(ALL_TEXT)
            missing = [word for word in words if word not in text]
        browser.save_screenshot(screenshot)
    if missing:
        sys.exit(f"not on the HPARAMS page: {', '.join(missing)}")
    print(f"the HPARAMS page shows {', '.join(words)}; {screenshot}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
