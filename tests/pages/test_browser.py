"""The rendered book in a real browser: every page, at desktop and phone width, light and dark."""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import pytest
import scorecard

from actde_nb.paths import SOURCES

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

VIEWS = {
    f"{width}-{scheme}": {"viewport": {"width": pixels, "height": 900}, "color_scheme": scheme}
    for width, pixels in (("desktop", 1400), ("phone", 390))
    for scheme in ("light", "dark")
}

# The theme's own script declares a constant twice on pages with code; nothing depends on it.
HARMLESS = ("THEBE_JS_URL",)

FINDINGS = """() => {
  const found = [];
  const say = (what, element) => found.push(what + ': ' + (element.textContent || '').trim().slice(0, 80));
  for (const e of document.querySelectorAll('.math')) if (!e.querySelector('mjx-container')) say('not typeset', e);
  for (const e of document.querySelectorAll('mjx-merror, [data-mjx-error]')) say('equation error', e);
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) found.push(`page is ${page.scrollWidth} px wide`);
  for (const e of document.querySelectorAll('article div.math')) {
    if (e.scrollWidth > e.clientWidth + 1) say(`equation is ${e.scrollWidth} of ${e.clientWidth} px wide`, e);
  }
  // A wide table scrolls in a box of its own, which must itself be in view.
  const scrolls = e => {
    const box = e.closest('.pst-scrollable-table-container');
    if (!box || !['auto', 'scroll'].includes(getComputedStyle(box).overflowX)) return false;
    return box.getBoundingClientRect().right <= page.clientWidth + 1;
  };
  for (const e of document.querySelectorAll('article img, article table, article p')) {
    if (scrolls(e)) continue;
    const box = e.getBoundingClientRect();
    const over = Math.round(box.right - page.clientWidth);
    if (box.width > 0 && over > 0) say(`${e.tagName} sticks out by ${over} px`, e);
  }
  for (const e of document.querySelectorAll('article img'))
    if (!e.complete || e.naturalWidth === 0) found.push('image did not load: ' + e.src);
  return found;
}"""


# One element for each look, not seen on an earlier page: colours and letters on the same backgrounds have one contrast.
LOOKS = """seen => {
  const fresh = [];
  const backgrounds = e => e ? getComputedStyle(e).backgroundColor + backgrounds(e.parentElement) : '';
  for (const e of document.querySelectorAll('body *')) {
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!text || e.closest('mjx-container, .math') || !e.getClientRects().length) continue;
    const look = getComputedStyle(e);
    const key = [look.color, look.opacity, look.fontSize, look.fontWeight, backgrounds(e)].join();
    if (seen.includes(key)) continue;
    seen.push(key); fresh.push(key); e.setAttribute('data-look', '');
  }
  return fresh;
}"""
# A page of each kind, for what does not depend on what a page says: colours, marks of tables, figures and code.
KINDS = (
    "intro.html", "02_finite_reinforcement.html", "10_a_small_language.html", "21_your_own_model.html",
    "scorecard.html", "changes.html", "glossary.html", "bibliography.html", "api.html", "summary.html", "404.html",
)  # fmt: skip
ACCESSIBILITY = """async ([context, options]) => {
  const result = await axe.run(context, {resultTypes: ['violations'], ...options});
  const found = result.violations.filter(v => ['serious', 'critical'].includes(v.impact));
  return found.flatMap(v => v.nodes.map(n => `${v.id}: ${n.target}: ${n.failureSummary}`));
}"""


