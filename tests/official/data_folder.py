"""A data folder with every benchmark in miniature, in the official layout."""

from pathlib import Path

from tests.official import corpora
from tests.official.glue import write_glue
from xfm.reproduce.read.glue import GlueTask


def write_data_folder(data: Path) -> Path:
    """Everything but the data sets of linear evaluation."""
    for task in GlueTask:
        write_glue(data / "glue", task)
    coco, flickr = data / "coco", data / "flickr30k"
    corpora.write_coco(coco)
    corpora.write_flickr30k(flickr)
    corpora.write_vqa(data / "vqa", coco, data / "vg")
    corpora.write_nlvr2(data / "nlvr2")
    corpora.write_nlvr(data / "nlvr")
    for name, who in (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")):
        corpora.write_refcoco(data / "refer" / name, coco, who)
    corpora.write_snli_ve(data / "snli-ve", flickr / "flickr30k-images")
    corpora.write_memes(data / "hateful-memes")
    corpora.write_imagenet(data / "imagenet")
    return data
