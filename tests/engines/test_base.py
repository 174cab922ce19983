"""What all engines share: how large a batch is, and which errors mean that memory is short."""

from __future__ import annotations

import pytest

from resnest_cli import FakeEngine, Options
from resnest_cli.engines.base import batch_size, is_out_of_memory, memory_errors
from resnest_cli.tasks.bench.peak import peak_flops


def test_a_batch_is_the_one_asked_for_or_the_one_that_suits_the_device() -> None:
    assert batch_size(Options(batch=3), FakeEngine()) == 3
    assert batch_size(Options(), FakeEngine()) == FakeEngine.best_batch


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 20 GiB. See PYTORCH_CUDA_ALLOC_CONF.\nmore",
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 412316860416 bytes.",
        "std::bad_alloc",
        "Unable to allocate 192. GiB for an array",
        "could not allocate tensor",
    ],
)
def test_an_error_for_want_of_memory_is_a_memory_error(words: str) -> None:
    with pytest.raises(MemoryError) as short, memory_errors():
        raise RuntimeError(words)
    assert words.startswith(str(short.value))
    assert "PYTORCH" not in str(short.value)
    assert is_out_of_memory(short.value)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes do not match"), memory_errors():
        raise RuntimeError("shapes do not match")
    assert not is_out_of_memory(ValueError("shapes do not match"))


def test_an_engine_that_computes_nothing_has_no_peak() -> None:
    assert peak_flops(FakeEngine(), 1) == 0
