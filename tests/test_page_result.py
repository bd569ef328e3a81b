"""The result of a case on the page, in a browser."""

import gzip
import json
from pathlib import Path

import httpx2
import nibabel as nib
import pytest
from PIL import Image
from support.browser import visit


def test_a_zip_is_sent_shown_and_saved(opened, case):
    opened.send(case)
    opened.wait_for_result()
    assert "Dice" in opened.text("#report")
    with opened.page.expect_download() as saved:
        opened.page.click("#save-report")
    assert json.loads(Path(saved.value.path()).read_text())["regions"]["WT"]["scores"]["dice"] > 0.9
    with opened.page.expect_download() as saved:
        opened.page.click("#save-label-map")
    data = gzip.decompress(Path(saved.value.path()).read_bytes())
    assert nib.Nifti1Image.from_bytes(data).shape == (150, 180, 50)


def test_the_picture_shows_the_labels_in_their_colours(opened, case):
    opened.send(case)
    opened.wait_for_result()
    opened.page.locator("#opacity").fill("1")
    with opened.page.expect_download() as saved:
        opened.page.click("#save-picture")
    picture = Image.open(saved.value.path()).convert("RGB")
    view = picture.crop((0, 0, picture.width, picture.height - 80))
    colours = {colour for count, colour in view.getcolors(2**24) if count > 50}
    for expected in ((213, 94, 0), (0, 158, 115), (240, 228, 66)):
        assert any(max(abs(a - b) for a, b in zip(expected, found, strict=True)) < 12 for found in colours)


def test_modalities_views_labels_and_the_ground_truth_can_be_chosen(opened, case):
    opened.send(case)
    opened.wait_for_result()
    page = opened.page
    assert page.input_value("#slice") == "24"  # the slice in the middle of the tumour
    for view in ("coronal", "sagittal", "3d", "all", "axial"):
        page.check(f"input[name=plane][value='{view}']")
        opened.save_picture(f"view-{view}")
    page.check("input[name=modality][value=FLAIR]")
    page.wait_for_selector("#viewers[data-drawn='FLAIR prediction']", timeout=90_000)
    page.check("input[name=source][value='prediction truth']")
    page.wait_for_selector("#viewers[data-drawn='FLAIR prediction truth']", timeout=90_000)
    page.locator("#labels input").first.uncheck()
    assert page.locator("canvas").count() == 2
    opened.save_picture("side-by-side")


def test_a_result_without_prepared_images_shows_the_label_map(browser, address, phantom_zip):
    job = httpx2.post(f"{address}/segment", files={"file": phantom_zip}, headers={"Prefer": "respond-async"}).json()
    with visit(browser, address) as opened:
        opened.open(f"#job={job['id']}")
        opened.wait_for_result()
        assert opened.page.is_visible("#no-images")


def test_a_link_finds_the_job_again(opened, case):
    opened.send(case)
    opened.wait_for_result()
    opened.page.reload()
    opened.wait_for_result()
    assert "Whole tumour" in opened.text("#report")
    assert opened.page.locator("#modalities input").count() == 4
    opened.page.once("dialog", lambda dialog: dialog.accept())
    opened.page.click("#cancel")  # it deletes the result now
    opened.wait_for_text("#case-text", "The service has removed the case")


def test_the_page_is_usable_by_keyboard(opened):
    opened.tab_to("#phantom")
    opened.page.keyboard.press("Enter")
    opened.wait_for_result()
    assert opened.page.evaluate("() => document.activeElement.id") == "result-title"
    opened.tab_to("input[name=modality]")
    opened.page.keyboard.press("ArrowRight")
    opened.page.wait_for_selector("#viewers[data-drawn='T2 prediction']", timeout=90_000)
    opened.tab_to("#slice")
    before = int(opened.page.input_value("#slice"))
    opened.page.keyboard.press("ArrowRight")
    assert int(opened.page.input_value("#slice")) == before + 1
    opened.tab_to("canvas")
    opened.page.keyboard.press("PageUp")
    opened.wait_for_text("#slice-text", f"Slice {before + 3} of")
    opened.tab_to("#save-picture")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 640])  # 640 is a window of 1280 pixels at 200 %
def test_nothing_is_cut_off_on_narrow_screens(browser, address, case, width, scheme):
    with visit(browser, address, width, color_scheme=scheme) as opened:
        opened.open()
        opened.send(case)
        opened.wait_for_result()
        opened.page.click("summary")
        assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert not opened.accessibility_violations()
        opened.save_picture(f"result-{width}-{scheme}")
