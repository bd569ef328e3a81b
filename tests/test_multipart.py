"""The form of POST /segment: invalid parts, names, headers and boundaries."""

import pytest
from support.api import read_problem
from support.case_files import rename_by_role


@pytest.mark.parametrize(
    "names",
    [["file", "t1"], ["t1", "brain"], ["dicom", "t1"], ["t1", "dicom"]],
    ids=["two forms", "unknown modality", "a study and an image", "an image and a study"],
)
def test_an_invalid_set_of_form_parts_is_400(client, names):
    files = dict.fromkeys(names, b"")
    detail = read_problem(client.post("/segment", files=files), 400, "malformed-upload")
    found = [name.replace("brain", "file") for name in names]  # a file whose name tells nothing should be a zip
    assert detail.endswith(f"found {', '.join(found)}.")


def test_a_form_part_that_is_not_a_file_is_400(client):
    response = client.post("/segment", data={"file": "text"}, files={"x": b""})
    read_problem(response, 400, "malformed-upload")


def test_a_multipart_body_without_a_boundary_is_400(client):
    response = client.post("/segment", content=b"junk", headers={"Content-Type": "multipart/form-data"})
    read_problem(response, 400, "malformed-upload")


def multipart(*parts: bytes, end: bytes = b"--x--\r\n") -> dict[str, object]:
    """The arguments of a request with a multipart body of these parts, each of headers and content."""
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end
    return {"content": body, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}


def part(disposition: bytes, body: bytes = b"data") -> bytes:
    return b"Content-Disposition: form-data; " + disposition + b"\r\n\r\n" + body


def test_a_truncated_multipart_body_is_400(client):
    request = multipart(part(b'name="file"; filename="case.zip"'), end=b"")
    assert "closing boundary" in read_problem(client.post("/segment", **request), 400, "malformed-upload")


@pytest.mark.parametrize("name", [b"../../etc/passwd", b"", b"\xff\xfe", b"file.nii/../x"])
def test_a_form_part_with_an_unknown_name_is_not_written_to_disk(name, client):
    folder = client.app.state.runtime.queue.spool.folder
    before = set(folder.parent.rglob("*"))  # also beside the spool, where a path in the name would lead
    request = multipart(part(b'name="' + name + b'"; filename="x"'))
    read_problem(client.post("/segment", **request), 400, "broken-archive")
    assert set(folder.parent.rglob("*")) <= before


FORMS = {  # what clients send, by the Content-Disposition of their parts
    "another name": b'name="upload"; filename="case.zip"',
    "no file name": b"name=\"file\"; filename*=utf-8''F%C3%A4lle.zip",
    "a list": b'name="files[]"; filename="P_ROLE.nii.gz"',
    "the same name": b'name="file"; filename="ROLE.nii"',
    "upper case": b'name="x"; filename="P-ROLE.NII.GZ"',
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_other_clients_are_understood(form, client, phantom_files, phantom_zip):
    disposition = FORMS[form]
    files = rename_by_role(phantom_files) if b"ROLE" in disposition else {"": phantom_zip}
    parts = (part(disposition.replace(b"ROLE", name.encode()), data) for name, data in files.items() if name != "seg")
    request = multipart(*parts)
    assert client.post("/segment", **request).status_code == 200


def test_other_fields_of_a_form_and_text_before_it_are_left_alone(client, phantom_zip):
    fields = [part(b'name="comment"', b"urgent"), part(b'name="file"; filename="x"', phantom_zip), part(b'name="y"')]
    request = multipart(*fields)
    request["content"] = b"This is a form.\r\n" + request["content"]
    assert client.post("/segment", **request).status_code == 200


def test_a_body_without_any_boundary_is_400(client):
    request = multipart()
    request["content"] = b"x" * 2**17
    read_problem(client.post("/segment", **request), 400, "malformed-upload")


def test_a_path_in_a_part_name_is_ignored(client, phantom_files):
    parts = rename_by_role(phantom_files)
    request = multipart(*(part(b'name="../../%s"; filename="x"' % name.encode(), data) for name, data in parts.items()))
    assert client.post("/segment", **request).status_code == 200


@pytest.mark.parametrize(
    "disposition",
    [b'name="DOE^JANE"; filename="x"', b'name="DOE^JANE"', b'name="DOE^JANE_t1"; filename="x"', b'name="DOE^JANE_t1"'],
)
def test_no_error_message_quotes_the_name_of_a_part(disposition, client):
    response = client.post("/segment", **multipart(part(disposition), part(disposition)))
    assert "DOE" not in read_problem(response, 400, "malformed-upload")


@pytest.mark.parametrize("headers", [b"X: " + b"y" * 9000, b"y" * 9000 + b": X", b"\r\n".join([b"X: y"] * 3000)])
def test_a_form_part_with_too_large_headers_is_400(headers, client):
    request = multipart(headers + b"\r\n" + part(b'name="file"; filename="x"'))
    read_problem(client.post("/segment", **request), 400, "malformed-upload")


def test_a_too_long_boundary_is_400(client):
    headers = {"Content-Type": f"multipart/form-data; boundary={'x' * 5000}"}
    read_problem(client.post("/segment", content=b"x", headers=headers), 400, "malformed-upload")


def test_a_form_of_too_many_dicom_files_is_413(client, monkeypatch):
    monkeypatch.setattr("service.jobs.study_zip.MAX_ENTRIES", 3)
    request = multipart(*[part(b'name="dicom"; filename="x"')] * 4)
    assert "at most 3 files" in read_problem(client.post("/segment", **request), 413, "too-large")


def test_dicom_parts_that_are_not_dicom_are_a_problem(client):
    request = multipart(*[part(b'name="dicom"; filename="x"', body) for body in (b"", b"junk" * 10)])
    read_problem(client.post("/segment", **request), 422, "modalities")
