"""Labels from text: every phrase and cue of the file has a sentence made of it, every rule of scope one by hand."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.datasets.report_labels import (
    NO_TEXT,
    NOT_ENGLISH,
    evidence_table,
    is_list,
    label_table,
    read_list,
    read_report,
)
from hilum.datasets.report_phrases import PLACE
from hilum.datasets.report_sections import is_english, sections, sentences
from hilum.errors import DataError
from hilum.findings import NIH14, UnknownFindingError

PAGE: dict[str, Any] = yaml.safe_load(PLACE.read_text(encoding="utf-8"))
SHORT = {"positive": "+", "uncertain": "?", "negated": "-"}


def said(text: str) -> dict[str, str]:
    """What a text says of the findings that it mentions: + asserted, ? doubted, - denied."""
    return {finding: SHORT[value] for finding, value in read_report(text).values.items() if value is not None}


def spoken(phrase: str) -> str:
    """A phrase of the file as words: the first of alternatives, without what may be left out."""
    words = []
    for token in phrase.split():
        if token == "..." or token.endswith("?"):
            continue
        word = token if token in ("r/o", "h/o", "s/p") else token.split("/")[0]
        words.append((PAGE["words"][word[1:]][0] if word.startswith("$") else word).rstrip("*"))
    return " ".join(words)


def phrases_of(key: str) -> list[tuple[str, str]]:
    return [(f, spoken(p)) for f, part in PAGE["findings"].items() for p in part.get(key, ())]


def rows_of(key: str) -> list[tuple[tuple[str, ...], str]]:
    return [
        (NIH14 if row["findings"] == "all" else tuple(row["findings"]), spoken(p))
        for row in PAGE[key]
        for p in row["phrases"]
    ]


def cues_of(side: str) -> list[tuple[str, str]]:
    return [
        (s, spoken(c)) for s in ("negated", "uncertain", "ignored") for c in PAGE["cues"][s].get(side, ())
    ]


def test_the_file_knows_all_fourteen() -> None:
    assert set(PAGE["findings"]) == set(NIH14)


@pytest.mark.parametrize(("finding", "phrase"), phrases_of("mentions"))
def test_a_mention_asserts(finding: str, phrase: str) -> None:
    found = said(f"There is {phrase}.")
    assert found[finding] == ("-" if " not " in f" {phrase} " else "+")


@pytest.mark.parametrize(("finding", "phrase"), phrases_of("uncertain"))
def test_a_phrase_of_doubt_doubts(finding: str, phrase: str) -> None:
    assert said(f"{phrase}.")[finding] == "?"
    assert said(f"No {phrase}.")[finding] == "-"


@pytest.mark.parametrize(("finding", "phrase"), phrases_of("normal"))
def test_a_phrase_of_health_denies(finding: str, phrase: str) -> None:
    assert said(f"{phrase}.")[finding] == "-"


@pytest.mark.parametrize(("finding", "phrase"), phrases_of("exclude"))
def test_what_only_sounds_like_a_finding_is_none(finding: str, phrase: str) -> None:
    assert finding not in said(f"There is {phrase}.")


@pytest.mark.parametrize(("findings", "phrase"), rows_of("denials"))
def test_wider_words_count_only_denied(findings: tuple[str, ...], phrase: str) -> None:
    denied = said(f"No {phrase}.")
    assert all(denied[finding] == "-" for finding in findings)
    assert not set(findings) & set(said(f"There is {phrase}."))


@pytest.mark.parametrize(("findings", "phrase"), rows_of("normal"))
def test_all_is_well(findings: tuple[str, ...], phrase: str) -> None:
    found = said(f"{phrase}.")
    assert all(found[finding] == "-" for finding in findings)


EXPECTED = {"negated": {"Emphysema": "-"}, "uncertain": {"Emphysema": "?"}, "ignored": {}}


@pytest.mark.parametrize(("status", "cue"), [*cues_of("before"), *cues_of("around")])
def test_a_cue_in_front(status: str, cue: str) -> None:
    assert said(f"{cue} mild emphysema.") == EXPECTED[status]


@pytest.mark.parametrize(("status", "cue"), [*cues_of("after"), *cues_of("around")])
def test_a_cue_behind(status: str, cue: str) -> None:
    assert said(f"Mild emphysema {cue}.") == EXPECTED[status]


@pytest.mark.parametrize("cue", [spoken(c) for c in PAGE["cues"]["affirmed"]["around"]])
def test_what_was_there_before_and_still_is(cue: str) -> None:
    assert said(f"Previously described emphysema {cue}.") == {"Emphysema": "+"}
    assert said("Previously described emphysema.") == {}


@pytest.mark.parametrize("cue", [spoken(c) for c in PAGE["cues"]["neutral"]])
def test_words_that_look_like_a_cue_and_are_none(cue: str) -> None:
    assert said(f"{cue} the emphysema.") == {"Emphysema": "+"}


@pytest.mark.parametrize("cue", [spoken(c) for c in PAGE["cues"]["stop"]])
def test_words_that_end_a_scope(cue: str) -> None:
    assert said(f"No pneumothorax {cue} emphysema.") == {"Pneumothorax": "-", "Emphysema": "+"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # lists and conjunctions
        ("No effusion or pneumothorax but consolidation.", {"Effusion": "-", "Pneumothorax": "-", "Consolidation": "+"}),
        ("No consolidation, pneumothorax, or effusion is seen.",
         {"Consolidation": "-", "Pneumothorax": "-", "Effusion": "-"}),
        ("No pneumothorax and no effusion.", {"Pneumothorax": "-", "Effusion": "-"}),
        ("No pneumothorax, heart is enlarged.", {"Pneumothorax": "-", "Cardiomegaly": "+"}),
        ("No pneumothorax, small left effusion.", {"Pneumothorax": "-", "Effusion": "+"}),
        ("No pneumothorax, small effusion, or edema.", {"Pneumothorax": "-", "Effusion": "-", "Edema": "-"}),
        ("No consolidation, large effusion/pneumothorax.", {"Consolidation": "-", "Effusion": "-", "Pneumothorax": "-"}),
        ("There is cardiomegaly and effusion is not seen.", {"Cardiomegaly": "+", "Effusion": "-"}),
        ("No pneumothorax with small effusion.", {"Pneumothorax": "-", "Effusion": "+"}),
        ("Possible pneumonia with effusion.", {"Pneumonia": "?", "Effusion": "+"}),
        ("Atelectasis without effusion.", {"Atelectasis": "+", "Effusion": "-"}),
        ("Consolidation and edema have resolved.", {"Consolidation": "-", "Edema": "-"}),
        ("Neither effusion nor pneumothorax.", {"Effusion": "-", "Pneumothorax": "-"}),
        # denial and doubt together
        ("No findings suggestive of pneumonia.", {"Pneumonia": "-"}),
        ("No effusion, possible pneumonia.", {"Effusion": "-", "Pneumonia": "?"}),
        ("Opacity may represent atelectasis or pneumonia.", {"Atelectasis": "?", "Pneumonia": "?"}),
        ("Atelectasis or infiltrate at the left base.", {"Atelectasis": "?", "Infiltration": "?"}),
        ("Slight cardiomegaly with no edema or pneumonia.", {"Cardiomegaly": "+", "Edema": "-", "Pneumonia": "-"}),
        ("Atelectasis versus pneumonia.", {"Atelectasis": "?", "Pneumonia": "?"}),
        ("Opacity compatible with pneumonia.", {"Pneumonia": "+"}),
        ("Opacity may be compatible with pneumonia.", {"Pneumonia": "?"}),
        ("Cannot exclude edema.", {"Edema": "?"}),
        # other times
        ("History of pneumonia.", {}),
        ("Previously seen effusion has resolved.", {"Effusion": "-"}),
        ("Previously noted effusion is unchanged.", {"Effusion": "+"}),
        ("Stable cardiomegaly.", {"Cardiomegaly": "+"}),
        ("No change in the effusion.", {"Effusion": "+"}),
        ("No significant interval change in emphysema.", {"Emphysema": "+"}),
        ("Emphysema, compared to prior exam.", {"Emphysema": "+"}),
        # the heart
        ("The heart is not enlarged.", {"Cardiomegaly": "-"}),
        ("Heart size is normal.", {"Cardiomegaly": "-"}),
        ("The cardiac silhouette is mildly enlarged.", {"Cardiomegaly": "+"}),
        ("Heart size is at the upper limits of normal.", {"Cardiomegaly": "-"}),
        ("Heart size is upper limits of normal to mildly enlarged.", {"Cardiomegaly": "?"}),
        ("The heart is borderline enlarged.", {"Cardiomegaly": "?"}),
        ("Heart size normal and the aorta is enlarged.", {"Cardiomegaly": "-"}),
        # sides, wider words, what is partly well
        ("Lungs are not clear.", {}),
        ("Right lung is clear.", {}),
        ("Lungs are clear of infiltrate.", {"Infiltration": "-"}),
        ("Airspace consolidation in the right upper lobe.", {"Consolidation": "+"}),
        ("Pleural scarring/thickening.", {"Pleural Thickening": "+"}),
        # of several sentences the strongest counts
        ("No effusion. Small effusion.", {"Effusion": "+"}),
        ("No effusion. Possible effusion.", {"Effusion": "?"}),
        ("Possible effusion. There is an effusion.", {"Effusion": "+"}),
    ],
)  # fmt: skip
def test_scopes(text: str, expected: dict[str, str]) -> None:
    assert said(text) == expected


WORDS = {finding: finding.lower() for finding in NIH14} | {"Infiltration": "infiltrate"}


@given(
    finding=st.sampled_from(NIH14),
    other=st.sampled_from(NIH14),
    lead=st.sampled_from(["", "mild ", "left-sided ", "stable small "]),
)
@settings(max_examples=60, deadline=None)
def test_every_finding_under_every_kind_of_cue(finding: str, other: str, lead: str) -> None:
    word = lead + WORDS[finding]
    assert said(f"There is {word}.") == {finding: "+"}
    assert said(f"No {word}.") == {finding: "-"}
    assert said(f"Possible {word}.") == {finding: "?"}
    assert said(f"History of {word}.") == ({finding: "+"} if "stable" in lead else {})
    assert said(f"No {word} but {WORDS[other]}.") == {finding: "-"} | {other: "+"}


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_text_breaks_it(text: str) -> None:
    found = read_report(text)
    assert set(found.values) == set(NIH14)
    assert set(found.values.values()) <= {"positive", "uncertain", "negated", None}


def test_only_what_is_about_this_film_counts() -> None:
    text = "INDICATION: rule out pneumonia\nCOMPARISON: film with effusion\nFINDINGS: Cardiomegaly.\nIMPRESSION: No edema."
    assert said(text) == {"Cardiomegaly": "+", "Edema": "-"}
    assert said("Indication: pneumothorax. Impression: emphysema.") == {"Emphysema": "+"}
    told = "REASON FOR EXAM: pneumonia\n\nThe heart is enlarged. There is no effusion.\n\nIMPRESSION: Cardiomegaly."
    assert said(told) == {"Cardiomegaly": "+", "Effusion": "-"}
    assert [s.name for s in sections(told)] == ["reason for exam", "findings", "impression"]
    assert said("No effusion is seen.") == {"Effusion": "-"}
    assert read_report("INDICATION: pneumonia").note == NO_TEXT


def test_sentences() -> None:
    text = "1. Nodule of 2.5 cm. 2. No\neffusion; heart: enlarged.No edema?\n\n- w/o pneumothorax and/or mass"
    assert list(sentences(text)) == [
        "nodule of 2.5 cm", "no effusion", "heart enlarged", "no edema", "without pneumothorax or mass",
    ]  # fmt: skip


def test_text_without_an_end_is_cut_between_words() -> None:
    pieces = list(sentences("no effusion possible pneumonia " * 500))
    assert max(map(len, pieces)) <= 2000
    assert " ".join(pieces).split() == ["no", "effusion", "possible", "pneumonia"] * 500
    assert "".join(sentences("x" * 5000)) == "x" * 5000


def test_other_languages_are_told() -> None:
    for text in (
        "Silueta cardiaca normal. No se observa derrame pleural ni neumotórax en esta radiografía.",
        "Kein Pleuraerguss, kein Pneumothorax. Herz nicht vergrößert, Lunge beidseits frei belüftet.",
        "Absence d'épanchement pleural. Silhouette cardiaque normale, pas de foyer de consolidation.",
        "Без очаговых и инфильтративных изменений",
    ):
        assert read_report(text).note == NOT_ENGLISH, text
        assert set(read_report(text).values.values()) == {None}
    assert is_english("Cardiomegaly. No effusion.")
    assert read_report("").note == read_report("  \n").note == NO_TEXT


def test_lists_of_findings() -> None:
    found = read_list("Cardiomegaly|Effusion")
    assert {f for f, v in found.values.items() if v == "positive"} == {"Cardiomegaly", "Effusion"}
    assert found.values["Mass"] is None
    assert set(read_list("No Finding").values.values()) == {"negated"}
    assert read_list("Pleural_Thickening").values["Pleural Thickening"] == "positive"
    assert is_list("Infiltrate|Mass")
    assert not is_list("There is a mass.")
    assert not is_list("")
    with pytest.raises(UnknownFindingError):
        read_list("Cardiomegaly|Wombat")
    with pytest.raises(DataError, match="names findings and No Finding"):
        read_list("No Finding|Mass")


@given(st.sets(st.sampled_from(NIH14), min_size=1))
@settings(max_examples=30, deadline=None)
def test_a_list_comes_back(findings: set[str]) -> None:
    numbers = read_list("|".join(sorted(findings))).numbers()
    assert {f for f, v in numbers.items() if v == 1} == findings
    assert {v for f, v in numbers.items() if f not in findings} <= {None}


def test_uncertain_becomes_what_was_asked_for() -> None:
    found = read_report("No effusion. Possible pneumonia. Cardiomegaly.")
    kept = {"apart": -1.0, "unknown": None, "positive": 1.0, "negative": 0.0}
    for policy, value in kept.items():
        numbers = found.numbers(policy)  # type: ignore[arg-type]
        assert (numbers["Effusion"], numbers["Cardiomegaly"], numbers["Hernia"]) == (0, 1, None)
        assert numbers["Pneumonia"] == value
    table = label_table({"a": found, "b": read_report("")}, "unknown")
    assert table.columns == ["report", *NIH14, "note"]
    assert table["Pneumonia"].null_count() == 2
    assert table["note"].to_list() == [None, NO_TEXT]
    assert evidence_table({"a": found}).row(1) == (
        "a", "Pneumonia", "uncertain", "pneumonia", "possible", "possible pneumonia",
    )  # fmt: skip
