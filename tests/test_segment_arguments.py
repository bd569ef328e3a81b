"""The arguments of `glioserve segment`: which cases they name, and which cannot be used."""

import pytest
from support.client_runs import write_cases, write_files
from support.command_line import run_glioserve
from support.dicom_files import make_study

from service.command_line.cli import _parser
from service.command_line.segment.cases import find_cases
from service.imaging.case import Modality
from service.web.case_routes import SegmentParameters


@pytest.fixture
def cases(tmp_path, phantom_zip, phantom_files):
    return write_cases(tmp_path / "cases", phantom_zip, phantom_files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "PATH: expected a zip or a folder, found nothing at "),
        (["empty"], "PATH: expected images, DICOM files, zips or folders of cases in "),
        (["cases", "cases/one.zip"], "PATH: expected cases with different names, found one 2 times"),
        (["cases", "--url", "localhost"], "url: expected an address such as http://127.0.0.1:8000, found localhost"),
        (
            ["cases", "--key-file", "missing"],
            "--key-file: expected a file with an API key, found missing: No such",
        ),
        (["cases", "--ca-file", "cases/notes.txt"], "--ca-file: expected certificates (PEM), found cases/notes.txt"),
        (["cases", "--local", "--url", "http://x"], "--local: expected none of --url, --key-file and --ca-file"),
        (["cases", "--bids", "--prepared"], "--bids: expected none of --probabilities, --prepared and --output dicom"),
        (
            ["cases", "--series", "t3:1"],
            "argument --series: expected modalities, each once, with numbers, as in t1gd",
        ),
    ],
)
def test_wrong_arguments_are_status_2(arguments, message, cases, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result = run_glioserve("segment", *arguments, "--out", "out")
    assert result.returncode == 2
    assert f"glioserve segment: {message}" in result.stderr.replace("error: ", "")
    assert cases.is_dir()


def test_a_dicom_study_in_folders_of_series_is_one_case(phantom, tmp_path):
    study = make_study({role: phantom[role] for role in Modality})
    by_series = {f"study/{number % 2}/{number}": data for number, data in enumerate(list(study.values())[:4])}
    folder = write_files(tmp_path, by_series)
    assert [case.name for case in find_cases([folder / "study"], tmp_path / "out").cases] == ["study"]


def test_the_folder_of_the_results_is_no_case(cases):
    (cases / "out").mkdir()
    assert [case.name for case in find_cases([cases], cases / "out").cases] == ["one", "three", "two"]


def test_the_command_has_every_option_of_the_api():
    arguments = vars(_parser().parse_args(["segment", "case.zip", "--out", "out"]))
    assert set(SegmentParameters.model_fields) <= set(arguments)
