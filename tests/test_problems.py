import inspect

from service import errors
from service.problems import KINDS
from service.segmentation import errors as core


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
