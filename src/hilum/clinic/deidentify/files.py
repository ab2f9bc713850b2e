"""Files and folders of films to a folder of de-identified ones, with an account of what was done."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.analysis.render.files import as_json, write_whole
from hilum.analysis.search import expand, is_folder
from hilum.clinic.deidentify.film import Deidentified, deidentify
from hilum.clinic.deidentify.identity import Identity
from hilum.clinic.deidentify.table import Options
from hilum.errors import HilumError, LimitError, ReadError, one_line
from hilum.images.limits import MAX_FILE_BYTES

ACCOUNT = "deidentified.json"


@dataclass(frozen=True)
class Outcome:
    """`films`: what the account says of each film; `failures`: `file`, `fault` and `mend` of each that was refused.
    `names`: the old path and the new name of each film, which belong together only where the key does."""

    films: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    names: list[dict[str, str]]
    account: Path

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0


def deidentify_all(
    paths: Iterable[str | Path],
    out: str | Path,
    identity: Identity,
    options: Options = Options(),
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """De-identify films and folders of them (searched whole) into the folder `out`: a file a film, named by its new SOP
    Instance UID, and `deidentified.json`, which names no old file, patient or date.

    A film that cannot be de-identified is a failure and leaves nothing in `out`; the others go on. Raises HilumError where
    `out` cannot be written, or is one of the folders to search.
    """
    paths, out = list(paths), Path(out)
    if any(is_folder(path, out) for path in paths):
        raise HilumError(
            "the new films would lie among the old", path=out, mend="Give another folder, or one inside it."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HilumError(f"the folder cannot be made ({error.strerror})", path=out) from error
    found, failures = expand(paths, out)
    films: list[dict[str, Any]] = []
    names: list[dict[str, str]] = []
    for number, path in enumerate(found, 1):
        try:
            done = deidentify(_bytes_of(path), identity, options)
            write_whole(out / f"{done.uid}.dcm", done.data)
            films.append(_account(done))
            names.append({"file": one_line(str(path)), "name": f"{done.uid}.dcm"})
        except Exception as error:  # one film's fault is not the others'
            failures.append(_failure(path, error))
        if progress is not None:
            progress(number, len(found))
    account = out / ACCOUNT
    write_whole(account, as_json(_whole(films, len(failures), options)))
    return Outcome(films, failures, names, account)


def read_key(path: Path | None) -> Identity:
    """The key in a file, as hex digits; made there, for its owner's eyes alone, where the file does not exist yet.

    Without a path: a key for this call, which nobody keeps. Raises HilumError for a file that holds no key.
    """
    if path is None:
        return Identity(secrets.token_bytes(32))
    try:
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32) + "\n")
        return Identity(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except OSError as error:
        raise HilumError(f"the key cannot be read or made ({error.strerror})", path=path) from error
    except ValueError:
        raise HilumError(
            "it holds no key",
            path=path,
            mend="A key is at least 32 hex digits; name a new file to have one made.",
        ) from None


def _bytes_of(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise LimitError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB", path=path)
    return path.read_bytes()


def _account(done: Deidentified) -> dict[str, Any]:
    return {
        "name": f"{done.uid}.dcm",
        "patient": done.patient,
        "changes": done.changes,
        "warnings": [{"code": notice.code, "text": notice.text} for notice in done.notices],
        "letters": [list(box) for box in done.letters],
    }


def _failure(path: Path, error: Exception) -> dict[str, Any]:
    if isinstance(error, HilumError):
        return {"file": one_line(str(path)), "fault": one_line(error.fault), "mend": error.mend}
    known = ReadError(f"it cannot be de-identified ({type(error).__name__})", mend="Fetch the file again.")
    return {"file": one_line(str(path)), "fault": known.fault, "mend": known.mend}


def _whole(films: list[dict[str, Any]], failed: int, options: Options) -> dict[str, Any]:
    from hilum import __version__

    return {
        "version": __version__,
        "profile": [
            {"scheme": "DCM", "value": number, "meaning": meaning} for number, meaning in options.codes
        ],
        "films": films,
        "failed": failed,
    }
