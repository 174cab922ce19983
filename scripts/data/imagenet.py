"""Write the names of ImageNet's classes into the package, from the lists that timm carries in its own wheel.

Out: `resnest_cli/data/imagenet.tsv`, a line per class in index order: its WordNet id and the first lemma of its synset.
"""

from __future__ import annotations

from timm.data.imagenet_info import ImageNetInfo

from resnest_cli.models.catalog import DATA


def table() -> str:
    """Return the content of the file."""
    lists = ImageNetInfo("imagenet-1k")
    wnids = [lists.index_to_label_name(index) for index in range(1000)]
    names = [lists.index_to_description(index).split(",")[0] for index in range(1000)]
    return "".join(f"{wnid}\t{name}\n" for wnid, name in zip(wnids, names, strict=True))


if __name__ == "__main__":
    (DATA / "imagenet.tsv").write_text(table(), encoding="utf-8")
