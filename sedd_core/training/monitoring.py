"""A monitor that cannot end the run it monitors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..console import say
from ..registry.plugins import name_of
from ..stages import Monitor


class FailSafeMonitor(Monitor):
    """Forwards every call to a monitor until one fails; then warns once and drops all later calls.

    Args:
        monitor: The monitor to forward to.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor: Monitor | None = monitor

    def start(self, folder: Path, step: int) -> None:
        """See `Monitor.start`."""
        self._call("start", lambda monitor: monitor.start(folder, step))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See `Monitor.scalars`."""
        self._call("scalars", lambda monitor: monitor.scalars(values, step))

    def text(self, name: str, text: str, step: int) -> None:
        """See `Monitor.text`."""
        self._call("text", lambda monitor: monitor.text(name, text, step))

    def hyperparameters(self, values: Mapping[str, bool | int | float | str], figures: Mapping[str, float]) -> None:
        """See `Monitor.hyperparameters`."""
        self._call("hyperparameters", lambda monitor: monitor.hyperparameters(values, figures))

    def flush(self) -> None:
        """See `Monitor.flush`."""
        self._call("flush", lambda monitor: monitor.flush())

    def close(self) -> None:
        """See `Monitor.close`."""
        self._call("close", lambda monitor: monitor.close())

    def _call(self, method: str, call: Callable[[Monitor], None]) -> None:
        if self._monitor is None:
            return
        try:
            call(self._monitor)
        except (Exception, SystemExit) as error:
            name = name_of(type(self._monitor)) or type(self._monitor).__name__
            self._monitor = None
            say(
                f"warning: {name} failed in {method} ({type(error).__name__}: {error}). The run continues without "
                "it: log.txt and the results are complete, its charts are not."
            )
