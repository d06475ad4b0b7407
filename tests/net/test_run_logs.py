"""Logs of a training run that cannot be written: the error is reported once."""

import shutil
import threading
from pathlib import Path

import pytest

pytest.importorskip("lightning")

from lightning.pytorch.loggers import TensorBoardLogger

from sweepdepth.net.training.run_logs import LOGS, LogError, make_loggers, report_log_errors_once


@pytest.fixture
def printed(monkeypatch) -> list[BaseException | None]:
    """Exceptions in threads, for which Python would print a traceback."""
    found: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: found.append(failure.exc_value))
    return found


def test_unwritable_logs_are_reported_once(tmp_path: Path, printed: list[BaseException | None]):
    (logger,) = (logger for logger in make_loggers(tmp_path) if isinstance(logger, TensorBoardLogger))
    logger.log_metrics({"loss": 1.0}, 1)
    logger.experiment.flush()
    shutil.rmtree(tmp_path / LOGS)

    def log() -> None:
        with report_log_errors_once(tmp_path):
            logger.log_metrics({"loss": 0.5}, 2)
            logger.experiment.flush()

    with pytest.raises(LogError, match=r"cannot be written: .*; the run can be resumed") as caught:
        log()
    assert str(caught.value).startswith(str(tmp_path / LOGS))
    assert not printed


def test_other_exceptions_in_threads_are_printed(tmp_path: Path, printed: list[BaseException | None]):
    with report_log_errors_once(tmp_path):
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    assert [type(error) for error in printed] == [ZeroDivisionError]
