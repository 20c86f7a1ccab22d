"""Figures of the run's evaluators: measured, logged, charted and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from .. import console
from ..evaluation.charts import BOUND, by_set, chart_unit, charts, check_distinct, numbered
from ..record.figures import Figure
from ..stages import Evaluator
from .context import EvaluatorContext, RunContext
from .evaluation import Evaluation, Subject
from .log import clock


class FigureEvaluation(Evaluation):
    """Runs the evaluators of a run in order, and writes their figures to log, monitor and terminal.

    Args:
        evaluators: Evaluators by their paths in the run.
        subject: The model and its data.
        context: Outputs and seed of the run.
    """

    def __init__(self, evaluators: Mapping[str, Evaluator], subject: Subject, context: RunContext) -> None:
        self.evaluators, self.subject, self.context = evaluators, subject, context

    def evaluate(self, step: int) -> None:
        """See `Evaluation.evaluate`."""
        for line in self._log(self._measure([]), step):
            console.say(line)

    def conclude(self, step: int) -> list[Figure]:
        """Also write the evaluators' reports to validation.txt; see `Evaluation.conclude`."""
        reports: list[str] = []
        figures = self._measure(reports, final=True)
        self._log(figures, step)
        text = "".join(reports)
        self.context.on_main(lambda: self.context.workspace.write_side_file("validation.txt", text))
        return figures

    def rehearse(self) -> None:
        """Rehearse every evaluator; see `Evaluation.rehearse`."""
        subject = self.subject
        for path, evaluator in self.evaluators.items():
            context = self._context(path, final=False)
            with context.guarded():
                evaluator.rehearse(subject.model, subject.noise, subject.data, context)

    def _context(self, path: str, final: bool) -> EvaluatorContext:
        return EvaluatorContext(self.evaluators[path], path, self.context, self.subject.t_min, final)

    def _measure(self, reports: list[str], final: bool = False) -> list[Figure]:
        """The figures of all evaluators; their reports are appended to `reports`."""
        figures: list[Figure] = []
        for path in self.evaluators:
            context = self._context(path, final)
            found = context.call(partial(self._figures_of, self.evaluators[path], context))
            figures += numbered(self.context.world.gather(found)[0], figures)
            reports += context.reports
        return figures

    def _figures_of(self, evaluator: Evaluator, context: EvaluatorContext) -> list[Figure]:
        figures = list(evaluator.evaluate(self.subject.model, self.subject.noise, self.subject.data, context))
        check_distinct(figures)
        return [self._with_precision(figure) for figure in figures]

    def _with_precision(self, figure: Figure) -> Figure:
        """The figure, with the precision of the network in its protocol."""
        precision = self.subject.model.precision
        return replace(figure, protocol=f"{figure.protocol}, {precision}" if figure.protocol else precision)

    def _log(self, figures: Sequence[Figure], step: int) -> list[str]:
        """Write each set's figures to the log and the monitor. Returns the lines of the log."""
        lines = []
        for group in by_set(figures):
            line, metrics = line_of(group, step), charts(group)
            self.context.log_metrics(line, metrics, step)
            self.context.last_metrics |= metrics
            lines.append(line)
        return lines


def line_of(figures: Sequence[Figure], step: int) -> str:
    """The line of log.txt on figures of one set.

    Args:
        figures: Figures of one set and number of sequences.
        step: Number of updates done.
    """
    shown = [
        f"{'' if figure.name == BOUND else f'{figure.name} '}{figure} {chart_unit(figure)}".rstrip()
        for figure in figures
    ]
    notes = ["± standard error"] if any(figure.standard_error is not None for figure in figures) else []
    notes += [f"n = {figures[0].n}"] if figures[0].n is not None else []
    title = figures[0].set or "evaluation"
    note = f" ({', '.join(notes)})" if notes else ""
    return f"step {step:>7}  {title}: {', '.join(shown)}{note}{clock()}"
