"""Choosing and sending a case on the page, in a browser."""

import base64

from support.browser import visit
from support.dicom_files import PATIENT, make_study
from support.raw_series import make_raw_case

from service.imaging.case import Modality
from service.imaging.phantom import zip_files

HOLD = """bytes => {
  const body = Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([body], "case.zip"));
  return transfer;
}"""  # what a user drags: a zip


def test_a_synthetic_case_needs_one_click(opened):
    opened.page.click("#phantom")
    opened.wait_for_result()
    assert "Whole tumour" in opened.text("#report")
    assert opened.page.is_visible("text=Not a medical device; research use only.")
    assert not opened.accessibility_violations()
    opened.save_picture("synthetic-1280")


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


def test_a_case_that_was_sent_before_a_mistake_can_be_replaced(opened, case, phantom_files, tmp_path):
    without_t1 = {name: data for name, data in phantom_files.items() if not name.endswith("_t1.nii.gz")}
    (tmp_path / "incomplete.zip").write_bytes(zip_files(without_t1))
    opened.page.set_input_files("#files", tmp_path / "incomplete.zip")
    opened.wait_for_text("#case-text", "Missing: T1.")
    opened.send(case)
    opened.wait_for_result()


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


def test_a_case_that_is_chosen_while_another_one_runs_is_kept(browser, gated_address, gate, case, loose_files):
    with visit(browser, gated_address) as opened:
        opened.open()
        opened.send(case)
        gate.wait_for_forward_pass()
        opened.page.set_input_files("#files", loose_files)
        opened.wait_for_text("#case-text", "It can be sent when the current case has ended.")
        gate.open()
        opened.wait_for_result()
        assert opened.text("#result-title") == "Result of case"
        assert opened.text("#case-text") == "Missing: FLAIR."
