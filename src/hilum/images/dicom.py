"""DICOM films (CR, DX, secondary capture, and whatever else holds one greyscale or RGB frame) to a `Radiograph`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hilum.images.colour import to_grey
from hilum.images.dicom_chain import chain_of
from hilum.images.dicom_decode import decode, decode_reduced, layout
from hilum.images.dicom_facts import facts_of
from hilum.images.dicom_file import parse_dicom
from hilum.images.greyscale import Chain, Rendered, Window, render
from hilum.images.orientation import Turn, orientation_of, turn_notice, turn_of
from hilum.images.own_results import refuse_results
from hilum.images.radiograph import Notice, Radiograph

# pydicom logs a traceback for a stream that its plugin refuses, and raises as well; the error says it once.
logging.getLogger("pydicom.pixels.decoders.base").setLevel(logging.CRITICAL)


def read_dicom(data: bytes, least: int | None = None) -> Radiograph:
    """A DICOM file's bytes to a `Radiograph`; `least` as of `read.read`.

    The greyscale chain is `greyscale.render`'s; the film is turned upright where Patient Orientation says clearly
    that it is not. Raises `ReadError` or `LimitError`.
    """
    return _read(data, lambda stored, chain: render(stored, chain), least)


def read_unwindowed(data: bytes) -> tuple[Radiograph, tuple[float, float]]:
    """As `read_dicom`, but 0 and 1 are the film's lowest and highest value, and the header's window is still to be applied:
    (centre, width) over [0, 1]. Where what the header asks for is no window of straight lines (a VOI LUT, a sigmoid) it is
    applied, and the window is (0.5, 1). Raises `ReadError` or `LimitError`.
    """
    window = 0.5, 1.0

    def whole(stored: NDArray[np.unsignedinteger], chain: Chain) -> Rendered:
        nonlocal window
        if not isinstance(chain.voi, Window) or chain.voi.function == "SIGMOID":
            return render(stored, chain)
        rendered = render(stored, replace(chain, voi=None))
        low, high = rendered.ends
        window = chain.voi.over(low, high, chain.inverted)
        return rendered

    film = _read(data, whole)
    return film, window


def _read(
    data: bytes,
    rendering: Callable[[NDArray[np.unsignedinteger], Chain], Rendered],
    least: int | None = None,
) -> Radiograph:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of each odd value; those that matter become notices
        dataset, syntax = parse_dicom(data)
        refuse_results(dataset)
        image = layout(dataset)
        small = decode_reduced(dataset, syntax, image, least)
        stored, precision = small or decode(dataset, syntax, image)
        facts = facts_of(dataset)
        notices = facts.notices
        colour = 0.0
        if image.samples == 3:
            pixels, colour = to_grey(stored, 255)
        else:
            chain, asked = chain_of(dataset, image, precision)
            rendered = rendering(stored, chain)
            pixels = rendered.pixels
            notices += asked
            if rendered.padded:
                notices += (
                    Notice("pixel_padding", f"{rendered.padded:.1%} of the film is padding, shown black."),
                )
        orientation, turn = orientation_of(dataset), turn_of(dataset)

    spacing = facts.spacing
    if orientation is not None and turn is not None:
        pixels, spacing = turn(pixels), turn.spacing(spacing)
        notices += (turn_notice(*orientation),)
    return Radiograph(
        pixels=pixels,
        format="dicom",
        view=facts.view,
        body_part=facts.body_part,
        sex=facts.sex,
        age=facts.age,
        spacing=spacing,
        bits=image.stored,
        colour=colour,
        headers=facts.headers,
        notices=notices,
        whole=None if small is None else _turned((image.height, image.width), turn),
    )


def _turned(size: tuple[int, int], turn: Turn | None) -> tuple[int, int]:
    return size[::-1] if turn is not None and turn.transpose else size
