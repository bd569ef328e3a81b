"""What no document can say of this service: what the bodies that it calls binary hold. Loaded by schemathesis."""

from typing import Any

import schemathesis
from fuzz_inputs import good_image
from fuzz_requests import good_uploads
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation
from schemathesis.transport.requests import REQUESTS_TRANSPORT, multipart_serializer

from service.archive import ZIP_PART

ZIPPED = good_uploads()[0][ZIP_PART]
IMAGE = good_image((8, 9, 10))
LABELS = IMAGE[:352] + bytes(len(IMAGE) - 352)

schemathesis.openapi.media_type("application/zip", st.just(ZIPPED))
# By its own kind of binary, schemathesis cannot tell which forms the document allows.
schemathesis.openapi.format("binary", st.text(max_size=20))


@REQUESTS_TRANSPORT.serializer("multipart/form-data")
def write_form(context: schemathesis.SerializationContext, value: Any) -> Any:
    """Have the parts of a right form hold a case; those of a wrong one stay as they are."""
    meta = context.case.meta
    body = meta and meta.components.get(ParameterLocation.BODY)
    if isinstance(value, dict) and body and body.mode.is_positive:
        value = {name: {ZIP_PART: ZIPPED, "seg": LABELS}.get(name, IMAGE) for name in value}
    return multipart_serializer(context, value)
