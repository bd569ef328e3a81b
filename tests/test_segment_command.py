"""`glioserve segment`, run as a user runs it."""

import csv
import json
import os
import pty
import signal
import subprocess
import termios
from contextlib import suppress

import pytest
from support.case_files import zip_case
from support.client_runs import MASK, REPORT, count_jobs, plain_answer, serve_gated, write_cases, write_files
from support.command_line import GLIOSERVE, run_glioserve
from support.running_service import free_port, serve_in_process, serve_in_thread, wait_until

from service.app import create_app
from service.security.keys import KeyFile, Scope

TABLE = "volumes.csv"
# No other test asks for these, so the service, which the tests share, has not computed such a case yet.
NEW_OPTION, OTHER_NEW_OPTION = ("--grid", "t2"), ("--grid", "flair")


@pytest.fixture
def cases(tmp_path, phantom_zip, phantom_files):
    return write_cases(tmp_path / "cases", phantom_zip, phantom_files)


def segment(*arguments, **settings):
    return run_glioserve("segment", *arguments, **settings)


def read_table(out):
    with (out / TABLE).open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def read_terminal(descriptor):
    """What is written to a terminal until its last process ends."""
    shown = b""
    with suppress(OSError), os.fdopen(descriptor, "rb", buffering=0) as terminal:
        while part := terminal.read(2**12):
            shown += part
    return shown.decode()


def test_every_case_of_a_folder_gets_results_and_a_row(address, cases, phantom_zip, tmp_path):
    result = segment(cases, "--out", tmp_path / "out", "--url", address)
    expected = plain_answer(address, phantom_zip)
    assert result.returncode == 1
    for name in ("one", "two"):
        assert (tmp_path / "out" / name / MASK).read_bytes() == expected[MASK]
    table = read_table(tmp_path / "out")
    assert [row["outcome"] for row in table.values()] == ["done", "failed", "done"]
    regions = json.loads((tmp_path / "out" / "two" / REPORT).read_bytes())["regions"]
    assert float(table["two"]["ET_volume_ml"]) == regions["ET"]["volume_ml"]
    assert float(table["two"]["TC_hd95_mm"]) == regions["TC"]["scores"]["hd95_mm"]
    assert table["two"]["problem"] == ""
    assert table["three"]["problem"].startswith("modalities: FLAIR: missing; found T1, T1Gd, T2, ground truth.")
    assert "three: failed: FLAIR: missing" in result.stdout
    assert f"{cases / 'notes.txt'}: ignored, as it is neither a zip nor a folder" in result.stderr
    assert f"2 done, 1 failed; table of all cases: {tmp_path / 'out' / TABLE}" in result.stderr


def test_results_that_are_there_are_not_computed_again(address, cases, tmp_path):
    arguments = cases / "one.zip", cases / "two", "--out", tmp_path / "out", "--url", address
    assert segment(*arguments).returncode == 0
    before = count_jobs(address)
    again = segment(*arguments, "--json")
    assert again.returncode == 0
    assert {json.loads(line)["outcome"] for line in again.stdout.splitlines()} == {"already-done"}
    assert count_jobs(address) == before
    assert segment(*arguments, *NEW_OPTION).returncode == 0
    assert count_jobs(address) == before + 2


def test_a_result_is_computed_again_if_the_case_changes(address, cases, phantom_files, tmp_path):
    arguments = cases / "one.zip", "--out", tmp_path / "out", "--url", address
    assert segment(*arguments).returncode == 0
    (cases / "one.zip").write_bytes(zip_case(phantom_files, drop="ground truth"))
    assert segment(*arguments).returncode == 0
    assert read_table(tmp_path / "out")["one"]["outcome"] == "done"
    assert read_table(tmp_path / "out")["one"]["WT_dice"] == ""


