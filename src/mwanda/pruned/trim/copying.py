"""Tensors copied file by file; files are hashed while the next ones are copied."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from mwanda.model.stored.reader import Checkpoint
from mwanda.model.stored.shards import plan_shards
from mwanda.model.stored.writer import ShardWriter
from mwanda.system.files import sha256_of
from mwanda.system.progress import Progress
from mwanda.system.threads import Task, Worker

PIECE = 16 << 20
"""Bytes between two reports of progress: tensors are too unlike to be counted."""


def copy_tensors(
    checkpoint: Checkpoint, folder: Path, most: int, hashed: Collection[Path], progress: Progress
) -> dict[Path, str]:
    """Write every tensor into shards of at most so many bytes.

    Other threads hash a file as soon as it was copied, when its bytes are in memory still: read
    again at the end, they would come from the disk. Two, as hashing takes longer than copying.

    Args:
        hashed: files of the source that are to be hashed too.

    Returns:
        SHA-256 of these files and of those written.
    """
    infos = checkpoint.tensors
    shards = plan_shards([(i.name, i.dtype, i.shape) for i in infos.values()], most)
    last = {info.file: name for name, info in infos.items() if info.file in hashed}
    tasks: dict[Path, Task[str]] = {}
    readers = Worker(), Worker()
    progress.stage("trim", sum(i.nbytes for i in infos.values()) // PIECE, unit="piece of 16 MiB")
    copied = 0
    try:
        with ShardWriter(folder, shards) as writer:
            for shard in shards:
                for name, *_ in shard.tensors:
                    writer.write_from(name, checkpoint)
                    before, copied = copied, copied + infos[name].nbytes
                    for _ in range(copied // PIECE - before // PIECE):
                        progress.block(0)
                    if last.get(file := infos[name].file) == name:
                        tasks[file] = readers[0].submit(partial(sha256_of, file))
                file = folder / shard.name
                tasks[file] = readers[1].submit(partial(sha256_of, file))
        return {file: task.result() for file, task in tasks.items()}
    finally:
        for reader in readers:
            reader.close(drop=True)
