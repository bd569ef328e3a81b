"""A browser on the page of a running service, which watches for errors and for requests to other hosts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

from playwright.sync_api import Browser, Page, Request, sync_playwright

from service.web import page_routes

CHROMIUM = which("chromium")
AXE = Path(page_routes.FOLDER).parent / "node_modules" / "axe-core" / "axe.min.js"
HAS_BROWSER = bool(CHROMIUM) and AXE.is_file() and page_routes.FOLDER.is_dir()
PICTURES = Path("build/page")  # to look at after a run
DRAWING_TIMEOUT_MS = 90_000  # graphics are computed on the CPU
REFUSED = "Failed to load resource"  # how Chromium reports any response that is an error
SOFTWARE_GRAPHICS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@dataclass
class Visit:
    """A visit to the page of a service."""

    page: Page
    address: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self, fragment: str = "") -> None:
        """Load the page."""
        self.page.goto(f"{self.address}/{fragment}")

    def send(self, case: Path) -> None:
        """Choose a zip and send it."""
        self.page.set_input_files("#files", case)
        self.wait_for_text("#case-text", "The case is complete.")
        self.page.click("#send")

    def text(self, selector: str) -> str:
        """The text of an element."""
        return self.page.inner_text(selector)

    def wait_for_result(self) -> None:
        """Wait until the result and its images are there."""
        self.page.wait_for_selector("#viewers[data-drawn]", timeout=DRAWING_TIMEOUT_MS)

    def wait_for_text(self, selector: str, text: str) -> None:
        """Wait until an element is visible and contains a text."""
        self.page.locator(selector, has_text=text).wait_for(timeout=DRAWING_TIMEOUT_MS)

    def save_picture(self, name: str) -> None:
        """Keep a picture of the whole page."""
        self.page.evaluate("() => scrollTo(0, 0)")  # or the header, which stays in sight, is in the middle
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)

    def accessibility_violations(self) -> list[str]:
        """What axe-core finds against WCAG 2.2 AA, and its best practices."""
        self.page.evaluate(AXE.read_text())
        return self.page.evaluate(
            """async () => (await axe.run()).violations.flatMap(
                 ({id, nodes}) => nodes.map(({target, failureSummary}) => `${id} ${target}: ${failureSummary}`))"""
        )

    def tab_to(self, selector: str) -> None:
        """Press the tabulator key until an element has the focus."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} cannot be reached by keyboard")

    def check_quiet(self) -> None:
        """Assert that nothing failed and that no other host was contacted."""
        assert not self.foreign
        assert not self.errors


@contextmanager
def start_browser() -> Iterator[Browser]:
    """Debian's Chromium, with graphics computed on the CPU."""
    with sync_playwright() as playwright:
        # The sandbox needs a user namespace, which containers often forbid; the browser sees only this service.
        options = {"executable_path": CHROMIUM, "chromium_sandbox": False, "args": SOFTWARE_GRAPHICS}
        browser = playwright.chromium.launch(**options)
        yield browser
        browser.close()


@contextmanager
def visit(browser: Browser, address: str, width: int = 1280, **options: object) -> Iterator[Visit]:
    """A visit that must end without an error and without a request to another host."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    found = Visit(context.new_page(), address)
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    found.page.on(
        "console",
        lambda message: message.type == "error" and REFUSED not in message.text and found.errors.append(message.text),
    )
    found.page.on("request", lambda request: _is_own(request, address) or found.foreign.append(request.url))
    yield found
    found.check_quiet()
    context.close()


def _is_own(request: Request, address: str) -> bool:
    return request.url.startswith((f"{address}/", "data:", f"blob:{address}/"))
