"""What no document can say of this service: what the bodies that it calls binary hold. Loaded by schemathesis."""

from typing import Any

import schemathesis
from fuzz_inputs import good_image
from fuzz_requests import good_uploads
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation

from service.archive import ZIP_PART

ZIPPED = good_uploads()[0][ZIP_PART]

schemathesis.openapi.media_type("application/zip", st.just(ZIPPED))


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:  # noqa: ARG001
    """Have the parts that the document's schema asks for hold a case; those that are to be wrong stay as they are."""
    body = case.meta and case.meta.components.get(ParameterLocation.BODY)
    if body and body.mode.is_positive and isinstance(case.body, dict):
        case.body = {name: content_of(name) for name in case.body}


def content_of(part: str) -> bytes:
    """A zip, an image, or the labels of one."""
    if part == ZIP_PART:
        return ZIPPED
    image = good_image((8, 9, 10))
    return image[:352] + bytes(len(image) - 352) if part == "seg" else image
