"""The page in a real browser: it opens from a file, filters, unfolds, obeys keys, and can be read by everybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.report.html.page import html
from reconciler.report.review import of_comparison
from tests.backends.browser import Browser
from tests.report.repos import DEFAULTS, compared, evil_review, repo

pytestmark = pytest.mark.browser

SHOWN = "[...document.querySelectorAll('#changes > li')].filter(row => row.offsetParent).length"
ROWS = "[...document.querySelectorAll('#matrix tbody tr')].filter(row => row.offsetParent).length"
OPEN = "[...document.querySelectorAll('.detail')].filter(page => page.offsetParent).map(page => page.id).join()"

# Every text against what is painted behind it, as WCAG 2.1 (1.4.3) has it: 4.5 to 1, or 3 to 1 where it is large.
CONTRAST = """(() => {
  const part = (value) => { const c = value / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3]));
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const bad = [];
  let seen = 0;
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.offsetParent || ["SCRIPT", "STYLE"].includes(node.tagName)) continue;
    const style = getComputedStyle(node), back = behind(node);
    const [one, other] = [light(over(parse(style.color), back)), light(back)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    seen += 1;
    const what = `${ratio.toFixed(2)} ${node.tagName}.${node.className} ${node.textContent.slice(0, 30)}`;
    if (ratio < (large ? 3 : 4.5)) bad.push(what);
  }
  return { seen, bad };
})()"""


@pytest.fixture(name="browser", scope="module")
def a_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(name="page", scope="module")
def a_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sites: a bump everywhere, a file that changes in one, a new service, one that goes."""
    sites = ("aws", "dori", "jgi")
    after = DEFAULTS.replace('app: "1.0"', 'app: "1.1"')
    after = after.replace("  reader: {component: app, command: sleep 3, files: [secret.conf]}", "") + (
        "  other: {component: app, command: sleep 9, env: {A: b}}\n"
    )
    changes = {"desired/defaults.yaml": after, "desired/sites/jgi.yaml": "vars: {level: DEBUG}\n"}
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(of_comparison(compared(repo(*sites), repo(*sites, changes=changes)))))
    return path


def opened(browser: Browser, page: Path, width: int = 1280, *, dark: bool = False) -> Browser:
    browser.complaints.clear()
    browser.requests.clear()
    browser.look(width, dark=dark)
    browser.open(page)
    return browser


def test_it_opens_from_a_file_without_network_or_complaint(browser: Browser, page: Path) -> None:
    opened(browser, page)
    assert browser.run("document.title").startswith("reconcile diff")
    assert browser.run(SHOWN) == browser.run("document.querySelectorAll('.detail').length") > 3
    assert browser.requests == [page.as_uri()]
    assert browser.complaints == []


def test_search_and_kinds_narrow_the_list_and_the_matrix(browser: Browser, page: Path) -> None:
    opened(browser, page)
    whole, rows = browser.run(SHOWN), browser.run(ROWS)
    browser.press("/")
    browser.type("other")
    browser.wait(f"{SHOWN} === 1 && {ROWS} === 1")
    browser.type(" nothing-like-it")
    browser.wait(f"{SHOWN} === 0 && !document.querySelector('#none').hidden")
    browser.press("Escape")
    browser.wait(f"{SHOWN} === {whole} && {ROWS} === {rows}")
    browser.run("document.querySelector('.chip.update').click()")
    browser.wait(f"{SHOWN} === document.querySelectorAll('#changes > li:not([data-kind=update])').length")
    assert 0 < browser.run(SHOWN) < whole
    assert browser.complaints == []


def test_keys_lead_to_the_page_of_a_change_and_back(browser: Browser, page: Path) -> None:
    opened(browser, page)
    browser.press("j")
    browser.wait("document.activeElement.hash")
    first = browser.run("document.activeElement.hash.slice(1)")
    browser.run("document.activeElement.click()")
    browser.wait(f"{OPEN} === '{first}' && !document.querySelector('#overview').offsetParent")
    lines = "[...document.querySelectorAll('.detail.on .diff tr')].filter(row => row.offsetParent).length"
    assert browser.run(lines) > 2, "its files are shown, line by line"
    browser.press("j")
    browser.wait(f"{OPEN} && {OPEN} !== '{first}'")
    browser.press("k")
    browser.wait(f"{OPEN} === '{first}'")
    browser.press("Escape")
    browser.wait(f"{OPEN} === '' && document.querySelector('#overview').offsetParent")
    browser.press("?")
    browser.wait("document.querySelector('#help').open")
    browser.run("document.querySelector('#help').close()")
    browser.run("document.querySelector('details.file summary').click()")
    assert browser.run("document.querySelector('details.file').open")
    assert browser.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_it_can_be_read(width: int, dark: bool, browser: Browser, page: Path) -> None:
    opened(browser, page, width, dark=dark)
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    for hash_ in ("", "#c1"):
        browser.run(f"location.hash = '{hash_}'")
        browser.wait(f"{OPEN} === '{hash_[1:]}'")
        found = browser.run(CONTRAST)
        assert (found["seen"] > 20, found["bad"]) == (True, [])
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
    browser.run("location.hash = ''")
    browser.run("document.querySelector('#theme').click()")
    assert browser.run("document.documentElement.dataset.theme") == ("light" if dark else "dark")
    assert browser.run(CONTRAST)["bad"] == []
    browser.run("document.querySelector('#theme').click()")
    browser.run("localStorage.clear()")


def test_nothing_that_others_wrote_runs(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "evil.html"
    path.write_text(html(evil_review()))
    opened(browser, path, 390)
    browser.run("for (const page of document.querySelectorAll('.detail')) location.hash = page.id")
    assert browser.run("document.querySelectorAll('script').length") == 1
    assert browser.run("document.querySelectorAll('img, iframe, [onerror]').length") == 0
    assert browser.requests == [path.as_uri()]
    assert browser.complaints == []
