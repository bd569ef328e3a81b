"""An answer to POST /segment, its forms, and the choice between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from service.errors import NotAcceptableError

ZIP, JSON, GZIP = "application/zip", "application/json", "application/gzip"
MEDIA_TYPES = (ZIP, JSON, GZIP)  # in the order of preference

MASK_NAME, REPORT_NAME = "segmentation.nii.gz", "report.json"


@dataclass(frozen=True)
class Answer:
    """What came of a case: the mask as .nii.gz, and the report as JSON."""

    mask: bytes
    report: bytes


def choose_media_type(accept: str) -> str:
    """The media type that an Accept header (RFC 9110, section 12.5.1) likes best; raises NotAcceptableError."""
    quality = _qualities(accept.strip() or "*/*")
    liking = {offer: quality.get(offer, quality.get("application/*", quality.get("*/*", 0.0))) for offer in MEDIA_TYPES}
    best = max(MEDIA_TYPES, key=lambda offer: liking[offer])
    if liking[best] == 0:
        raise NotAcceptableError(f"Accept: expected one of {', '.join(MEDIA_TYPES)}, found {accept}.")
    return best


def encode_answer(media_type: str, answer: Answer) -> bytes:
    """The body of an answer in one of MEDIA_TYPES."""
    if media_type == GZIP:
        return answer.mask
    if media_type == JSON:
        return answer.report
    body = BytesIO()
    with ZipFile(body, "w") as archive:
        archive.writestr(_readable(MASK_NAME), answer.mask)  # compressed already
        archive.writestr(_readable(REPORT_NAME), answer.report, ZIP_DEFLATED)
    return body.getvalue()


def _readable(name: str) -> ZipInfo:
    """An entry, of no date, that everyone may read once it is unpacked."""
    entry = ZipInfo(name)
    entry.external_attr = 0o644 << 16
    return entry


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
