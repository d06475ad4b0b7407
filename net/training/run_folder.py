"""The folder of a training run: creating, resuming, and checking it."""

import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...capture.atomic import PartialFile, refuse_inputs
from .config import LAST, SETTINGS, WEIGHTS, TrainingConfig, TrainingError

_MAY_GROW = "steps"


def is_first_process() -> bool:
    """Whether this process, of those that share each step, writes files and prints."""
    return int(os.environ.get("LOCAL_RANK", 0)) == 0


def prepare(out: Path, config: TrainingConfig, resume: bool, force: bool) -> Path | None:
    """Write the run's settings, or compare them with the existing ones; returns the checkpoint to resume from, if any.

    A resumed run may have more steps; the learning rate then follows the new number.

    Raises:
        TrainingError: the folder holds another run, none to resume, or weights of something else.
        RecordingError: the run's weights would replace those that it starts from.
    """
    settings, checkpoint = out / SETTINGS, out / LAST
    refuse_inputs(out / WEIGHTS, config.init)
    if not is_first_process():  # done by the first process
        return checkpoint if resume and checkpoint.exists() else None
    if resume:
        if not settings.exists():
            raise TrainingError(f"{out}: holds no training run to resume; omit --resume to start one")
        _compare(out, _completed(_read(settings)), json.loads(config.model_dump_json()))
        _write(settings, config)
        return checkpoint if checkpoint.exists() else None
    if settings.exists() and not force:
        raise TrainingError(f"{out}: holds a training run; continue with --resume, or start again with --force")
    if (out / WEIGHTS).exists() and not force and not settings.exists():
        raise TrainingError(f"{out / WEIGHTS}: would be replaced; give another --out, or --force")
    for stale in (checkpoint, out / WEIGHTS):
        stale.unlink(missing_ok=True)
    _write(settings, config)
    return None


def _completed(known: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run started by an earlier version, with defaults for keys added since."""
    try:
        config = TrainingConfig.model_validate({key: value for key, value in known.items() if value is not None})
    except ValidationError:
        return known
    return json.loads(config.model_dump_json())


def _compare(out: Path, known: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if key == _MAY_GROW and isinstance(known.get(key), int) and known[key] <= value:
            continue
        if known.get(key) != value:
            raise TrainingError(
                f"{out}: was started with another {key} ({json.dumps(known.get(key))}, now {json.dumps(value)}); "
                "give the same options, or another --out"
            )


def _write(settings: Path, config: TrainingConfig) -> None:
    with PartialFile(settings, force=True) as partial:
        partial.write_text(config.model_dump_json(indent=2) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: is damaged; start again with --force, or in another --out") from error
    if not isinstance(known, dict):
        raise TrainingError(f"{path}: is damaged; start again with --force, or in another --out")
    return known
