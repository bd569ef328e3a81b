"""The page at / in a browser, with a real service."""

import base64
import gzip
import json
from dataclasses import replace
from pathlib import Path

import httpx2
import nibabel as nib
import pytest
from PIL import Image
from support.api import fill_queue
from support.dicom_files import PATIENT, make_study
from support.known_networks import gated_model
from support.raw_series import make_raw_case
from support.running_service import serve_in_thread, wait_until

from service.app import create_app
from service.imaging.case import Modality
from service.imaging.phantom import zip_files
from service.security.keys import KeyFile, Scope
from service.settings import Settings

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

from support.browser import AXE, CHROMIUM, start_browser, visit  # needs Playwright

from service.web import page_routes

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and AXE.is_file() and page_routes.FOLDER.is_dir()),
    reason="Chromium is not installed, or the page has not been built (make viewer)",
)
HOLD = """bytes => {
  const body = Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([body], "case.zip"));
  return transfer;
}"""  # what a user drags: a zip


@pytest.fixture(scope="module")
def browser():
    with start_browser() as browser:
        yield browser


@pytest.fixture
def opened(browser, address):
    """A visit to the page of the service with the known networks."""
    with visit(browser, address) as opened:
        opened.open()
        yield opened


@pytest.fixture
def gated_address(gate, model, settings):
    """The address of a service with a queue of two cases whose first network waits for the gate."""
    app = create_app(settings.model_copy(update={"queue_size": 2}))
    with serve_in_thread(app) as address:
        scheduler = app.state.runtime.queue.scheduler
        scheduler.worker = replace(scheduler.worker, model=gated_model(gate, model))
        yield address
        gate.open()


@pytest.fixture
def secured(weights, tmp_path):
    """The address of a service that requires a key, and a key."""
    keys = KeyFile(tmp_path / "keys")
    key = keys.add("reader", [Scope.SEGMENT])
    settings = Settings(weights=weights, device="cpu", spool=tmp_path / "spool", keys_file=keys.path)
    with serve_in_thread(create_app(settings)) as address:
        yield address, key


@pytest.fixture
def loose_files(phantom_files, tmp_path) -> list[Path]:
    """The four modalities as files; one name tells nothing."""
    paths = []
    for name, data in phantom_files.items():
        if "seg" not in name:
            paths.append(tmp_path / name.rpartition("/")[2].replace("flair", "fourth"))
            paths[-1].write_bytes(data)
    return paths


def send(opened, case: Path) -> None:
    """Choose a zip and send it."""
    opened.page.set_input_files("#files", case)
    opened.wait_for_text("#case-text", "The case is complete.")
    opened.page.click("#send")


def test_a_synthetic_case_needs_one_click(opened):
    opened.page.click("#phantom")
    opened.wait_for_result()
    assert "Whole tumour" in opened.text("#report")
    assert opened.page.is_visible("text=Not a medical device; research use only.")
    assert not opened.accessibility_violations()
    opened.save_picture("synthetic-1280")


def test_a_zip_is_sent_shown_and_saved(opened, case):
    send(opened, case)
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
    send(opened, case)
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
    send(opened, case)
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


def test_a_dropped_zip_is_recognised(opened, phantom_zip):
    transfer = opened.page.evaluate_handle(HOLD, base64.b64encode(phantom_zip).decode())
    opened.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    opened.wait_for_text("#case-text", "The case is complete.")
    assert opened.page.locator("#roles select").count() == 5


def test_roles_can_be_corrected_and_no_file_name_is_sent(opened, loose_files):
    page = opened.page
    page.set_input_files("#files", loose_files)
    opened.wait_for_text("#case-text", "Missing: FLAIR.")
    assert page.is_disabled("#send")
    page.select_option("select[aria-label='What phantom_fourth.nii.gz is']", "FLAIR")
    opened.wait_for_text("#case-text", "The case is complete.")
    with page.expect_request("**/segment*") as sent:
        page.click("#send")
    opened.wait_for_result()
    assert sent.value.url.endswith("/segment?prepared=true")
    assert b"phantom" not in (sent.value.post_data_buffer or b"")
    assert page.is_hidden("#sources")


