"""A tiny fabricated copy of every dataset: `MINI[source](folder)` writes it and says what to expect."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from hilum.datasets.manifest import Manifest
from tests.images.films import film as dicom_film
from tests.phantom import phantom


@dataclass(frozen=True)
class Expected:
    """`root` and `options` to load with; `films`, `missing`, `boxes`, `masks` to find."""

    root: Path
    films: int
    missing: int = 0
    boxes: int = 0
    masks: int = 0
    options: dict[str, Any] = field(default_factory=dict)


def film(path: Path, seed: int = 0, size: int = 32) -> NDArray[np.uint8]:
    """Write a phantom as an 8-bit image."""
    pixels = (phantom(seed, size, size).pixels * 255).astype(np.uint8)
    return _write(path, pixels)


def mask(
    path: Path, value: int, ignore: int | None = None, size: int = 32, half: str | None = None
) -> NDArray[np.uint8]:
    """Write a lung mask; its first row is `ignore` where given, and only the film's `left` or `right` half drawn."""
    there = phantom(0, size, size).lungs
    lungs = np.where(there == {"left": 1, "right": 2}[half] if half else there > 0, value, 0).astype(np.uint8)
    if ignore is not None:
        lungs[0] = ignore
    return _write(path, lungs)


def text(path: Path, content: str) -> Path:
    """Write a text file, gzipped where the name says so; common indentation is not part of it."""
    content = "\n".join(line.strip() for line in content.strip().splitlines()) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def nih14(root: Path) -> Expected:
    text(
        root / "Data_Entry_2017_v2020.csv.gz",
        """
        Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,A,B
        00000001_000.png,Cardiomegaly,0,1,57,M,PA,1,1
        00000001_001.png,Cardiomegaly|Pleural_Thickening,1,1,58,M,AP,1,1
        00000002_000.png,No Finding,0,2,081Y,F,PA,1,1
        00000003_000.png,Hernia,0,3,414,F,PA,1,1
        """,
    )
    text(root / "train_val_list.txt.gz", "00000001_000.png\n00000001_001.png\n00000003_000.png")
    text(root / "test_list.txt", "00000002_000.png")
    text(
        root / "BBox_List_2017.csv",
        """
        Image Index,Finding Label,Bbox [x,y,w,h],,,
        00000001_000.png,Infiltrate,256,512,128,256
        00000003_000.png,Mass,1,1,10,10
        """,
    )
    text(
        root / "preds.csv",
        """
        Image Index,prob_Cardiomegaly,prob_Pleural_Thickening
        00000001_000.png,0.75,0.5
        """,
    )
    film(root / "images_001" / "images" / "00000001_000.png", 1)
    film(root / "images_002" / "images" / "00000001_001.png", 2)
    film(root / "images" / "00000002_000.jpg", 3, size=64)
    return Expected(root, films=3, missing=1, boxes=1, options={"teacher": str(root / "preds.csv")})


def kermany(root: Path) -> Expected:
    names = (
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0115-0001.jpeg",
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "train/PNEUMONIA/person1_bacteria_2.jpeg",
        "train/PNEUMONIA/person1_virus_6.jpeg",
        "test/NORMAL/IM-0001-0001.jpeg",
        "test/PNEUMONIA/person3_virus_16.jpeg",
        "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
    )
    for seed, name in enumerate(names):
        film(root / name, seed)
    return Expected(root, films=8)


def cohen(root: Path) -> Expected:
    text(
        root / "metadata.csv",
        """
        patientid,offset,sex,age,finding,view,modality,filename,license
        2,0,M,65,COVID-19,PA,X-ray,a.jpeg,CC BY 4.0
        2,3,M,65,COVID-19,L,X-ray,b.jpg,
        3,0,F,,todo,AP Supine,X-ray,c.jpg,
        4,0,,40,No Finding,AP,X-ray,d.jpg,CC BY-NC-SA
        5,0,F,50,Pneumocystis,?,X-ray,e.png,
        6,0,F,50,Streptococcus,PA,X-ray,gone.png,
        7,0,F,50,COVID-19,PA,CT,scan.png,
        """,
    )
    for seed, name in enumerate(("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.png")):
        film(root / "images" / name, seed)
    return Expected(root, films=5, missing=1)


