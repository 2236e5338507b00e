import pytest
import torch

from piying.errors import UsageError
from piying.memory import budget


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("8 GB", 8 * 10**9), ("7.5GiB", 7.5 * 2**30), ("900MB", 9 * 10**8), ("512MiB", 2**29)],
)
def test_a_size_is_read_with_its_unit(text, size):
    assert budget.parse(text) == size


def test_auto_is_left_to_the_card():
    assert budget.parse("auto") == "auto"


@pytest.mark.parametrize("text", ["", "8", "8G", "8gb", "-8GB", "0GB", "8GBs", "1e9", "nan GB", "eight", "8,5GB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match=rf"memory={text}: write a size with its unit, e.g. 8GB or 7.5GiB, or auto"):
        budget.parse(text)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_memory_that_ran_out_is_known_by_its_words(error):
    assert budget.ran_out(error)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("memory")])
def test_other_errors_are_not_taken_for_it(error):
    assert not budget.ran_out(error)
