import pytest

from service.errors import NotAcceptableError
from service.web.negotiation import GZIP, JSON, ZIP, choose_media_type


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", ZIP),
        ("", ZIP),
        ("application/*", ZIP),
        ("application/octet-stream", ZIP),
        ("application/x-zip-compressed", ZIP),
        ("application/json", JSON),
        ("Application/GZIP", GZIP),
        ("text/html, application/json;q=0.9, */*;q=0.1", JSON),
        ("application/zip;q=0.2, application/json;q=0.3", JSON),
        ("application/zip;q=0, */*", JSON),
        ("application/json;q=nonsense, application/gzip;q=0.1", GZIP),
    ],
)
def test_the_preferred_media_type_is_chosen(accept, expected):
    assert choose_media_type(accept) == expected


@pytest.mark.parametrize("accept", ["image/png", "application/zip;q=0"])
def test_an_unsupported_media_type_error_lists_the_available_ones(accept):
    with pytest.raises(NotAcceptableError, match="application/zip, application/json, application/gzip"):
        choose_media_type(accept)
