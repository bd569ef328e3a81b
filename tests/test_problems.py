import inspect
import re
from pathlib import Path

from service import errors
from service.problems import INTERNAL, INVALID_PARAMETER, KINDS
from service.segmentation import errors as core

README = Path(__file__).parents[1] / "README.md"


def leaves(root: type[Exception]) -> set[type[Exception]]:
    below = root.__subclasses__()
    return set().union(*(leaves(error) for error in below)) if below else {root}


def test_every_error_that_a_request_can_meet_has_its_problem():
    assert set(KINDS) == leaves(errors.RequestError) | leaves(core.InputError)


def test_every_error_stands_in_the_tree_that_its_module_draws():
    for module in (errors, core):
        defined = [name for name, value in vars(module).items() if inspect.isclass(value)]
        assert all(name in module.__doc__ for name in defined)


def test_one_kind_has_one_status_and_title():
    by_slug = {}
    for kind in KINDS.values():
        assert by_slug.setdefault(kind.slug, kind) == kind


def test_every_problem_stands_in_the_readme_beside_its_status():
    rows = re.findall(r"^\| (\d{3}) \| (.*) \|$", README.read_text(), re.MULTILINE)
    listed = {(int(status), slug) for status, slugs in rows for slug in re.findall(r"`([a-z-]+)`", slugs)}
    assert {(kind.status, kind.slug) for kind in (*KINDS.values(), INVALID_PARAMETER, INTERNAL)} == listed
