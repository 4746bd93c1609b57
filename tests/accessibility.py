"""Look at a page as assistive technology does, with axe-core in Chromium."""

import shutil

import pytest

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


def findings(page) -> list[str]:
    """Return what axe-core finds serious or critical on a page, with the elements and the reasons."""
    base = pytest.importorskip("axe_playwright_python.base")
    page.evaluate(base.AXE_SCRIPT)
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']} at {node['target']}: {node['html'][:200]} {node['failureSummary']}"
        for violation in result["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def cut_off(page) -> list[str]:
    """Return the visible controls, images and texts that reach beyond the width of the page or hide their own text.

    What lies in an element that scrolls sideways is not cut off.
    """
    return page.evaluate(
        """() => {
          const wide = document.documentElement.clientWidth, found = [];
          const scrolls = (e) => e && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
          if (document.documentElement.scrollWidth > wide) found.push(`the page is wider than ${wide} pixels`);
          const parts = "button, input, textarea, img, h1, h2, h3, p, td, th, label, li";
          for (const e of document.querySelectorAll(parts)) {
            const box = e.getBoundingClientRect();
            if (!e.checkVisibility({visibilityProperty: true, opacityProperty: true}) || box.width < 2) continue;
            if (scrolls(e.parentElement)) continue;
            if (box.left < -1 || box.right > wide + 1) found.push(`${e.outerHTML.slice(0, 120)} at ${box.left}`);
            if (e.tagName === "BUTTON" && e.scrollWidth > e.clientWidth + 1 && e.innerText.trim())
              found.push(`${e.outerHTML.slice(0, 120)} hides its text`);
          }
          return found;
        }"""
    )