def test_json_is_one_line_for_each_case(address, cases, tmp_path):
    result = segment(cases, "--out", tmp_path / "out", "--url", address, "--json")
    lines = {line["case"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert lines["three"]["problem"]["type"] == "modalities"
    assert lines["three"]["report"] is None
    assert lines["one"]["problem"] is None
    assert lines["one"]["report"] == json.loads((tmp_path / "out" / "one" / REPORT).read_bytes())


def test_all_cases_are_done_even_if_nobody_reads_the_lines(address, cases, tmp_path):
    arguments = f"{cases / 'one.zip'} {cases / 'two'} --out {tmp_path / 'out'} --url {address} --json"
    command = f"{GLIOSERVE} segment {arguments} | head -c 1"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (result.returncode, "Traceback" in result.stderr) == (0, False)
    assert {row["outcome"] for row in read_table(tmp_path / "out").values()} == {"done"}


def test_results_can_have_the_names_of_bids(address, cases, tmp_path):
    assert segment(cases / "two", "--out", tmp_path / "out", "--url", address, "--bids").returncode == 0
    files = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("sub-*/*/*"))
    assert [str(path) for path in files] == ["sub-two/anat/sub-two_dseg.json", "sub-two/anat/sub-two_dseg.nii.gz"]
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"


def test_without_a_service_the_results_are_the_same(address, weights, cases, tmp_path):
    served = segment(cases, "--out", tmp_path / "served", "--url", address, "--probabilities")
    settings = {"weights": weights, "device": "cpu", "precision": "float32"}
    local = segment(cases, "--out", tmp_path / "local", "--local", "--probabilities", **settings)
    assert local.returncode == served.returncode == 1
    assert sorted(local.stdout.splitlines()) == sorted(served.stdout.splitlines())
    for name in (MASK, "probability_wt.nii.gz"):
        assert (tmp_path / "local" / "two" / name).read_bytes() == (tmp_path / "served" / "two" / name).read_bytes()


def test_a_command_that_was_killed_finishes_when_it_is_repeated(weights, phantom_files, tmp_path):
    drops = {"a": None, "b": "ground truth"}
    zips = {f"{name}.zip": zip_case(phantom_files, drop) for name, drop in drops.items()}
    cases = write_files(tmp_path / "cases", zips)
    arguments = ["segment", cases, "--out", tmp_path / "out"]
    with serve_in_process(tmp_path / "service", weights=weights, precision="float32") as service:
        command = [GLIOSERVE, *map(str, arguments), "--url", service.address]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
            wait_until(lambda: list((tmp_path / "service" / "spool").glob("*/file")))
            killed.kill()
        assert run_glioserve(*arguments, "--url", service.address).returncode == 0
        assert count_jobs(service.address) == len(drops)
    assert {row["outcome"] for row in read_table(tmp_path / "out").values()} <= {"done", "already-done"}


def test_an_interruption_is_status_130_and_in_the_table(gate, model, settings, cases, tmp_path):
    with serve_gated(gate, model, settings) as address:
        command = [GLIOSERVE, "segment", str(cases / "one.zip"), "--out", str(tmp_path / "out"), "--url", address]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            gate.wait_for_forward_pass()
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=30) == 130
            assert "Traceback" not in running.stderr.read()
    assert read_table(tmp_path / "out")["one"]["outcome"] == "interrupted"


def test_a_terminal_shows_progress(address, cases, tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    arguments = str(cases / "two"), "--out", str(tmp_path / "out"), "--url", address, *OTHER_NEW_OPTION
    with subprocess.Popen([GLIOSERVE, "segment", *arguments], stdout=subprocess.DEVNULL, stderr=theirs) as running:
        os.close(theirs)
        shown = read_terminal(ours)
    assert running.returncode == 0
    assert "two: uploading 100%" in shown
    assert "two: predict_" in shown
    assert "1 done" in shown


def test_a_refused_key_ends_all_cases_and_is_not_shown(settings, cases, tmp_path):
    keys = KeyFile(tmp_path / "keys")
    keys.add("ward", [Scope.SEGMENT])
    (tmp_path / "key").write_text("gk_wrong\n")
    with serve_in_thread(create_app(settings.model_copy(update={"keys_file": keys.path}))) as address:
        result = segment(cases, "--out", tmp_path / "out", "--url", address, "--key-file", tmp_path / "key")
    assert result.returncode == 1
    problems = {row["problem"].partition(":")[0] for row in read_table(tmp_path / "out").values()}
    assert problems == {"unauthenticated"}
    assert "gk_wrong" not in result.stdout + result.stderr


def test_a_service_that_is_not_there_ends_all_cases(cases, tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    result = segment(cases, "--out", tmp_path / "out", "--url", url, "--give-up-after", 0)
    assert result.returncode == 1
    problems = {row["problem"].partition(":")[0] for row in read_table(tmp_path / "out").values()}
    assert problems == {"connection-failed"}


def test_the_certificate_of_the_service_is_checked_against_a_file(settings, tls, trust, cases, tmp_path):
    authority = tls.pop("tls_client_ca")
    with serve_in_thread(create_app(settings.model_copy(update=tls)), trust) as address:
        arguments = cases / "two", "--out", tmp_path / "out", "--url", address
        assert segment(*arguments).returncode == 1
        assert segment(*arguments, "--ca-file", authority).returncode == 0
