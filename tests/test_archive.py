"""Zips that are trusted in nothing."""

from io import BytesIO

import pytest
from hostile import ARCHIVES, files, zip_of
from test_segment import problem_of, send_zip

from service.archive import open_upload, open_zip
from service.errors import BrokenArchiveError


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_made_to_do_harm_has_an_answer_of_its_own(client, name):
    hostile = ARCHIVES[name]
    assert hostile.words in problem_of(send_zip(client, hostile.body()), hostile.status, hostile.kind)


def test_the_images_of_a_zip_are_read_as_they_are_needed():
    with open_zip(BytesIO(zip_of(files() | {"readme.txt": b"a word"})), max_unpacked_mib=1) as opened:
        assert {name: file.read() for name, file in opened.items()} == files()


def test_damage_shows_when_an_image_is_read():
    body = zip_of(files())
    place = body.index(b"t2.nii") + 20
    with open_zip(BytesIO(body[:place] + bytes(9) + body[place + 9 :]), max_unpacked_mib=1) as opened:
        assert opened["t1.nii"].read() == files()["t1.nii"]
        with pytest.raises(BrokenArchiveError):
            opened["t2.nii"].read()


def test_an_upload_is_one_zip_or_a_file_a_modality(tmp_path):
    for word in ("t1", "t1ce", "t2", "flair"):
        (tmp_path / word).write_bytes(b"data")
    with open_upload(tmp_path, max_unpacked_mib=1) as opened:
        assert {name: file.read() for name, file in opened.items()} == dict.fromkeys(files(), b"data")
    (tmp_path / "file").write_bytes(zip_of(files()))
    with open_upload(tmp_path, max_unpacked_mib=1) as opened:
        assert list(opened) == list(files())
