"""Logs of a training run for CSV and TensorBoard, and handling of errors in writing them."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from ...capture.errors import SweepdepthError

LOGS = "logs"


class LogError(SweepdepthError):
    """Logs cannot be written."""


def make_loggers(run: Path) -> list[Logger]:
    """`logs/version_N/metrics.csv` and `logs/tensorboard` in the folder of a run."""
    return [CSVLogger(run, LOGS), TensorBoardLogger(str(run), LOGS, "tensorboard")]


@contextmanager
def report_log_errors_once(run: Path) -> Iterator[None]:
    """Context in which errors of writing a run's logs are raised once, as a `LogError`.

    TensorBoard writes in a thread, whose error is raised by the next logging call and also printed by Python.

    Raises:
        LogError: they cannot be written.
    """
    hook = threading.excepthook

    def print_others(failure: threading.ExceptHookArgs) -> None:
        if not _writes_logs(failure.thread):
            hook(failure)

    threading.excepthook = print_others
    try:
        yield
    except OSError as error:
        raise LogError(
            f"{os.fsdecode(error.filename or run / LOGS)}: cannot be written: {error.strerror or error}; "
            "the run can be resumed where it was last saved"
        ) from error
    finally:
        for thread in threading.enumerate():
            if _writes_logs(thread) and getattr(thread, "exception", None):  # would be printed
                thread.join()
        threading.excepthook = hook


def _writes_logs(thread: threading.Thread | None) -> bool:
    return type(thread).__module__.startswith("tensorboard.summary.writer")
