"""Draw docs/page.png: the page with the synthetic case, segmented with the bundled weights.

PYTHONPATH=tests python docs/picture.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from support.browser import start_browser, visit
from support.running_service import serve_in_process

HEIGHT = 1000


def main() -> None:
    """Segment the synthetic case on the page, and take a picture of its result beside the ground truth."""
    with (
        TemporaryDirectory() as folder,
        serve_in_process(Path(folder)) as service,
        start_browser() as browser,
        visit(browser, service.address) as visited,
    ):
        page = visited.page
        page.set_viewport_size({"width": 1280, "height": HEIGHT})
        visited.open()
        page.click("#phantom")
        visited.wait_for_result()
        page.check("input[name=modality][value=FLAIR]")
        page.check("input[name=source][value='prediction truth']")
        page.wait_for_selector("#viewers[data-drawn='FLAIR prediction truth']")
        page.evaluate("() => document.querySelector('#result').scrollIntoView()")
        page.screenshot(path=Path(__file__).with_name("page.png"))


if __name__ == "__main__":
    main()
