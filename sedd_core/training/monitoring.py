"""Monitors that cannot end the run they monitor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..console import say
from ..registry.plugins import name_of
from ..stages import Monitor


class FailSafeMonitors(Monitor):
    """Forwards every call to several monitors. One that fails is warned of once and receives no later calls.

    Args:
        monitors: The monitors to forward to.
    """

    def __init__(self, monitors: Sequence[Monitor]) -> None:
        self._monitors = list(monitors)

    def start(self, folder: Path, step: int) -> None:
        """See `Monitor.start`."""
        self._call("start", lambda monitor: monitor.start(folder, step))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See `Monitor.scalars`."""
        self._call("scalars", lambda monitor: monitor.scalars(dict(values), step))

    def text(self, name: str, text: str, step: int) -> None:
        """See `Monitor.text`."""
        self._call("text", lambda monitor: monitor.text(name, text, step))

    def hyperparameters(self, values: Mapping[str, bool | int | float | str], figures: Mapping[str, float]) -> None:
        """See `Monitor.hyperparameters`."""
        self._call("hyperparameters", lambda monitor: monitor.hyperparameters(dict(values), dict(figures)))

    def flush(self) -> None:
        """See `Monitor.flush`."""
        self._call("flush", lambda monitor: monitor.flush())

    def close(self) -> None:
        """See `Monitor.close`."""
        self._call("close", lambda monitor: monitor.close())

    def _call(self, method: str, call: Callable[[Monitor], None]) -> None:
        for monitor in tuple(self._monitors):
            try:
                call(monitor)
            except (Exception, SystemExit) as error:
                self._monitors = [other for other in self._monitors if other is not monitor]
                name = name_of(type(monitor)) or type(monitor).__name__
                say(
                    f"warning: {name} failed in {method} ({type(error).__name__}: {error}). The run continues "
                    "without it: log.txt and the results are complete, its charts are not."
                )
