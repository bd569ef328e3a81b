"""Reading zips, including malicious ones."""

from io import BytesIO
from zipfile import ZIP_BZIP2, ZipInfo

import pytest
from support.api import post_case, read_problem
from support.case_files import MODALITY_NAMES, make_case_files, make_zip
from support.malicious_archives import ARCHIVES, compressed_by, make_link, patch_central_directory, with_entry

from service.errors import BrokenArchiveError
from service.imaging.case import Modality
from service.imaging.reading import read_case_from
from service.intake.archive import open_upload, open_zip


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_malicious_archive_has_its_own_problem(client, name):
    upload = ARCHIVES[name]
    assert upload.phrase in read_problem(post_case(client, upload.make_body()), upload.status, upload.kind)


def test_the_files_of_a_zip_can_be_read():
    with open_zip(BytesIO(make_zip(make_case_files() | {"readme.txt": b"a text"})), max_unpacked_mib=1) as opened:
        found = {name: file.read() for name, file in opened.items()}
    assert found == make_case_files() | {"readme.txt": b"a text"}


@pytest.mark.parametrize(
    "make_body",
    [
        lambda: with_entry(ZipInfo("older.zip"), b"PK"),
        lambda: with_entry(ZipInfo("dwi.bval.gz")),
        lambda: with_entry(ZipInfo("/")),
        lambda: with_entry(ZipInfo("../notes.txt")),
        lambda: with_entry(ZipInfo("x" * 501)),
        lambda: with_entry(make_link("latest"), b"/etc/passwd"),
        lambda: with_entry(compressed_by("notes.txt", ZIP_BZIP2), b"text" * 99),
        lambda: patch_central_directory(with_entry(ZipInfo("notes.txt")), 8, "<H", 1, entry=4),
        lambda: make_zip({f"/case/{name}": data for name, data in make_case_files().items()}),
    ],
    ids=["archive", "gzip", "root", "outside", "long name", "link", "bzip2", "encrypted", "leading slash"],
)
def test_what_is_not_of_the_case_is_neither_opened_nor_judged(make_body):
    with open_zip(BytesIO(make_body()), max_unpacked_mib=1) as opened:
        read = read_case_from(opened)
    assert list(read.images) == list(Modality)


def test_damage_is_detected_when_an_image_is_read():
    body = make_zip(make_case_files())
    offset = body.index(b"t2.nii") + 20
    with open_zip(BytesIO(body[:offset] + bytes(9) + body[offset + 9 :]), max_unpacked_mib=1) as opened:
        assert opened["t1.nii"].read() == make_case_files()["t1.nii"]
        with pytest.raises(BrokenArchiveError):
            opened["t2.nii"].read()


def test_an_upload_is_one_zip_or_one_file_per_modality(tmp_path):
    for name in MODALITY_NAMES:
        (tmp_path / name).write_bytes(b"data")
    with open_upload(tmp_path, max_unpacked_mib=1) as opened:
        assert {name: file.read() for name, file in opened.items()} == dict.fromkeys(make_case_files(), b"data")
    (tmp_path / "file").write_bytes(make_zip(make_case_files()))
    with open_upload(tmp_path, max_unpacked_mib=1) as opened:
        assert list(opened) == list(make_case_files())
