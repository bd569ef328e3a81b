"""Content negotiation: the media types of a result, and the choice between them by the Accept header."""

from collections.abc import Mapping
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from service.errors import NotAcceptableError
from service.jobs.result import JobResult

ZIP, JSON, GZIP = "application/zip", "application/json", "application/gzip"
MEDIA_TYPES = (ZIP, JSON, GZIP)  # in the order of the service's preference
ALIASES = {"application/octet-stream": ZIP, "application/x-zip-compressed": ZIP, "application/x-gzip": GZIP}


def choose_media_type(accept: str) -> str:
    """The client's preferred media type in an Accept header (RFC 9110, section 12.5.1). Raises NotAcceptableError."""
    quality = _qualities(accept.strip() or "*/*")
    weights = {
        offer: quality.get(offer, quality.get("application/*", quality.get("*/*", 0.0))) for offer in MEDIA_TYPES
    }
    best = max(MEDIA_TYPES, key=lambda offer: weights[offer])
    if weights[best] == 0:
        raise NotAcceptableError(f"Accept: expected one of {', '.join(MEDIA_TYPES)}, found {accept}.")
    return best


def encode_result(media_type: str, result: JobResult) -> bytes:
    """The body of a result in one of MEDIA_TYPES."""
    if media_type == GZIP:
        return result.label_map
    if media_type == JSON:
        return result.report
    body = BytesIO()
    with ZipFile(body, "w") as archive:
        for name, content in result.files.items():
            archive.writestr(_entry(name), content, ZIP_STORED if name.endswith(".gz") else ZIP_DEFLATED)
    return body.getvalue()


def _entry(name: str) -> ZipInfo:
    """An entry without a date, so that equal results give equal zips; readable by everyone once unpacked."""
    entry = ZipInfo(name)
    entry.external_attr = 0o644 << 16
    return entry


def _qualities(accept: str) -> Mapping[str, float]:
    """Quality value of each media range; invalid ones count as 0."""
    qualities = {}
    for part in accept.lower().split(","):
        media_range, *parameters = (word.strip() for word in part.split(";"))
        given = [word.removeprefix("q=") for word in parameters if word.startswith("q=")]
        try:
            quality = float(given[0]) if given else 1.0
        except ValueError:
            quality = 0.0
        qualities[ALIASES.get(media_range, media_range)] = quality
    return qualities