@pytest.fixture(scope="module")
def address(html: Path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *args):
            pass  # a page that is closed early hangs up on its last downloads

    server = Server(("127.0.0.1", 0), functools.partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield chromium
        chromium.close()


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_is_whole(view: str, html: Path, address: str, browser):
    """In the dark a page of each kind."""
    pages = sorted({path.name for path in html.glob("*.html")} - {"index.html"})  # which only leads to the intro
    assert set(KINDS) < set(pages)
    faults, scheme = [], VIEWS[view]["color_scheme"]
    context = browser.new_context(**VIEWS[view])
    context.route(
        lambda url: not url.startswith((address, "data:", "blob:")),
        lambda route: (faults.append(f"request to {route.request.url}"), route.abort()),
    )
    for name in pages if scheme == "light" else KINDS:
        page = context.new_page()
        messages = []
        page.on("console", lambda m, to=messages: to.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error, to=messages: to.append(str(error)))
        page.on("requestfailed", lambda r, to=messages: to.append(f"failed: {r.url}"))
        page.goto(f"{address}/{name}", wait_until="load")
        if page.evaluate("window.MathJax !== undefined"):
            page.evaluate("MathJax.startup.promise")
        page.evaluate("document.fonts.ready")
        if page.evaluate("document.documentElement.dataset.theme") != scheme:
            faults.append(f"{name}: does not follow the {scheme} scheme")
        faults += [f"{name}: {m}" for m in messages if not any(h in m for h in HARMLESS)]
        faults += [f"{name}: {finding}" for finding in page.evaluate(FINDINGS)]
        page.close()
    context.close()
    assert not faults, "\n".join(faults)


def test_search_finds_a_chapter(address: str, browser):
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=telescoping")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    found = page.locator("#search-results li a").all_inner_texts()
    page.close()
    assert any("reinforcement" in title.lower() for title in found), found


def test_the_scorecard_shows_what_is_chosen_by_address_and_by_keyboard(html: Path, browser):
    rows = scorecard.load(SOURCES / "scorecard")
    refuted = [row for row in rows if row["verdict"] == "refuted"]
    of_the_post = [row for row in refuted if row["work"] == "post"]
    assert 0 < len(of_the_post) < len(refuted)
    confirmed = next(row["id"] for row in rows if row["verdict"] == "confirmed")
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.route("**/mathjax/**", lambda route: route.abort())  # not what is asked here, and most of the time
    address = (html / "scorecard.html").as_uri()
    count = "[...document.querySelectorAll('tr .marks')].filter(m => m.closest('tr').getClientRects().length).length"

    def shown() -> int:
        number = page.evaluate(count)
        assert page.get_by_role("status").inner_text() == f"{number} of {len(rows)} rows are shown."
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        return number

    page.goto(f"{address}#verdict=refuted&source=post&chapter=none", wait_until="domcontentloaded")
    assert shown() == len(of_the_post)
    page.get_by_role("button", name="Show all rows").press("Enter")
    assert shown() == len(rows)
    page.get_by_label("Verdict").focus()
    page.keyboard.press("ArrowDown")  # to the first of the verdicts
    assert shown() == len(refuted)
    assert page.url == f"{address}#verdict=refuted"
    assert page.get_by_role("heading", name="Confirmed").count() == 0, "a heading without rows is out of view"
    page.evaluate(f"location.hash = '{scorecard.anchor(confirmed)}'")  # a link to a row out of view ends the choice
    page.wait_for_function(f"{count} === {len(rows)}")
    page.close()


@pytest.fixture
def opened(html: Path, browser):
    """Opens a page from the disk, and says at the end if it asked for anything that does not lie there."""
    context = browser.new_context(viewport=VIEWS["desktop-light"]["viewport"], reduced_motion="reduce")
    faults = []

    def open_page(name: str):
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on(
            "request", lambda r: faults.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None
        )
        page.on("requestfailed", lambda r: faults.append(f"failed: {r.url}"))
        page.on("pageerror", lambda e: faults.append(str(e)) if not any(h in str(e) for h in HARMLESS) else None)
        page.goto(f"{html.as_uri()}/{name}.html", wait_until="domcontentloaded", timeout=60_000)
        return page

    yield open_page
    context.close()
    assert not faults, faults


def test_a_slider_moved_by_keys_changes_the_sentences(opened):
    page = opened("10_a_small_language")
    figure = page.locator("#fig-best-sentences")
    slider, sentences = figure.get_by_role("slider", name="KL coefficient β"), figure.locator("ol .text")
    slider.focus()
    slider.press("Home")
    assert "5: gold 0.4" in slider.get_attribute("aria-valuetext")
    before = sentences.all_inner_texts()
    assert len(before) == 8
    slider.press("End")
    assert slider.get_attribute("aria-valuetext").startswith("0.005: gold 0.9")
    assert set(sentences.all_inner_texts()) - set(before), "other sentences"
    initial, now = figure.locator(".interactive-numbers tr").last.locator("td").all_inner_texts()
    assert int(now.replace(",", "")) < int(initial.replace(",", "")) / 5, "effective sentences"


def test_a_switch_shows_the_other_baseline(opened):
    page = opened("02_finite_reinforcement")
    figure = page.locator("#fig-two-baselines")
    told, drawn = figure.locator(".interactive-told"), figure.locator("path.curve").first
    ordinary = told.inner_text(), drawn.get_attribute("d")
    figure.get_by_role("radio", name="v(s)").focus()
    page.keyboard.press("ArrowRight")
    assert figure.get_by_role("radio", name="q(s, a)").is_checked()
    assert "gap 0.5" in told.inner_text()
    assert "gap 0.5" not in ordinary[0]
    assert drawn.get_attribute("d") != ordinary[1]
    figure.get_by_role("slider", name="Episode").press("Home")
    assert told.inner_text().startswith("Before the first episode.")
    assert figure.get_by_role("button", name="Play").count() == 0, "nothing moves by itself for who asked for that"


def test_points_of_a_frontier_say_their_numbers(opened):
    page = opened("11_ppo_awr_apa")
    figure = page.locator("#fig-plane-numbers")
    points, tip = figure.locator(".mark"), figure.locator(".interactive-tip")
    points.first.focus()
    first = tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert "effective sentences" in tip.inner_text()
    assert tip.inner_text() != first
    assert tip.inner_text() == page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_a_link_under_the_keyboard_previews_its_target(opened):
    page = opened("02_finite_reinforcement")
    preview = page.get_by_role("tooltip")
    page.keyboard.press("Tab")  # from here on the browser knows that the keyboard is in use
    for target, told in (
        ("glossary.html#term-policy", "policy"),  # on another page
        ("#thm-telescoping", "Telescoping"),  # on this one
        ("01_one_reward_for_ever.html#equation-eq-value-error", "(1.1)"),
        ("bibliography.html", "Mode collapse in RL"),
    ):
        link = page.locator(f"article p a.reference.internal[href^='{target}']").first
        link.focus()
        preview.filter(has_text=told).wait_for()
        assert link.get_attribute("aria-describedby") == preview.get_attribute("id")
        page.keyboard.press("Escape")
        preview.wait_for(state="hidden")
        assert link.get_attribute("aria-describedby") is None


def test_without_its_script_a_figure_is_a_table(html: Path, browser):
    page = browser.new_page(java_script_enabled=False)
    page.goto(f"{html.as_uri()}/10_a_small_language.html", wait_until="domcontentloaded", timeout=60_000)
    table = page.locator("#fig-best-sentences table")
    assert table.is_visible()
    assert "initial policy" in table.inner_text()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_kind_of_page_has_a_serious_fault_for_people_with_disabilities(scheme: str, address: str, browser):
    """By the rules of axe-core; in dark only colours."""
    script = pytest.importorskip("axe_playwright_python.base").AXE_SCRIPT
    contrast = {"runOnly": ["color-contrast"]}
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "rules": {"color-contrast": {"enabled": False}}}
    faults, seen = [], []
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme=scheme)
    context.route("**/mathjax/**", lambda route: route.abort())  # its own care, and slow; equations stay as text
    for name in KINDS:
        page = context.new_page()
        page.goto(f"{address}/{name}", wait_until="load")
        fresh = page.evaluate(LOOKS, seen)
        seen += fresh
        page.evaluate(script)
        asked = [("[data-look]", contrast)] if fresh else []
        asked += [("html", rules)] if scheme == "light" else []
        faults += [f"{name}: {fault}" for one in asked for fault in page.evaluate(ACCESSIBILITY, one)]
        page.close()
    context.close()
    assert len(seen) > 10
    assert not faults, "\n".join(faults)
