"""Labels from text by Hilum's scopes, by negspacy's NegEx, and by words alone, on the same phrases and reports.

    python -m benchmarks.report_labels ROOT/openi/NLMCXR_reports.tgz

negspacy (MIT) with spaCy (MIT) is no dependency: `pip install negspacy`. It tells denied from asserted, so uncertain is
taken as positive for Hilum too. All of Open-I's reports with tags, both halves; F1 by finding, and seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import spacy
from negspacy.negation import Negex  # noqa: F401  # registers the pipe "negex"
from spacy.util import filter_spans

from hilum.datasets.report_files import Report, reports
from hilum.datasets.report_labels import read
from hilum.datasets.report_phrases import phrases
from hilum.datasets.report_scores import half, tagged
from hilum.datasets.report_sections import sentences
from hilum.evaluation.confusion import count, macro
from hilum.findings import NIH14

Reader = Callable[[Report], set[str]]


def by_scopes(report: Report) -> set[str]:
    return {f for f, value in read(report).values.items() if value in ("positive", "uncertain")}


def by_words(report: Report) -> set[str]:
    return {
        finding
        for part in report.sections
        if part.counts
        for sentence in sentences(part.text)
        for mention in phrases().mentions_in(sentence)
        if mention.said in ("finding", "perhaps")
        for finding in mention.findings
    }


def by_negspacy() -> Reader:
    language = spacy.blank("en")
    language.add_pipe("sentencizer")
    language.add_pipe("negex")

    def labels(report: Report) -> set[str]:
        found = set()
        for part in report.sections:
            if not part.counts:
                continue
            for sentence in sentences(part.text):
                mentions = [m for m in phrases().mentions_in(sentence) if m.said in ("finding", "perhaps")]
                if not mentions:
                    continue
                doc = language.make_doc(sentence)
                spans = [
                    doc.char_span(m.start, m.end, label=m.findings[0], alignment_mode="expand")
                    for m in mentions
                ]
                doc.ents = filter_spans([span for span in spans if span is not None])
                for _, pipe in language.pipeline:
                    doc = pipe(doc)
                found |= {entity.label_ for entity in doc.ents if not entity._.negex}
        return found

    return labels


def main(path: str) -> None:
    every = [r for r in reports(path)[1] if isinstance(r, Report)]
    known = [(r, t) for r in every if (t := tagged(r.tags or ())) is not None and not read(r).note]
    truth = np.array([[t[f] for f in NIH14] for _, t in known], float)
    held_out = np.array([half(r.name) == "held-out" for r, _ in known])
    scores = {}
    for name, reader in (("Hilum", by_scopes), ("negspacy", by_negspacy()), ("words alone", by_words)):
        start = time.perf_counter()
        called = np.array([[f in found for f in NIH14] for found in (reader(r) for r, _ in known)])
        seconds = time.perf_counter() - start
        f1 = count(truth[held_out], called[held_out]).f1
        whole = count(truth[held_out], called[held_out]).pooled().f1[0]
        scores[name] = (*f1, float(macro(f1)), whole, float(macro(count(truth, called).f1)), seconds)
    rows = (*NIH14, "macro", "micro", "macro, both halves", "seconds")
    print(f"{held_out.sum():,} reports of the held-out half; F1, uncertain as positive")
    print("| | " + " | ".join(scores) + " |\n|---|" + "---|" * len(scores))
    for place, row in enumerate(rows):
        print(f"| {row} | " + " | ".join(f"{values[place]:.3f}" for values in scores.values()) + " |")


if __name__ == "__main__":
    main(sys.argv[1])
