"""Conformance tests go case by case: neighbours land on one worker, so a generator mostly compiles once."""


def pytest_collection_modifyitems(items):
    places = [index for index, item in enumerate(items) if item.path.name == "test_conformance.py"]
    moved = sorted((items[index] for index in places), key=_case)
    for index, item in zip(places, moved, strict=True):
        items[index] = item


def _case(item):
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return str(parameters.get("sampled", parameters.get("case", parameters.get("name", ""))))
