"""One family of errors. Each names the file, what was wrong with it, and how to mend it."""

from __future__ import annotations

from pathlib import Path


class HilumError(Exception):
    """Base of every error that Hilum raises on purpose.

    Parameters
    ----------
    fault: what is wrong, in words a person who owns the file understands.
    path: the file (or folder) at fault, where there is one.
    mend: what to do about it, where something can be done.
    """

    def __init__(self, fault: str, *, path: str | Path | None = None, mend: str | None = None) -> None:
        self.fault = fault
        self.path = Path(path) if path is not None else None
        self.mend = mend
        super().__init__(fault)

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path is not None else ""
        mend = f" {self.mend}" if self.mend else ""
        fault = self.fault.rstrip(".")
        return one_line(f"{where}{fault}.{mend}")

    def __reduce__(self) -> tuple[object, ...]:  # errors cross process borders in `hilum analyze --jobs`
        return _rebuild, (type(self), self.fault, self.path, self.mend)


def _rebuild(kind: type[HilumError], fault: str, path: Path | None, mend: str | None) -> HilumError:
    return kind(fault, path=path, mend=mend)


class ReadError(HilumError):
    """A film cannot be decoded as what it says it is."""


class LimitError(ReadError):
    """A film asks for more memory or time than it is given."""


class ManifestError(HilumError):
    """A table of films does not hold what a manifest must hold."""


class SplitError(HilumError):
    """A split would leak: the same patient on two sides, or a film without one."""


class DataError(HilumError):
    """A public dataset is not where it was said to be, or not complete enough to use."""


class RecipeError(HilumError):
    """A recipe asks for something that does not exist or does not fit together."""


class BundleError(HilumError):
    """A bundle is incomplete, altered, or made for another version."""


class EvaluationError(HilumError):
    """Truth, scores and groups do not fit together, or a number is asked of them that they cannot give."""


class BoxError(HilumError):
    """A table or an array of boxes holds what no box can be: reversed, empty, outside its film, without a score."""


class ClinicError(HilumError):
    """A film cannot be taken in, kept or handed on by the clinic."""


class StoreFullError(ClinicError):
    """There is no room left to keep a film in; the sender keeps it and tries again."""


class MissingExtraError(HilumError):
    """A feature needs packages of an optional extra that is not installed."""

    @classmethod
    def named(cls, extra: str, feature: str) -> MissingExtraError:
        return cls(
            f"{feature} needs the extra '{extra}'", mend=f"Install it with: pip install 'hilum[{extra}]'"
        )


def named_fault(name: str, error: HilumError) -> str:
    """What is wrong with a film, by the film's name and without a path of this machine: for what is passed on."""
    text = error.fault
    if error.path is not None:
        for path in (str(error.path.absolute()), str(error.path)):
            text = text.replace(path, error.path.name)
    return one_line(f"{name}: {text}")


def one_line(text: str) -> str:
    """Text with control characters made visible, so that a file's name or a header's value cannot forge a log line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
