"""What the page does when something is wrong, in a browser."""

import httpx2
import pytest
from support.api import fill_queue
from support.browser import visit
from support.running_service import serve_in_thread, wait_until

from service.app import create_app
from service.imaging.phantom import zip_files
from service.security.keys import KeyFile, Scope
from service.settings import Settings


@pytest.fixture
def secured(weights, tmp_path):
    """The address of a service that requires a key, and a key."""
    keys = KeyFile(tmp_path / "keys")
    key = keys.add("reader", [Scope.SEGMENT])
    settings = Settings(weights=weights, device="cpu", spool=tmp_path / "spool", keys_file=keys.path)
    with serve_in_thread(create_app(settings)) as address:
        yield address, key


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
        opened.send(case)
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
        opened.send(case)
        gate.wait_for_forward_pass()
        opened.wait_for_text("#job-text", "Running: finding the whole tumour")
        opened.save_picture("running")
        job = opened.page.url.partition("#job=")[2]
        opened.page.click("#cancel")
        gate.open()  # a job ends after the current batch of slices
        opened.wait_for_text("#case-text", "The service has removed the case")
        assert httpx2.get(f"{gated_address}/jobs/{job}").status_code == 404
        assert "#job" not in opened.page.url


def test_a_result_is_fetched_again_if_the_service_restarts(opened, case):
    not_ready = {"type": "urn:glioserve:problem:not-ready", "title": "Not ready", "status": 503, "detail": ""}
    opened.page.route("**/result", lambda route: route.fulfill(status=503, json=not_ready), times=1)
    opened.send(case)
    opened.wait_for_text("#job-text", "The service does not answer; trying again")
    opened.wait_for_result()


def test_a_problem_is_in_sight(opened, phantom_files, tmp_path):
    swapped = {name.replace("_t1.", "_x.").replace("_t2.", "_t1."): data for name, data in phantom_files.items()}
    (tmp_path / "swapped.zip").write_bytes(zip_files({n.replace("_x.", "_t2."): data for n, data in swapped.items()}))
    opened.page.set_viewport_size({"width": 1280, "height": 720})
    opened.send(tmp_path / "swapped.zip")
    opened.wait_for_text("#problem-advice", "tick")
    box = opened.page.locator("#problem").bounding_box()
    assert 0 <= box["y"] <= 720 - box["height"]


def test_a_link_to_an_unknown_job_is_a_clear_problem(browser, address):
    with visit(browser, address) as opened:
        opened.open("#job=unknown")
        opened.wait_for_text("#problem", "Job not found")


def test_a_wrong_key_is_refused_and_a_right_one_is_kept_in_memory_only(browser, secured, case):
    address, key = secured
    with visit(browser, address) as opened:
        opened.open()
        page = opened.page
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        opened.send(case)
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
