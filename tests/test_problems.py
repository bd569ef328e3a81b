import inspect
import re
from pathlib import Path

from service import errors
from service.app import create_app
from service.imaging import errors as core
from service.problems import INTERNAL, INVALID_PARAMETER, PROBLEM_TYPES, TYPE_PREFIX
from service.settings import Settings
from service.web.problem_handlers import MEDIA_TYPE

ERRORS = Path(__file__).parents[1] / "docs" / "errors.md"


def leaves(root: type[Exception]) -> set[type[Exception]]:
    """The errors of a tree that have no subclasses."""
    children = root.__subclasses__()
    return set().union(*(leaves(error) for error in children)) if children else {root}


def test_every_request_error_has_a_problem():
    assert set(PROBLEM_TYPES) == leaves(errors.RequestError) | leaves(core.InputError)


def test_every_error_is_in_the_tree_of_its_module_docstring():
    for module in (errors, core):
        defined = [name for name, value in vars(module).items() if inspect.isclass(value)]
        assert all(name in module.__doc__ for name in defined)


def test_each_problem_type_has_one_status_and_title():
    by_slug = {}
    for kind in PROBLEM_TYPES.values():
        assert by_slug.setdefault(kind.slug, kind) == kind


def test_every_problem_is_documented():
    rows = re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \| (.+) \| (.+) \|$", ERRORS.read_text(), re.MULTILINE)
    kinds = {(kind.status, kind.slug) for kind in (*PROBLEM_TYPES.values(), INVALID_PARAMETER, INTERNAL)}
    assert sorted(kinds) == sorted((int(status), slug) for status, slug, _, _ in rows)


def test_every_problem_is_in_the_openapi_document():
    document = create_app(Settings(keys_file=Path("any"))).openapi()
    responses = [
        (status, response["content"][MEDIA_TYPE]["schema"]["properties"]["type"]["enum"])
        for path in document["paths"].values()
        for operation in path.values()
        for status, response in operation["responses"].items()
        if MEDIA_TYPE in response.get("content", {})
    ]
    documented = {(int(status), urn.removeprefix(TYPE_PREFIX)) for status, urns in responses for urn in urns}
    assert documented == {(kind.status, kind.slug) for kind in (*PROBLEM_TYPES.values(), INVALID_PARAMETER, INTERNAL)}


def test_every_422_response_is_documented_as_a_problem():
    document = create_app(Settings()).openapi()
    contents = [
        operation["responses"]["422"]["content"]
        for path in document["paths"].values()
        for operation in path.values()
        if "422" in operation["responses"]
    ]
    assert contents
    assert all(list(content) == [MEDIA_TYPE] for content in contents)
