"""Checkpoints of a training run, written atomically and loaded without executing code."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from ...capture.atomic import PartialFile
from ...capture.errors import SweepdepthError

_PARTS = {"pytorch-lightning_version", "state_dict", "callbacks", "optimizer_states", "lr_schedulers", "loops"}


class CheckpointError(SweepdepthError):
    """A checkpoint that is damaged, of another kind, or cannot be written."""


class WholeCheckpoints(CheckpointIO):
    """Reads and writes checkpoints for Lightning, atomically.

    Lightning's own implementation writes to the system's temporary folder first. If that is on another disk, the file
    is then copied, and a run killed during the copy has neither its old checkpoint nor a new one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Replace the existing checkpoint atomically."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            with PartialFile(path, force=True) as partial:
                partial.write_bytes(buffer.getbuffer())
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(
                f"{path}: cannot be written: {reason}; the run can be resumed where it was last saved"
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: bool | None = None) -> Any:
        """Load a checkpoint of tensors, numbers and strings; pickles with anything else are rejected."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
        try:
            checkpoint = torch.load(io.BytesIO(content), map_location or "cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"{path}: is damaged, or contains code to be executed, which a training run's checkpoint does not; "
                "none of it was executed; start again with --force"
            ) from error
        except Exception as error:  # torch raises many classes of exceptions on damaged files
            raise CheckpointError(f"{path}: is damaged; start again with --force") from error
        if not isinstance(checkpoint, dict) or not checkpoint.keys() >= _PARTS:
            raise CheckpointError(f"{path}: is not a checkpoint of a training run; start again with --force")
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)
