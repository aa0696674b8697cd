"""The system's Chromium as a fixture: what a page looks like, what it complains of, what it fetches.

Playwright drives it. That keeps a loop of asyncio running in its thread, so it has a thread of its own, and tests that
are coroutines never meet it. Where the machine has no browser, who asks for one is skipped: `apt-get install chromium`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Error, Page, Request, sync_playwright

ADVICE = "no Chromium on this machine: apt-get install chromium"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)
ANSWER_MS = 60_000
NARROW = 600    # below, it is a telephone
COLLISIONS = """[...document.querySelectorAll('svg')].flatMap(svg => {
    const paper = svg.getBoundingClientRect(), found = []
    const words = [...svg.querySelectorAll('text')].map(e => [e.textContent, e.getBoundingClientRect()])
    words.forEach(([said, box], place) => {
        if (box.left < paper.left - 1 || box.right > paper.right + 1 || box.top < paper.top - 1 ||
            box.bottom > paper.bottom + 1) found.push(`${svg.ariaLabel}: ${said} leaves the paper`)
        words.slice(0, place).forEach(([other, its]) => {
            if (Math.min(box.right, its.right) - Math.max(box.left, its.left) > 1 &&
                Math.min(box.bottom, its.bottom) - Math.max(box.top, its.top) > 1)
                found.push(`${svg.ariaLabel}: ${said} on ${other}`) }) })
    return found })"""
SMALLEST = """Math.min(...[...document.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect().width /
    svg.viewBox.baseVal.width * parseFloat(getComputedStyle(svg).fontSize)))"""


def program() -> str | None:
    """The browser's path, if there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Sight:
    """A page at a width: `complaints` are what the browser said of it, `fetched` is what it loaded, itself first."""

    def __init__(self, thread: ThreadPoolExecutor, page: Page) -> None:
        self._thread, self._page = thread, page
        self.complaints: list[str] = []
        self.fetched: list[str] = []
        page.set_default_timeout(ANSWER_MS)
        page.on("pageerror", self._failed_script)
        page.on("console", self._said)
        page.on("requestfailed", lambda request: self.complaints.append(f"{request.failure}: {request.url}"))
        page.on("request", self._asked)

    def ask(self, expression: str) -> Any:
        """The value of a script's expression, from outside the page's own policy."""
        return self._do(lambda: self._page.evaluate(expression))

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        self._do(lambda: self._page.screenshot(path=path, full_page=True))

    def printed(self) -> bytes:
        """The page as PDF."""
        return bytes(self._do(lambda: self._page.pdf(print_background=True)))

    def close(self) -> None:
        """No longer shown."""
        self._do(self._page.close)

    def _do(self, work: Callable[[], Any]) -> Any:
        return self._thread.submit(work).result()

    def _failed_script(self, error: Error) -> None:
        self.complaints.append(f"Uncaught {error.name}: {error.message}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        self.fetched.append(request.url)


def collisions(seen: Sight) -> list[str]:
    """Words of drawings that stand on each other or leave their paper."""
    return list(seen.ask(COLLISIONS))


def smallest_words_px(seen: Sight) -> float:
    """How large the smallest text of a drawing is shown."""
    return float(seen.ask(SMALLEST))


Show = Callable[[Path, int], Sight]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Show]:
    """One browser for the whole run; it shows a file at a width."""
    path = program()
    if path is None:
        pytest.skip(ADVICE)
    with ThreadPoolExecutor(1, "chromium") as thread:
        playwright = thread.submit(sync_playwright().start).result()
        try:
            browser = thread.submit(lambda: playwright.chromium.launch(
                executable_path=path, args=[*FLAGS], timeout=ANSWER_MS)).result()

            def opened(file: Path, width: int) -> Sight:
                page = browser.new_page(viewport={"width": width, "height": 900}, is_mobile=width < NARROW)
                sight = Sight(thread, page)
                page.goto(file.resolve().as_uri(), timeout=ANSWER_MS)
                page.evaluate("0")   # an answer comes after all that was said before it
                return sight

            yield lambda file, width: thread.submit(opened, file, width).result()
            thread.submit(browser.close).result()
        finally:
            thread.submit(playwright.stop).result()


@pytest.fixture
def show(chromium: Show) -> Iterator[Show]:
    """Pages of one test, closed after it."""
    sights: list[Sight] = []

    def one_more(file: Path, width: int) -> Sight:
        sights.append(chromium(file, width))
        return sights[-1]

    yield one_more
    for sight in sights:
        sight.close()