def covidx_v1(root: Path) -> Expected:
    kermany(root.parent / "kermany")
    cohen(root.parent / "cohen")
    text(
        root / "train_split.txt",
        """
        1 person1_bacteria_1.jpeg bacteria
        115 IM-0115-0001.jpeg normal
        2 a.png COVID-19
        9 nowhere.jpg viral
        """,
    )
    text(root / "test_split.txt", "3 person3_virus_16.jpeg viral")
    return Expected(root, films=4, missing=1)


def covid_radiography(root: Path) -> Expected:
    film(root / "images" / "COVID-1.jpg", 1)
    film(root / "Normal" / "images" / "Normal-12.png", 2)
    film(root / "Viral Pneumonia" / "images" / "Viral Pneumonia-3.png", 3)
    return Expected(root, films=3)


def lungs_v7(root: Path) -> Expected:
    text(
        root / "pairs.csv",
        """
        source,image,mask,patient_id,view,width,height,kermany_split_class
        cohen,cohen/images/a.jpg,lungs_v7/masks/a.png,2,AP_Supine,32,32,
        kermany,lungs_v7/images/person1_virus_6.jpg,lungs_v7/masks/person1_virus_6.png,person1_viral,AP,32,32,viral
        kermany,lungs_v7/images/IM-0115-0001.jpg,lungs_v7/masks/none.png,IM-0115,AP,32,32,normal
        """,
    )
    film(root.parent / "cohen" / "images" / "a.jpg")
    film(root / "images" / "person1_virus_6.jpg")
    film(root / "images" / "IM-0115-0001.jpg")
    mask(root / "masks" / "a.png", 255, ignore=127)
    mask(root / "masks" / "person1_virus_6.png", 255)
    return Expected(root, films=2, missing=1, masks=2)


def shenzhen(root: Path) -> Expected:
    for name in ("CHNCXR_0001_0", "CHNCXR_0002_1", "CHNCXR_0003_1"):
        film(root / "images" / f"{name}.png")
    mask(root / "masks" / "CHNCXR_0001_0.png", 1)
    mask(root / "masks" / "CHNCXR_0002_1_mask.png", 255)
    return Expected(root, films=2, missing=1, masks=2)


def montgomery(root: Path) -> Expected:
    for name in ("MCUCXR_0001_0", "MCUCXR_0002_1", "MCUCXR_0003_1"):
        film(root / "CXR_png" / f"{name}.png")
        text(root / "ClinicalReadings" / f"{name}.txt", "Patient's Sex: F\nPatient's Age: 060Y\nnormal")
    for name in ("MCUCXR_0001_0", "MCUCXR_0002_1"):
        mask(root / "ManualMask" / "leftMask" / f"{name}.png", 255, half="right")
        mask(root / "ManualMask" / "rightMask" / f"{name}.png", 255, half="left")
    (root / "ClinicalReadings" / "MCUCXR_0002_1.txt").unlink()
    return Expected(root, films=2, missing=1, masks=2)


def jsrt(root: Path) -> Expected:
    for name in ("JPCLN001", "JPCLN002", "JPCNN001"):
        film(root / "films" / f"{name}.png")
    for fold, name in (("fold1", "JPCLN001"), ("fold2", "JPCNN001")):
        masks = root / "scratch" / fold / "masks"
        for side, half in (("left lung", "right"), ("right lung", "left")):
            lung = mask(masks / side / f"{name}.png", 255, half=half, size=16)
            (masks / side / f"{name}.png").unlink()  # OpenCV does not write GIF in every version
            Image.fromarray(lung).save(masks / side / f"{name}.gif")
        _write(masks / "heart" / f"{name}.png", np.zeros((16, 16), np.uint8))
    return Expected(root, films=2, missing=1, masks=2)


def qata(root: Path) -> Expected:
    for part in (cohen, covid_radiography, nih14, kermany):
        part(root / part.__name__)
    text(
        root / "openi" / "indiana_projections.csv",
        """
        uid,filename,projection
        1,1_IM-0001-4001.dcm.png,Frontal
        1,1_IM-0001-3001.dcm.png,Lateral
        2,2_IM-0002-3001.dcm.png,Lateral
        """,
    )
    film(root / "openi" / "images" / "1_IM-0001-3001.dcm.png", 9)
    # Frontal COVID-19 of two sources, three of ChestX-ray14, two bacterial, two viral, one lateral;
    # one of ChestX-ray14 and one lateral film are not on disk.
    return Expected(root, films=10, missing=2)


