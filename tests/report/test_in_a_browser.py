"""The report in a real browser: at three widths, light and dark."""

import pytest
import synthetic

from tf_prune_ofa.report.collect import collect_run
from tf_prune_ofa.report.html import build_report


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    run = collect_run(synthetic.write_run(folder / "quickstart"), about=synthetic.ABOUT)
    return build_report(run, folder / "report.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_a_report_fits_and_shows_its_plots(address, open_page, width, scheme):
    page = open_page(address, width, scheme)
    # Wide tables scroll inside the page; the page itself does not.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shown = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.offsetWidth])")
    assert shown and all(natural > 0 for natural, _ in shown)
    assert max(offset for _, offset in shown) <= width
    # Text and page differ in brightness, whichever the scheme.
    bright = page.evaluate(
        "['color', 'backgroundColor'].map(key => getComputedStyle(document.body)[key])"
        ".map(value => value.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 3)"
    )
    text, ground = bright
    assert abs(text - ground) > 120
    assert (ground < 128) == (scheme == "dark")
