"""What the system refuses, in the words of the one family of errors."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from mwanda.errors import MwandaError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FAILING = (errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO)
_MEMORY = ("allocate memory", "out of memory", "alloc_cpu", "start new thread")


def disk_error(path: Path, error: OSError) -> MwandaError:
    """A full or failing disk."""
    full = error.errno in _FULL
    return MwandaError(
        str(path),
        expected="room on the disk" if full else "a file that can be written",
        found=error.strerror or "a write error",
        fix="free some space and run again" if full else "mend that and run again",
    )


def named(error: BaseException, place: Path) -> MwandaError | None:
    """The same of any exception that means no disk or no memory, and None where it means neither;
    ``place`` is what was being written, where the error does not say."""
    if isinstance(error, MwandaError):
        return None
    if isinstance(error, OSError) and error.errno in (*_FULL, *_FAILING):
        written = error.filename2 or error.filename  # the second where one is copied to another
        return disk_error(Path(written) if written else place, error)
    text = str(error).lower()
    unwritten = "pytorchstreamwriter failed writing" in text  # torch's way to say it
    # And that of safetensors, before 0.6 and since.
    told = [words for n in _FULL for words in (f"os {{ code: {n},", f"(os error {n})")]
    if unwritten or any(words in text for words in told):
        return disk_error(place, OSError(errno.ENOSPC, "No space left on device"))
    return memory_error(
        error,
        "lower --activation-memory or --batch-tokens, or free some; "
        "mwanda plan says what a prune needs",
    )


def memory_error(error: BaseException, fix: str) -> MwandaError | None:
    """The same of an exception that means no memory, with what to do about it; None where it means
    something else."""
    # torch has no class of its own for the CPU's memory, only for a device's.
    text = str(error).lower()
    if (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(words in text for words in _MEMORY))
    ):
        return MwandaError(
            "memory",
            expected="room for what the run holds at once",
            found=(" ".join(str(error).split()) or "none")[:160],
            fix=fix,
        )
    return None


def named_memory(fix: str) -> AbstractContextManager[None]:
    """Errors of :func:`memory_error` become ours inside, with this to do about them."""
    return _ours(lambda error: memory_error(error, fix))


def named_errors(place: Path) -> AbstractContextManager[None]:
    """Errors of :func:`named` become ours inside."""
    return _ours(lambda error: named(error, place))


@contextmanager
def _ours(of: Callable[[BaseException], MwandaError | None]) -> Iterator[None]:
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        ours = of(error)
        if ours is None:
            raise
        raise ours from error
