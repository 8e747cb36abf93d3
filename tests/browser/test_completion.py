"""The menu that Tab opens in JupyterLab on the lines of `%%smr` and `%smr`."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),  # of the browser's driver
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


def menu(lab: Any, typed: str) -> set[str]:
    """Type into the second cell in place of what is there, press Tab, and return what the menu offers, in an order of Lab's own."""
    lab.cell(1).locator(".cm-content").click()
    lab.page.keyboard.press("Control+A")
    lab.page.keyboard.type(typed)
    lab.page.keyboard.press("Tab")
    lab.page.locator(".jp-Completer-match").first.wait_for()
    return set(lab.page.locator(".jp-Completer-match").all_inner_texts())


def test_tab_offers_options_values_and_variables(lab: Any) -> None:
    lab.write("%load_ext smr_notebook\ndata = range(40)\ndata_frame = [1]", "")
    lab.run(0)
    lab.page.locator(".jp-InputPrompt", has_text="[1]:").wait_for()
    assert menu(lab, "%%smr data --in") == {"--input", "--into", "--include"}
    assert menu(lab, "%%smr data --on-error ") >= {"fail", "skip", "collect"}  # behind a blank, Lab adds all words of the cell
    assert menu(lab, "%%smr da") == {"data", "data_frame"}
    assert not menu(lab, "%%smr data --max-cost ") & {"and", "if", "print"}  # but an empty word
    lab.page.keyboard.press("Escape")
    assert menu(lab, "%smr c") == {"cancel", "cost", "clean", "config"}
    lab.page.keyboard.press("Enter")
    assert lab.cell(1).locator(".cm-content").inner_text() in {"%smr cancel", "%smr cost", "%smr clean", "%smr config"}
