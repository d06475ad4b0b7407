"""Checkpoints of a training run: they appear whole or not at all, and nothing in one is ever run."""

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

    Lightning's own way leads through the system's folder for temporary files. Where that is another disk, files are
    copied from there piece by piece, and a run that is killed meanwhile has neither its old checkpoint nor a new one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Replace the checkpoint that is there by this one, at one stroke."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        partial = PartialFile(path, force=True)
        try:
            partial.path.write_bytes(buffer.getbuffer())
            partial.commit()
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(
                f"{path}: cannot be written: {reason}; the run can be resumed where it was last saved"
            ) from error
        finally:
            partial.discard()

    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: bool | None = None) -> Any:
        """Tensors, numbers and texts; a pickle that asks for anything else is refused before it gets it."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
        try:
            checkpoint = torch.load(io.BytesIO(content), map_location or "cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"{path}: is damaged, or asks for code to be run, which a training run's checkpoint does not; nothing "
                "of it was run; start anew with --force"
            ) from error
        except Exception as error:  # damage shows as nearly every class there is
            raise CheckpointError(f"{path}: is damaged; start anew with --force") from error
        if not isinstance(checkpoint, dict) or not checkpoint.keys() >= _PARTS:
            raise CheckpointError(f"{path}: is no checkpoint of a training run; start anew with --force")
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Remove one that is not needed any more."""
        Path(path).unlink(missing_ok=True)
