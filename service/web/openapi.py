"""The parts of the OpenAPI document that FastAPI cannot derive from the routes."""

from typing import Any

from service.imaging.case import Modality
from service.imaging.names import ROLE_OF_SUFFIX
from service.intake.archive import ZIP_NAME
from service.problems import INTERNAL, INVALID_PARAMETER, PROBLEM_TYPES, TYPE_PREFIX
from service.schemas import JobStatus, Problem, Report
from service.web.multipart import DICOM_NAME
from service.web.negotiation import GZIP, ZIP
from service.web.problem_handlers import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]


def _one_name_of(modality: Modality) -> dict[str, Any]:
    """Schema that requires exactly one part for a modality, under any of the modality's names."""
    return {"oneOf": [{"required": [suffix]} for suffix, role in ROLE_OF_SUFFIX.items() if role == modality]}


BINARY = {"type": "string", "format": "binary"}
PARTS = {suffix: BINARY | {"description": f"{role}, .nii or .nii.gz"} for suffix, role in ROLE_OF_SUFFIX.items()}
FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        ZIP_NAME: BINARY | {"description": "the zip, and no other part"},
        DICOM_NAME: {
            "type": "array",
            "items": BINARY,
            "minItems": 1,
            "description": "the files of a DICOM study, one part each, and no other part",
        },
    }
    | PARTS,
    "additionalProperties": False,
    "oneOf": [
        {"required": [ZIP_NAME], "maxProperties": 1},
        {"required": [DICOM_NAME], "maxProperties": 1},
        {
            "properties": {ZIP_NAME: False, DICOM_NAME: False},
            "allOf": [_one_name_of(modality) for modality in Modality],
        },
    ],
}
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "The four modalities and, optionally, ground truth, in a zip or as one part per volume; or a DICOM "
    "study, in a zip or as one part per file.",
    "content": {
        "application/zip": {"schema": BINARY},
        "multipart/form-data": {"schema": FORM},
    },
}
RESULT_RESPONSES: Responses = {
    200: {
        "model": Report,
        "description": "The label map `segmentation.nii.gz` and `report.json`, or one of them.",
        "content": {ZIP: {"schema": BINARY}, GZIP: {"schema": BINARY}},
    }
}
ACCEPTED_RESPONSES: Responses = {
    202: {
        "model": JobStatus,
        "description": "With `Prefer: respond-async`: accepted and stored on disk; `Location` is the job's URL.",
    }
}


def problem_responses(*statuses: int) -> Responses:
    """The responses of a route that can fail with these statuses."""
    return {status: _problem_response(status) for status in statuses}


def _problem_response(status: int) -> dict[str, Any]:
    kinds = [
        kind for kind in dict.fromkeys((*PROBLEM_TYPES.values(), INVALID_PARAMETER, INTERNAL)) if kind.status == status
    ]
    schema = Problem.model_json_schema()
    schema["properties"]["type"]["enum"] = [TYPE_PREFIX + kind.slug for kind in kinds]
    return {"description": "; ".join(kind.title for kind in kinds), "content": {MEDIA_TYPE: {"schema": schema}}}


def without_authentication(document: dict[str, Any]) -> dict[str, Any]:
    """Remove authentication from an OpenAPI document, for a service that requires no API keys."""
    components = {name: part for name, part in document["components"].items() if name != "securitySchemes"}
    paths = {
        path: {method: {**operation, "security": []} for method, operation in operations.items()}
        for path, operations in document["paths"].items()
    }
    return {**document, "components": components, "paths": paths}
