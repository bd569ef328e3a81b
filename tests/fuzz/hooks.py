"""Hooks of schemathesis: the content of binary bodies, which the OpenAPI document cannot describe."""

from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation
from schemathesis.transport.requests import REQUESTS_TRANSPORT, multipart_serializer

from fuzz.corpus import make_image, valid_uploads
from service.intake.archive import ZIP_NAME

ZIPPED = valid_uploads()[0][ZIP_NAME]
IMAGE = make_image((8, 9, 10))
LABELS = IMAGE[:352] + bytes(len(IMAGE) - 352)

schemathesis.openapi.media_type("application/zip", st.just(ZIPPED))
# With its own strategy for "binary", schemathesis cannot decide which form bodies the document allows.
schemathesis.openapi.format("binary", st.text(max_size=20))


@REQUESTS_TRANSPORT.serializer("multipart/form-data")
def write_form(context: schemathesis.SerializationContext, value: Any) -> Any:
    """Replace the parts of a valid form by those of a case; leave an invalid form unchanged."""
    meta = context.case.meta
    body = meta and meta.components.get(ParameterLocation.BODY)
    if isinstance(value, dict) and body and body.mode.is_positive:
        value = {name: {ZIP_NAME: ZIPPED, "seg": LABELS}.get(name, IMAGE) for name in value}
    return multipart_serializer(context, value)
