"""The check that each class name has one meaning."""

from __future__ import annotations

from tests.lint.class_names import clashes


def test_a_name_in_two_modules_is_a_clash() -> None:
    modules = [
        ("a.py", "class Server: ..."),
        ("b.py", "class _Server: ..."),
        ("c.py", "class Other: ..."),
    ]
    assert clashes(modules) == {"Server": ["a.py", "b.py"]}


def test_type_aliases_count_and_constants_and_variables_do_not() -> None:
    modules = [
        (
            name,
            "from typing import TypeVar\nArrays = dict[str, int]\nLIMIT = 3\n_Value = TypeVar('_Value')\n",
        )
        for name in ("a.py", "b.py")
    ]
    assert clashes(modules) == {"Arrays": ["a.py", "b.py"]}


def test_a_name_twice_in_one_module_is_no_clash() -> None:
    assert clashes([("a.py", "class Pod: ...\nclass _Pod: ...")]) == {}
