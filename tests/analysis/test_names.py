"""Names of films in tables: a file's own, and by its folders where several files share it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.analysis.names import names_of, own_name


@pytest.mark.parametrize(
    ("films", "names"),
    [
        (["one/a.png", "two/b.dcm"], ["a", "b"]),
        (["one/x.png", "two/x.png"], ["one/x", "two/x"]),
        (["two/x.png", "one/x.png"], ["two/x", "one/x"]),
        (["p/one/x.png", "q/one/x.png", "q/x-2.png"], ["p/one/x", "q/one/x", "x-2"]),
        (["one/x.png", "one/x.dcm"], ["one/x.png", "one/x.dcm"]),
        (["one/x.png", "one/x.dcm", "two/x.png"], ["one/x.png", "one/x.dcm", "two/x.png"]),
        (["one/1.2.840.7", "one/1.2.840.8"], ["1.2.840.7", "1.2.840.8"]),
        (["film (3).PNG"], ["film (3)"]),
        (["a/x\n.png", "b/y.png"], ["x\\n", "y"]),
    ],
)
def test_a_film_goes_by_its_file_and_by_folders_where_two_share_one(films, names):
    assert names_of([Path(film) for film in films]) == names


def test_a_relative_path_has_folders_too(tmp_path: Path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert names_of([Path("x.png"), Path("../there/x.png")]) == ["here/x", "there/x"]


parts = st.lists(st.sampled_from(["a", "b", "x", "x.png", "x.dcm"]), min_size=1, max_size=3)


@given(st.lists(st.tuples(parts, st.sampled_from(["", ".png", ".dcm", ".PNG"])), unique_by=str))
def test_no_two_films_have_one_name_and_order_decides_nothing(made):
    films = [Path("/" + "/".join(folders) + ending) for folders, ending in made]
    films = list({os.path.abspath(film): film for film in films}.values())
    names = names_of(films)
    assert len(set(names)) == len(names)
    assert names == names_of(films[::-1])[::-1]
    for film, name in zip(films, names, strict=True):
        assert own_name(film) in name