def test_a_missing_modality_may_be_allowed(opened, loose_files):
    opened.page.set_input_files("#files", loose_files)
    opened.wait_for_text("#case-text", "Missing: FLAIR.")
    opened.page.check("#allow-missing")
    opened.wait_for_text("#case-text", "To be segmented without FLAIR.")
    assert opened.page.is_enabled("#send")


def test_a_folder_of_dicom_files_is_segmented(opened, tmp_path):
    volumes = make_raw_case()
    for name, data in make_study({modality: volumes[modality] for modality in Modality}).items():
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    opened.page.set_input_files("#folder", tmp_path / "study")
    opened.wait_for_text("#case-text", "(DICOM)")
    with opened.page.expect_request("**/segment*") as sent:
        opened.page.click("#send")
    opened.wait_for_result()
    assert PATIENT.encode() not in sent.value.url.encode()
    opened.save_picture("dicom")


def test_a_wrong_file_is_said_at_once(opened, tmp_path):
    (tmp_path / "letter.pdf").write_bytes(b"%PDF")
    opened.page.set_input_files("#files", tmp_path / "letter.pdf")
    opened.wait_for_text("#case-text", "None of these files is an image")
    (tmp_path / "case.zip").write_bytes(b"no zip")
    opened.page.set_input_files("#files", tmp_path / "case.zip")
    opened.wait_for_text("#case-text", "not a zip")


def test_what_the_service_refuses_is_shown_in_its_words(opened, loose_files):
    loose_files[0].write_bytes(b"no image")
    opened.page.set_input_files("#files", loose_files)
    opened.page.check("#allow-missing")
    opened.page.click("#send")
    opened.wait_for_text("#problem", "Not a readable image")
    assert not opened.accessibility_violations()
    opened.save_picture("problem")


def test_a_full_queue_can_be_waited_for(browser, gated_address, gate, phantom_zip, case):
    with httpx2.Client(base_url=gated_address, timeout=60) as client, visit(browser, gated_address) as opened:
        fill_queue(gate, client, phantom_zip)
        opened.open()
        send(opened, case)
        opened.wait_for_text("#problem", "Queue full")
        assert "send the case again" in opened.text("#problem-advice")
        opened.save_picture("queue-full")
        gate.open()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        opened.page.click("#send")
        opened.wait_for_result()


def test_a_running_job_can_be_cancelled(browser, gated_address, gate, case):
    with visit(browser, gated_address) as opened:
        opened.open()
        send(opened, case)
        gate.wait_for_forward_pass()
        opened.wait_for_text("#job-text", "Running: finding the whole tumour")
        opened.save_picture("running")
        job = opened.page.url.partition("#job=")[2]
        opened.page.click("#cancel")
        gate.open()  # a job ends after the current batch of slices
        opened.wait_for_text("#case-text", "The service has removed the case")
        assert httpx2.get(f"{gated_address}/jobs/{job}").status_code == 404
        assert "#job" not in opened.page.url


def test_a_link_finds_the_job_again(opened, case):
    send(opened, case)
    opened.wait_for_result()
    opened.page.reload()
    opened.wait_for_result()
    assert "Whole tumour" in opened.text("#report")
    assert opened.page.locator("#modalities input").count() == 4
    opened.page.once("dialog", lambda dialog: dialog.accept())
    opened.page.click("#cancel")  # it deletes the result now
    opened.wait_for_text("#case-text", "The service has removed the case")


