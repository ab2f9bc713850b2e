"""How far two models' macro AUCs lie apart on the films that both scored, paired film by film (DeLong, by patient).

    python -m benchmarks.compare_predictions FIRST/predictions.parquet SECOND/predictions.parquet

Both files are what `hilum evaluate` writes. Prints first minus second, with its 95 % interval and p-value.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hilum.evaluation.delong import compare_macro_auc
from hilum.studies.results import aligned, read


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    arguments = parser.parse_args()
    first, second = aligned([read(arguments.first), read(arguments.second)])
    if first.labels != second.labels:
        parser.error(f"the two have other labels: {', '.join(first.labels)}; {', '.join(second.labels)}")
    found = compare_macro_auc(first.truth, first.probability, second.probability, first.patients)
    gain = found.difference
    print(
        f"macro AUC {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}), p = {found.p_value:.2f}, n = {gain.n}"
    )


if __name__ == "__main__":
    main()