OBSERVED = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
"""The labeler's columns."""


def chexpert(root: Path) -> Expected:
    small = "CheXpert-v1.0-small"
    text(
        root / "train.csv.gz",
        f"""
        Path,Sex,Age,Frontal/Lateral,AP/PA,{OBSERVED}
        {small}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0
        {small}/train/patient00002/study2/view1_frontal.jpg,Male,87,Frontal,PA,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,
        {small}/train/patient00002/study2/view2_lateral.jpg,Male,87,Lateral,,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,
        {small}/train/patient00003/study1/view1_frontal.jpg,Unknown,0,Frontal,LL,,,,,,,,,,,,,,
        {small}/train/patient00004/study1/view1_frontal.jpg,Male,20,Frontal,AP,1.0,,,,,,,,,0.0,,,,
        """,
    )
    text(
        root / "valid.csv",
        f"""
        Path,Sex,Age,Frontal/Lateral,AP/PA,{OBSERVED}
        {small}/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0
        """,
    )
    text(
        root / "test_labels.csv",
        f"""
        Path,{OBSERVED}
        test/patient64741/study1/view1_frontal.jpg,0.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0,0.0,0.0
        """,
    )
    for number, name in enumerate(
        (
            "train/patient00001/study1/view1_frontal.jpg",
            "train/patient00002/study2/view1_frontal.jpg",
            "train/patient00002/study2/view2_lateral.jpg",
            "train/patient00003/study1/view1_frontal.jpg",
            "valid/patient64541/study1/view1_frontal.jpg",
        )
    ):
        film(root / small / name, number)
    film(root / "test" / "patient64741" / "study1" / "view1_frontal.jpg", 9)
    return Expected(root, films=6, missing=1, options={"uncertain": "smoothed"})


def mimic_cxr(root: Path) -> Expected:
    for program, edema in (("chexpert", "-1.0"), ("negbio", "1.0")):
        text(
            root / f"mimic-cxr-2.0.0-{program}.csv.gz",
            f"""
            subject_id,study_id,{OBSERVED}
            10000032,50414267,1.0,,,,,,,,,,,,,
            10000033,50414268,,,1.0,,,{edema},,,,0.0,,,,
            """,
        )
    text(
        root / "mimic-cxr-2.0.0-metadata.csv.gz",
        """
        dicom_id,subject_id,study_id,ViewPosition,Rows,Columns,StudyDate
        aa-1,10000032,50414267,PA,3056,2544,21800506
        aa-2,10000032,50414267,LATERAL,3056,2544,21800506
        bb-1,10000033,50414268,AP,3056,2544,21810506
        cc-1,10000034,50414269,LAO,3056,2544,21810506
        dd-1,10000035,50414270,,3056,2544,21810506
        """,
    )
    text(
        root / "mimic-cxr-2.0.0-split.csv.gz",
        """
        dicom_id,study_id,subject_id,split
        aa-1,50414267,10000032,train
        aa-2,50414267,10000032,train
        bb-1,50414268,10000033,validate
        cc-1,50414269,10000034,test
        """,
    )
    text(
        root / "patients.csv",
        """
        subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod
        10000032,F,52,2180,2014 - 2016,
        10000033,M,91,2150,2014 - 2016,
        """,
    )
    film(root / "files" / "p10" / "p10000032" / "s50414267" / "aa-1.jpg", 1)
    film(root / "files" / "p10" / "p10000032" / "s50414267" / "aa-2.jpg", 2)
    film(root / "files" / "p10" / "p10000033" / "s50414268" / "bb-1.jpg", 3)
    film(root / "files" / "p10" / "p10000034" / "s50414269" / "cc-1.jpg", 4)
    return Expected(root, films=4, missing=1)


