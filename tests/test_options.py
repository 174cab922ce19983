"""Options as keywords: one truth, and what a wrong one is told."""

from __future__ import annotations

from dataclasses import fields

import pytest

from resnest_cli import Classifier, Embedder, Options
from resnest_cli.options import Keywords


def test_keywords_have_the_names_and_types_of_the_fields() -> None:
    keywords = {name: hint.__forward_arg__ for name, hint in Keywords.__annotations__.items()}
    of_functions = {"model", "engine"}
    assert list(keywords.items()) == [(f.name, f.type) for f in fields(Options) if f.name not in of_functions]


@pytest.mark.parametrize("opened", [Classifier, Embedder])
def test_a_keyword_that_is_unknown_is_told_the_nearest(opened: type[Classifier | Embedder]) -> None:
    with pytest.raises(TypeError, match=r"^unexpected keyword argument 'devise': did you mean 'device'\?$"):
        opened("digits", devise="cpu")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^unexpected keyword argument 'colour': use model, weights, .*thumbnails\.$"):
        opened(Options("digits"), colour="red")  # type: ignore[call-arg]
