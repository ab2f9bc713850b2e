"""Several bundles of one kind joined into one whose probability is the mean of theirs (Lakshminarayanan 2017)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from hilum import __version__
from hilum.bundles.bundle import Bundle
from hilum.bundles.encoding import refuse_encoder
from hilum.bundles.generating import refuse_generator
from hilum.bundles.info import Architecture, Cut, Info, Label, Provenance
from hilum.errors import BundleError
from hilum.models import build
from hilum.models.ensemble import Ensemble, Member

OWN_SPLITS = (
    "Its members were trained on different splits: a film that one held out, another may have learnt from. No film was held"
    " out from all of them unless its patient is in no member's training or validation part, which `hilum evaluate` checks."
)


def ensemble(members: Sequence[Bundle], name: str) -> Bundle:
    """One bundle `name` of two or more that differ in nothing but their weights, calibration and thresholds.

    Its probability is the mean of the members' calibrated probabilities, its thresholds the means of theirs, and it refuses
    the patients of all of them. What the members were measured at is not carried over: the ensemble is another model.

    Raises BundleError, naming the member, where one has other labels, preparation, group, task, films or architecture than
    the first, stands there twice, segments, or is an ensemble itself.
    """
    _check(members)
    first = members[0].info
    options = dict(first.model.options)
    shared: dict[str, Any] = {
        "architecture": first.model.name,
        "channels": options.pop("channels", 3),
        "options": options,
        "exclusive": first.task == "multiclass",
        "members": [_member(bundle.info).as_option() for bundle in members],
    }
    model = build("ensemble", outputs=len(first.labels), **shared)
    assert isinstance(model, Ensemble)
    for place, bundle in enumerate(members):
        model.load_member(place, bundle.model.state_dict())
    infos = [bundle.info for bundle in members]
    info = Info(
        name=name,
        version="1",
        title=f"{first.title} (ensemble of {len(members)})",
        task=first.task,
        model=Architecture(name="ensemble", options=shared),
        preparation=first.preparation,
        labels=tuple(_label(labels) for labels in zip(*(i.labels for i in infos), strict=True)),
        group=first.group,
        applies=first.applies,
        provenance=_provenance(infos),
        limits=_once(
            [*(limit for i in infos for limit in i.limits), *([] if _one_split(infos) else [OWN_SPLITS])]
        ),
        precision="float32" if any(i.precision == "float32" for i in infos) else "float16",
    )
    patients = np.unique(np.concatenate([bundle.patients for bundle in members]))
    return Bundle(info, model, patients.astype(np.uint32))


def _check(members: Sequence[Bundle]) -> None:
    if len(members) < 2:
        raise BundleError("an ensemble has two members or more")
    digests = [bundle.info.digest for bundle in members if bundle.info.digest]
    first = members[0].info
    for bundle in members:
        info = bundle.info
        refuse_encoder(info)
        if info.digest and digests.count(info.digest) > 1:
            raise _refused(info, "it stands there twice", "Name each member once")
        refuse_generator(info, "Join bundles that classify")
        if info.task == "segment" or info.model.name == "ensemble":
            raise _refused(info, "it is a segmenter or an ensemble itself", "Join single classifiers")
        if info.calibration is not None and info.calibration.half_at is not None:
            raise _refused(
                info,
                "its probabilities are bent at an operating point and have no plain mean",
                "Leave it out",
            )
        for what, (ours, theirs) in {
            "task": (first.task, info.task),
            "group": (first.group, info.group),
            "labels": ([label.name for label in first.labels], bundle.labels),
            "preparation": (first.preparation, info.preparation),
            "films that it is for": (first.applies, info.applies),
            "architecture": (first.model.model_dump(mode="json"), info.model.model_dump(mode="json")),
        }.items():
            if ours != theirs:
                raise _refused(
                    info,
                    f"it cannot join '{first.name}': another {what} ({_difference(ours, theirs)})",
                    "Join bundles that were trained by one recipe, with other seeds or on other folds",
                )


def _refused(info: Info, fault: str, mend: str) -> BundleError:
    return BundleError(fault, path=f"{info.name} ({info.digest[:8] or 'not saved'})", mend=mend)


def _difference(ours: Any, theirs: Any) -> str:
    """The parts in which two values differ, short enough to print."""
    if hasattr(ours, "model_dump"):
        ours, theirs = ours.model_dump(mode="json"), theirs.model_dump(mode="json")
    if isinstance(ours, dict):
        keys = [k for k in {**ours, **theirs} if ours.get(k) != theirs.get(k)]
        return ", ".join(f"{k}: {theirs.get(k)} for {ours.get(k)}" for k in keys)
    return f"{theirs} for {ours}"


def _member(info: Info) -> Member:
    scaling = info.calibration
    if scaling is None:
        return Member(info.name, info.version, info.digest)
    return Member(info.name, info.version, info.digest, scaling.slope, scaling.intercept)


def _label(labels: Sequence[Label]) -> Label:
    """The members' label with the mean of their thresholds; without one where a member has none."""
    cuts = [label.threshold for label in labels]
    known = [cut for cut in cuts if cut is not None]
    if len(known) < len(cuts):
        return labels[0].model_copy(update={"threshold": None})
    rules = " and ".join(_once(cut.rule for cut in known))
    note = f"mean of the members' thresholds ({rules}: {', '.join(f'{cut.value:.3f}' for cut in known)})"
    mean = Cut(value=float(np.mean([cut.value for cut in known])), rule=f"mean of {rules}", note=note)
    return labels[0].model_copy(update={"threshold": mean})


def _one_split(infos: Sequence[Info]) -> bool:
    return len({i.provenance.split_digest for i in infos}) == 1


def _provenance(infos: Sequence[Info]) -> Provenance:
    made = [i.provenance for i in infos]
    same = _one_split(infos) and all((m.films, m.patients) == (made[0].films, made[0].patients) for m in made)

    def counts(field: str) -> dict[str, int]:
        if same:
            return dict(getattr(made[0], field))
        return {
            f"{part}, member {number}": count
            for number, one in enumerate(made, 1)
            for part, count in getattr(one, field).items()
        }

    return Provenance(
        data=tuple(sorted({name for one in made for name in one.data})),
        films=counts("films"),
        patients=counts("patients"),
        split=made[0].split
        if _one_split(infos)
        else f"of each member ({'; '.join(_once(m.split for m in made))})",
        split_digest=_joint([m.split_digest for m in made]),
        recipe_digest=_joint([m.recipe_digest for m in made]),
        hilum=__version__,
        created=datetime.now(UTC).date().isoformat(),
        licence="; ".join(_once(m.licence for m in made)),
        start="; ".join(_once(m.start for m in made if m.start)) or None,
    )


def _joint(digests: Sequence[str]) -> str:
    """The digest that all members share, else the SHA-256 of all in order."""
    return digests[0] if len(set(digests)) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