def test_a_case_that_is_chosen_while_another_one_runs_is_kept(browser, gated_address, gate, case, loose_files):
    with visit(browser, gated_address) as opened:
        opened.open()
        send(opened, case)
        gate.wait_for_forward_pass()
        opened.page.set_input_files("#files", loose_files)
        opened.wait_for_text("#case-text", "It can be sent when the current case has ended.")
        gate.open()
        opened.wait_for_result()
        assert opened.text("#result-title") == "Result of case"
        assert opened.text("#case-text") == "Missing: FLAIR."


def test_the_synthetic_case_does_not_replace_a_case_that_is_chosen_meanwhile(opened, case):
    held = []
    opened.page.route("**/phantom.zip", lambda route: held.append(route))
    with opened.page.expect_request("**/phantom.zip"):
        opened.page.click("#phantom")
    opened.page.set_input_files("#files", case)
    opened.wait_for_text("#case-text", "The case is complete.")
    held[0].continue_()
    opened.page.wait_for_selector("#phantom:enabled")
    assert opened.text("#case-text") == "The case is complete."
    assert opened.page.is_hidden("#job")


def test_a_result_is_fetched_again_if_the_service_restarts(opened, case):
    not_ready = {"type": "urn:glioserve:problem:not-ready", "title": "Not ready", "status": 503, "detail": ""}
    opened.page.route("**/result", lambda route: route.fulfill(status=503, json=not_ready), times=1)
    send(opened, case)
    opened.wait_for_text("#job-text", "The service does not answer; trying again")
    opened.wait_for_result()


def test_a_problem_is_in_sight(opened, phantom_files, tmp_path):
    swapped = {name.replace("_t1.", "_x.").replace("_t2.", "_t1."): data for name, data in phantom_files.items()}
    (tmp_path / "swapped.zip").write_bytes(zip_files({n.replace("_x.", "_t2."): data for n, data in swapped.items()}))
    opened.page.set_viewport_size({"width": 1280, "height": 720})
    send(opened, tmp_path / "swapped.zip")
    opened.wait_for_text("#problem-advice", "tick")
    box = opened.page.locator("#problem").bounding_box()
    assert 0 <= box["y"] <= 720 - box["height"]


def test_a_link_to_an_unknown_job_is_a_clear_problem(browser, address):
    with visit(browser, address) as opened:
        opened.open("#job=unknown")
        opened.wait_for_text("#problem", "Job not found")


def test_a_result_without_prepared_images_shows_the_label_map(browser, address, phantom_zip):
    job = httpx2.post(f"{address}/segment", files={"file": phantom_zip}, headers={"Prefer": "respond-async"}).json()
    with visit(browser, address) as opened:
        opened.open(f"#job={job['id']}")
        opened.wait_for_result()
        assert opened.page.is_visible("#no-images")


def test_a_wrong_key_is_refused_and_a_right_one_is_kept_in_memory_only(browser, secured, case):
    address, key = secured
    with visit(browser, address) as opened:
        opened.open()
        page = opened.page
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        send(opened, case)
        opened.wait_for_text("#problem", "Missing or invalid API key")
        opened.save_picture("wrong-key")
        page.fill("#key", key)
        page.keyboard.press("Enter")
        opened.wait_for_result()
        stored = page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
        assert stored == '[{},{},""]'
        assert key not in page.url
        page.reload()
        page.wait_for_selector("#key:focus")
        assert page.input_value("#key") == ""


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
        send(opened, case)
        opened.wait_for_result()
        opened.page.click("summary")
        assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert not opened.accessibility_violations()
        opened.save_picture(f"result-{width}-{scheme}")


def test_a_case_that_was_sent_before_a_mistake_can_be_replaced(opened, case, phantom_files, tmp_path):
    without_t1 = {name: data for name, data in phantom_files.items() if not name.endswith("_t1.nii.gz")}
    (tmp_path / "incomplete.zip").write_bytes(zip_files(without_t1))
    opened.page.set_input_files("#files", tmp_path / "incomplete.zip")
    opened.wait_for_text("#case-text", "Missing: T1.")
    send(opened, case)
    opened.wait_for_result()