def padchest(root: Path) -> Expected:
    text(
        root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz",
        """
        ,ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,MethodLabel,Labels
        0,a_1.png,0,20140915,s1,p1,1930.0,F,PA,Physician,['normal']
        1,b_1.png,0,20150914,s2,p2,1929.0,M,L,RNN_model,"['pulmonary fibrosis', ' consolidation', 'granuloma']"
        2,c_1.png,1,20150914,s3,p3,nan,O,AP_horizontal,Physician,"['unchanged', 'hydropneumothorax ']"
        3,d_1.png,1,20150914,s4,p4,2030.0,F,UNK,RNN_model,"['exclude', 'pneumonia']"
        4,e_1.png,1,20150914,s5,p5,1950.0,F,COSTAL,RNN_model,"['', 'unchanged']"
        5,f_1.png,1,20150914,s6,p6,1950.0,F,AP,Physician,['subcutaneous emphysema']
        6,g_1.png,1,20150914,s7,p7,1950.0,F,PA,RNN_model,nan
        """,
    )
    for number, name in enumerate(("0/a_1", "0/b_1", "1/c_1", "1/d_1", "1/e_1", "1/f_1")):
        film(root / f"{name}.png", number)
    return Expected(root, films=6, missing=1)


def dicom(path: Path, seed: int = 0, height: int = 40, width: int = 32) -> None:
    """Write a phantom as a DICOM film of 12 bits."""
    stored = np.rint(phantom(seed, height, width).pixels * 4095).astype(np.int64)
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom_film(stored).save_as(path, enforce_file_format=True)


def vinbig(root: Path) -> Expected:
    text(
        root / "train.csv",
        """
        image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max
        a,Cardiomegaly,3,R1,10,50,90,150
        a,Cardiomegaly,3,R2,14,54,90,150
        a,Pleural effusion,10,R1,0,0,20,40
        a,Nodule/Mass,8,R3,20,20,40,60
        b,No finding,14,R1,,,,
        b,No finding,14,R4,,,,
        b,No finding,14,R5,,,,
        c,ILD,5,R2,1,2,31,40
        c,Other lesion,9,R3,1,2,3,4
        gone,Infiltration,6,R2,1,2,3,4
        gone,Infiltration,6,R3,1,2,3,5
        gone,Infiltration,6,R4,1,2,3,5
        """,
    )
    text(root / "train_meta.csv.gz", "image_id,height,width\na,200,100\nb,64,32\ngone,20,10")
    film(root / "train" / "a.png", 1, size=50)  # squashed from 200 x 100
    film(root / "train" / "b.jpg", 2)
    dicom(root / "train" / "c.dicom", 3)  # 40 x 32, in whose pixels its boxes are
    film(root / "train" / "stray.png", 4)
    return Expected(root, films=3, missing=1, boxes=6)


def coco(root: Path) -> Expected:
    images = [
        {"id": 1, "file_name": "a.png", "width": 64, "height": 128, "patient_id": "7", "view": "AP Supine"},
        {"id": 2, "file_name": "deep/b.jpg", "width": 32, "height": 32, "view": "PA"},
        {"id": 3, "file_name": "gone.jpg", "width": 32, "height": 32},
    ]
    boxes = [
        {"id": 11, "image_id": 1, "category_id": 1, "bbox": [8, 16, 16, 32], "reader": "R1"},
        {"id": 12, "image_id": 1, "category_id": 2, "bbox": [32, 64, 32.5, 64]},
        {"id": 13, "image_id": 2, "category_id": 1, "bbox": [0, 0, 32, 32], "iscrowd": 1},
        {"id": 14, "image_id": 3, "category_id": 2, "bbox": [1, 1, 2, 2]},
    ]
    classes = [{"id": 1, "name": "Right Lung"}, {"id": 2, "name": "pulmonary edema"}]
    content = {"images": images, "annotations": boxes, "categories": classes}
    text(root / "annotations.json", json.dumps(content))
    film(root / "films" / "a.png", 1)
    film(root / "films" / "deep" / "b.jpg", 2)
    return Expected(root, films=2, missing=1, boxes=2, options={"images": "films", "prefix": "cohen"})


def yolo_boxes(root: Path) -> Expected:
    text(root / "data.yaml", "names: [Mass, Effusion]")
    for name, seed in (("train/a.png", 1), ("val/b.png", 2), ("val/unread.png", 3)):
        film(root / "images" / name, seed)
    text(root / "labels" / "train" / "a.txt", "0 0.5 0.5 0.25 0.5\n1 0.125 0.5 0.25 1.0004")
    text(root / "labels" / "val" / "b.txt", "")
    text(root / "labels" / "val" / "gone.txt", "0 0.5 0.5 0.1 0.1")
    return Expected(root, films=3, missing=1, boxes=2)


