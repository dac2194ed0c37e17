"""What is kept on disk: checkpoints, metric history, and the thread that saves."""

from lab.storage.checkpoint import DamagedCheckpoint, Saved
from lab.storage.files import DamagedFile, read_document, write_atomically, write_document
from lab.storage.store import Chunk, Store, open_store, read_store

__all__ = [
    "Chunk",
    "DamagedCheckpoint",
    "DamagedFile",
    "Saved",
    "Store",
    "open_store",
    "read_document",
    "read_store",
    "write_atomically",
    "write_document",
]
