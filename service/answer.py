"""The forms of an answer to POST /segment, and the choice between them."""

from collections.abc import Mapping
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from service.errors import NotAcceptableError
from service.schemas import Report

ZIP, JSON, GZIP = "application/zip", "application/json", "application/gzip"
MEDIA_TYPES = (ZIP, JSON, GZIP)  # in the order of preference

MASK_NAME, REPORT_NAME = "segmentation.nii.gz", "report.json"


def choose_media_type(accept: str) -> str:
    """The media type that an Accept header (RFC 9110, section 12.5.1) likes best; raises NotAcceptableError."""
    quality = _qualities(accept.strip() or "*/*")
    liking = {offer: quality.get(offer, quality.get("application/*", quality.get("*/*", 0.0))) for offer in MEDIA_TYPES}
    best = max(MEDIA_TYPES, key=lambda offer: liking[offer])
    if liking[best] == 0:
        raise NotAcceptableError(f"Accept: expected one of {', '.join(MEDIA_TYPES)}, found {accept}.")
    return best


def encode_answer(media_type: str, mask: bytes, report: Report) -> bytes:
    """The body of an answer, from the encoded mask and the report."""
    if media_type == GZIP:
        return mask
    report_json = report.model_dump_json(indent=2).encode()
    if media_type == JSON:
        return report_json
    body = BytesIO()
    with ZipFile(body, "w") as archive:
        archive.writestr(ZipInfo(MASK_NAME), mask)  # compressed already
        archive.writestr(ZipInfo(REPORT_NAME), report_json, ZIP_DEFLATED)
    return body.getvalue()


def _qualities(accept: str) -> Mapping[str, float]:
    qualities = {}
    for part in accept.lower().split(","):
        media_range, *parameters = (word.strip() for word in part.split(";"))
        given = [word.removeprefix("q=") for word in parameters if word.startswith("q=")]
        try:
            qualities[media_range] = float(given[0]) if given else 1.0
        except ValueError:
            qualities[media_range] = 0.0
    return qualities
