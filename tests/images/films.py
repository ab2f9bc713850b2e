"""DICOM films made for a test: stored values in, a file or a dataset out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

IMPLICIT, EXPLICIT, BIG = uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian


def ramp(bits: int, signed: bool, height: int = 48, width: int = 64) -> NDArray[np.int64]:
    """All of the range that `bits` allow, from lowest to highest, in a shuffled order with both ends present."""
    low = -(1 << (bits - 1)) if signed else 0
    values = np.rint(np.linspace(low, low + (1 << bits) - 1, height * width)).astype(np.int64)
    return np.random.default_rng(bits).permutation(values).reshape(height, width)


def film(
    stored: NDArray[np.int64],
    bits: int = 12,
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    allocated: int | None = None,
    **elements: Any,
) -> Dataset:
    """A digital X-ray image dataset with these stored values; `elements` are set by keyword, None removes one."""
    allocated = allocated or (8 if bits <= 8 else 16)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = EXPLICIT
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    ds.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    ds.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.3"
    ds.Modality = "DX"
    ds.PatientName, ds.PatientID = "Doe^Jane", "12345"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19700101", "F", "045Y"
    ds.StudyDate = "20150102"
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, bits, bits - 1
    ds.PixelRepresentation = int(signed)
    dtype = np.dtype(f"<{'i' if signed else 'u'}{allocated // 8}")
    data = stored.astype(dtype).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OW" if allocated == 16 else "OB"
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def lut_item(entries: NDArray[np.integer], first: int, bits: int, vr: str = "US") -> Dataset:
    """An item of a Modality or VOI LUT Sequence; `vr` is the descriptor's. Entries of 8 bits are packed (C.11.1.1.1)."""
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(entries) & 0xFFFF, first, bits])
    item.LUTExplanation = "TEST"
    item.ModalityLUTType = "US"
    data = entries.astype("<u1" if bits == 8 else "<u2").tobytes()
    item.add_new("LUTData", "OW", data + b"\0" * (len(data) % 2))
    return item


def save(ds: Dataset, path: Path, syntax: uid.UID = EXPLICIT) -> Path:
    """Write the dataset uncompressed in `syntax`."""
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == BIG:
        word = "u2" if ds.BitsAllocated == 16 else "u1"
        ds.PixelData = np.frombuffer(ds.PixelData, f"<{word}").astype(f">{word}").tobytes()
    ds.save_as(path, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG, enforce_file_format=True)
    return path


def save_compressed(ds: Dataset, path: Path, syntax: uid.UID) -> Path:
    """Write the dataset compressed: by pydicom's encoders, or GDCM for JPEG Lossless, for which pydicom has none."""
    if syntax not in (uid.JPEGLosslessSV1, uid.JPEGLossless):
        ds.compress(syntax, generate_instance_uid=False)
        ds.save_as(path, enforce_file_format=True)
        return path
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(save(ds, path.with_suffix(".raw"))))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path
