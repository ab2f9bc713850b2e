"""Tables of boxes: both formats, what is written comes back, and every kind of bad row is named with its line."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import polars as pl
import pytest

from hilum.datasets import box_tables
from hilum.datasets.box_tables import BoxTable, read, with_no_finding, write
from hilum.errors import BoxError

SUBMISSION = "image_id,PredictionString"
LONG = "image_id,class,score,x1,y1,x2,y2"
CORNERS = ["x1", "y1", "x2", "y2"]


def table(folder: Path, *rows: str, name: str = "boxes.csv") -> Path:
    path = folder / name
    text = "\n".join(rows) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_both_formats_say_the_same(tmp_path: Path, name: str):
    submission = read(
        table(
            tmp_path, SUBMISSION, "b,3 0.5 1 2 30 40 14 1 0 0 1 1", "a,0 0.25 5 5 9.5 9", "empty,", name=name
        )
    )
    long = read(
        table(
            tmp_path,
            LONG,
            "b,Cardiomegaly,0.5,1,2,30,40",
            "b,No finding,1,0,0,1,1",
            "a,Aortic enlargement,0.25,5,5,9.5,9",
            "empty,,,,,,",
            name="long.csv",
        )
    )
    for found in (submission, long):
        assert found.films["image_id"].to_list() == ["b", "a", "empty"]
        assert found.boxes["finding"].to_list() == ["Cardiomegaly", "No Finding", "Aortic Enlargement"]
        assert found.boxes["score"].to_list() == [0.5, 1, 0.25]
        assert found.boxes.select(CORNERS).rows() == [(1, 2, 30, 40), (0, 0, 1, 1), (5, 5, 9.5, 9)]
    assert submission.boxes["line"].to_list() == [2, 2, 3]
    assert long.boxes["line"].to_list() == [2, 3, 4]


@pytest.mark.parametrize("form", ["submission", "long"])
@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_what_is_written_comes_back(tmp_path: Path, form: str, name: str):
    first = read(table(tmp_path, SUBMISSION, "b,3 0.123456 1.25 2 3000.125 40 7 0.01 0 0 9 9", "empty,"))
    again = read(write(first, tmp_path / "sub" / name, form))
    assert again.format == form
    assert again.films["image_id"].to_list() == ["b", "empty"]
    assert again.boxes.drop("line").equals(first.boxes.drop("line"))


def test_a_truth_needs_no_scores_and_may_tell_patients(tmp_path: Path):
    path = table(
        tmp_path, "image_id,finding,x_min,y_min,x_max,y_max,patient", "a,Effusion,1,1,2,2,p1", "b,,,,,,p1"
    )
    truth = read(path, scored=False)
    assert truth.films["patient"].to_list() == ["p1", "p1"]
    assert truth.boxes["score"].to_list() == [None]
    with pytest.raises(BoxError, match="no column 'score'"):
        read(path)


def test_own_classes_have_names_and_numbers(tmp_path: Path):
    path = table(tmp_path, LONG, "a,left clavicle,1,1,1,2,2", "a,0,1,1,1,2,2")
    with pytest.raises(BoxError, match=r"line 2 .film 'a'.: the class 'left clavicle' is unknown"):
        read(path)
    found = read(path, classes=("right clavicle", "left clavicle"))
    assert found.boxes["finding"].to_list() == ["left clavicle", "right clavicle"]
    with pytest.raises(BoxError, match="no number in a submission"):
        write(found, tmp_path / "out.csv", "submission")


def test_a_rounding_beyond_the_edge_is_cut_off(tmp_path: Path):
    sizes = pl.DataFrame({"image_id": ["a"], "width": [100], "height": [50]})
    found = read(table(tmp_path, SUBMISSION, "a,3 0.5 -1 -0.5 100.9 51"), sizes=sizes)
    assert found.boxes.select(CORNERS).rows() == [(0, 0, 100, 50)]


BAD_SUBMISSIONS = {
    "b,3 0.5 1 2 30": "line 3 (film 'b'): 5 words are no whole number of boxes",
    "b": "line 3 (film 'b'): the row ends before its boxes",
    ",3 0.5 1 2 30 40": "line 3 (film ''): no film is named",
    "a,3 0.5 1 2 30 40": "line 3 (film 'a'): the film stands in an earlier row",
    "b,3 0.5 1 2 30 40 15 0.5 1 2 30 40": "line 3 (film 'b'), box 2: the class '15' is unknown",
    "b,3 nan 1 2 30 40": "line 3 (film 'b'), box 1: the score is 'nan'",
    "b,3 1.5 1 2 30 40": "line 3 (film 'b'), box 1: the score is '1.5'",
    "b,3 -0.1 1 2 30 40": "line 3 (film 'b'), box 1: the score is '-0.1'",
    "b,3 0.5 1 2 3O 40": "line 3 (film 'b'), box 1: x2 is '3O'",
    "b,3 0.5 1 2 inf 40": "line 3 (film 'b'), box 1: x2 is 'inf'",
    "b,3 0.5 30 2 1 40": "line 3 (film 'b'), box 1: the box is reversed: x2 is '1', below x1",
    "b,3 0.5 1 40 30 2": "line 3 (film 'b'), box 1: the box is reversed: y2 is '2', below y1",
    "b,3 0.5 1 2 1 40": "line 3 (film 'b'), box 1: the box is empty: x1 and x2 are '1'",
    "b,3 0.5 1 2 30 2": "line 3 (film 'b'), box 1: the box is empty: y1 and y2 are '2'",
    "b,3 0.5 -9 2 30 40": "line 3 (film 'b'), box 1: the box lies outside its film",
    "b,3 0.5 1 2 102 40": "line 3 (film 'b'), box 1: the box lies outside its film",
    "b,3 0.5 -0.9 2 -0.5 40": "line 3 (film 'b'), box 1: the box lies outside its film",
    "b,3 0.5 1 2 30 40 0 0.5 1 2 30 40 3 0.5 1 2 30 40": "line 3 (film 'b'), box 3: the same box of the same class",
}


@pytest.mark.parametrize("row", BAD_SUBMISSIONS)
def test_a_bad_row_of_a_submission_is_named(tmp_path: Path, row: str):
    path = table(tmp_path, SUBMISSION, "a,3 0.5 1 2 30 40", row, "z,3 0.5 1 2 30 40")
    sizes = pl.DataFrame({"image_id": ["b"], "width": [100], "height": [100]})
    with pytest.raises(BoxError, match=re.escape(BAD_SUBMISSIONS[row])) as raised:
        read(path, sizes=sizes)
    assert raised.value.path == path
    assert raised.value.mend
    kept = read(path, sizes=sizes, skip_bad=True)
    assert len(kept.faults) == 1
    assert {"a", "z"} <= set(kept.films["image_id"])
    assert BAD_SUBMISSIONS[row] in str(kept.faults[0])


BAD_ROWS = {
    "b,Effusion,0.5,1,1": "line 3 (film 'b'): 5 cells where the header has 7",
    "b,Effusion,0.5,1,1,2,2,9": "line 3 (film 'b'): 8 cells where the header has 7",
    ",Effusion,0.5,1,1,2,2": "line 3 (film ''): no film is named",
    "b,Efusion,0.5,1,1,2,2": "line 3 (film 'b'): the class 'Efusion' is unknown",
    "b,,0.5,1,1,2,2": "line 3 (film 'b'): the class '' is unknown",
    "b,Effusion,,1,1,2,2": "line 3 (film 'b'): the score is ''",
    "b,Effusion,NaN,1,1,2,2": "line 3 (film 'b'): the score is 'NaN'",
    "b,Effusion,0.5,1,1,2,": "line 3 (film 'b'): y2 is ''",
    '"b,Effusion,0.5,2,1,1,2': "line 3 (film '\"b,Effusion,0.5,2,1,1,2'): no row of a CSV file",
    "b,Effusion,0.5,2,1,1,2": "line 3 (film 'b'): the box is reversed",
    "a,Effusion,0.5,1,1,2,2": "line 3 (film 'a'): the same box of the same class and score stands above",
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_row_of_a_long_table_is_named(tmp_path: Path, row: str):
    path = table(tmp_path, LONG, "a,Effusion,0.5,1,1,2,2", row, "z,Effusion,0.5,1,1,2,2")
    with pytest.raises(BoxError, match=re.escape(BAD_ROWS[row])):
        read(path)
    kept = read(path, skip_bad=True)
    assert len(kept.faults) == 1
    assert kept.boxes["image_id"].to_list() == ["a", "z"]


def test_of_many_faults_the_first_is_named_and_the_others_counted(tmp_path: Path):
    path = table(tmp_path, SUBMISSION, "a,3 0.5 1", "b,3 2 1 2 3 4 3 0.5 9 9 1 1", "c,3 0.5 1 2 3 4")
    with pytest.raises(BoxError, match=r"line 2 .*\(and 2 more"):
        read(path)
    kept = read(path, skip_bad=True)
    assert [(f.line, f.box) for f in kept.faults] == [(2, None), (3, 1), (3, 2)]
    # A torn row tells nothing of its film; of one with bad boxes it is known which films there are.
    assert kept.films["image_id"].to_list() == ["b", "c"]


def test_a_film_has_one_patient(tmp_path: Path):
    path = table(tmp_path, LONG + ",patient", "a,Effusion,1,1,1,2,2,p", "a,Effusion,1,1,1,3,3,q")
    with pytest.raises(BoxError, match=r"line 3 .*of patient 'q' here"):
        read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"path,label\na,1\n", "no table of boxes: its header is 'path,label'"),
        (gzip.compress(b"image_id,PredictionString\n" * 50)[:-12], "cannot be read"),
        (b"\x89PNG\r\n\x1a\n", "no table of boxes"),
    ],
    # Named, since gzip writes the time into its bytes: every worker must find the same tests.
    ids=["empty", "other table", "cut gzip", "picture"],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / ("t.csv.gz" if content[:2] == b"\x1f\x8b" else "t.csv")
    path.write_bytes(content)
    with pytest.raises(BoxError, match=words):
        read(path)
    with pytest.raises(BoxError, match="cannot be read"):
        read(tmp_path / "absent.csv")


def test_a_header_alone_is_a_table_of_no_films(tmp_path: Path):
    for header in (SUBMISSION, LONG):
        found = read(table(tmp_path, header))
        assert (found.films.height, found.boxes.height) == (0, 0)


def test_films_without_boxes_become_no_finding(tmp_path: Path):
    truth: BoxTable = with_no_finding(read(table(tmp_path, LONG, "a,Effusion,1,1,1,2,2", "b,,,,,,")))
    added = truth.boxes.filter(finding=box_tables.NO_FINDING)
    assert added["image_id"].to_list() == ["b"]
    assert added.select(CORNERS).rows() == [(0, 0, 1, 1)]


def test_a_table_of_several_readers_is_no_single_truth(tmp_path: Path):
    path = tmp_path / "train.csv"
    path.write_text("image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\na,No finding,14,R1,,,,\n")
    with pytest.raises(BoxError, match="several readers"):
        read(path, scored=False)


def test_sizes_are_read_alike_everywhere(tmp_path: Path):
    good = table(
        tmp_path, "image_id,height,width,more", "a,105,100,x", "007,90,90,", "a,105,100,y", name="s.csv.gz"
    )
    assert box_tables.read_sizes(good).rows() == [("a", 100, 105), ("007", 90, 90)]


@pytest.mark.parametrize("row", ["b,0,100", "b,nan,100", "b,inf,100", "b,,100", "a,105,101", ",105,100"])
def test_a_size_that_is_none_or_another_than_above_is_named_with_its_line(tmp_path: Path, row: str):
    bad = table(tmp_path, "image_id,height,width", "a,105,100", "a,105,100", row, name="sizes.csv")
    with pytest.raises(BoxError, match=r"line 4 .* has no size, or another above"):
        box_tables.read_sizes(bad)


def test_a_table_is_whole_or_not_there(tmp_path: Path, monkeypatch):
    made = read(table(tmp_path, LONG, "a,Cardiomegaly,0.5,1,2,30,40"))
    before = write(made, tmp_path / "out.csv").read_bytes()

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write(made, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == before