def chestx_det(root: Path) -> Expected:
    square = [[0, 0], [9, 0], [9, 9]]
    train = [
        {
            "file_name": "36199.png",
            "syms": ["Effusion", "Diffuse Nodule"],
            "boxes": [[0, 512, 256, 1024], [256, 0, 512, 128]],
            "polygons": [square, square],
        },
        {"file_name": "36200.png", "syms": [], "boxes": [], "polygons": []},
    ]
    test = [{"file_name": "9.png", "syms": ["Mass"], "boxes": [[1, 2, 3, 4]], "polygons": [square]}]
    text(root / "ChestX_Det_train.json", json.dumps(train))
    text(root / "ChestX_Det_test.json", json.dumps(test))
    film(root / "train_data" / "36199.png", 1)
    film(root / "train_data" / "36200.png", 2)
    return Expected(root, films=2, missing=1, boxes=2)


def rsna(root: Path) -> Expected:
    text(
        root / "stage_2_train_labels.csv",
        """
        patientId,x,y,width,height,Target
        f1,256.0,128.0,512.0,256.0,1
        f1,0.0,0.0,128.0,128.0,1
        f2,,,,,0
        f3,1.0,1.0,2.0,2.0,1
        """,
    )
    text(
        root / "stage_2_detailed_class_info.csv",
        """
        patientId,class
        f1,Lung Opacity
        f1,Lung Opacity
        f2,No Lung Opacity / Not Normal
        f3,Lung Opacity
        """,
    )
    mapping = [{"subset_img_id": "f1", "img_id": "00000001_000.png"}]
    text(root / "pneumonia-challenge-dataset-mappings_2018.json", json.dumps(mapping))
    dicom(root / "stage_2_train_images" / "f1.dcm", 1, height=64, width=32)
    film(root / "stage_2_train_images" / "f2.png", 2)
    return Expected(root, films=2, missing=1, boxes=2)


def class_folders(root: Path) -> Expected:
    film(root / "train" / "normal" / "p1_a.png", 1)
    film(root / "train" / "my class" / "p2_a.png", 2)
    film(root / "val" / "normal" / "deeper" / "p3_a.jpg", 3)
    return Expected(root, films=3, options={"patient": r"/(p\d+)_"})


def csv(root: Path) -> Expected:
    text(
        root / "films.csv",
        """
        path,pid,view,sex,age,Atelectasis,effusion_text
        a/1.png,p1,pa,Female,63,1,0
        a/2.png,p1,LL,M,64,,1
        a/3.png,p2,AP,F,50,-1,
        a/4.png,p3,AP,F,51,0,0
        """,
    )
    for n in (1, 2, 3):
        film(root / "a" / f"{n}.png", n)
    return Expected(
        root, films=3, missing=1, options={"patient": "pid", "labels": "Atelectasis,effusion_text:Effusion"}
    )


def synthetic(root: Path) -> Expected:
    ids = ["synthetic-gan-0-000000", "synthetic-gan-0-000001"]
    for number, image_id in enumerate(ids):
        film(root / "films" / f"{image_id}.png", number)
    columns = {
        "patient": ids,
        "source": "synthetic",
        "split": "train",
        "width": 32,
        "height": 32,
        "label:Mass": [1, 0],
    }
    table = pl.DataFrame({"image_id": ids, "path": [f"films/{i}.png" for i in ids], **columns})
    Manifest(table, root=root / "where it was").save(root / "manifest.parquet")
    return Expected(root, films=2)


MINI: dict[str, Callable[[Path], Expected]] = {
    "nih14": nih14,
    "kermany": kermany,
    "cohen": cohen,
    "covidx_v1": covidx_v1,
    "covid_radiography": covid_radiography,
    "lungs_v7": lungs_v7,
    "shenzhen": shenzhen,
    "montgomery": montgomery,
    "jsrt": jsrt,
    "qata": qata,
    "chexpert": chexpert,
    "mimic_cxr": mimic_cxr,
    "padchest": padchest,
    "vinbig": vinbig,
    "coco": coco,
    "yolo_boxes": yolo_boxes,
    "chestx_det": chestx_det,
    "rsna": rsna,
    "class_folders": class_folders,
    "csv": csv,
    "synthetic": synthetic,
}


def _write(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return pixels
