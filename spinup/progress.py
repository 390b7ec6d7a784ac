"""What a person, a log file or a machine sees of a run that goes on."""

import json
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from spinup.run import Progress as RunProgress
from spinup.store import Header
from spinup.store.view import elapsed_seconds, seconds_left


class _Watching(RunProgress):
    """Keeps the header and the records."""

    def started(self, header: Header, records: list[dict[str, Any]]) -> None:
        self.header = header
        self.records = list(records)

    def evaluated(self, record: dict[str, Any]) -> None:
        self.records.append(record)

    @property
    def left(self) -> float:
        return seconds_left(self.records, self.header.budget_years) or 0.0

    def facts(self, record: dict[str, Any]) -> dict[str, str]:
        drift = "-" if record["drift"] is None else f"{record['drift']:.3e}"
        error = record.get("error")
        return {
            "evaluation": f"{record['evaluation']}",
            "phase": record["phase"],
            "model years": f"{record['model_years']:g} of {self.header.budget_years:g}",
            "drift per year": "failed: " + record["failure"] if record["failure"] else drift,
            "error": "-" if error is None else f"{error['all']:.3g}",
            "wall": f"{elapsed_seconds(record):.2f} s",
            "left": _clock(self.left),
        }


class LineProgress(_Watching):
    """A plain line an evaluation, for logs."""

    def started(self, header: Header, records: list[dict[str, Any]]) -> None:
        super().started(header, records)
        done = f", {len(records)} evaluations done" if records else ""
        print(f"{header.case}: {header.method}, budget {header.budget_years:g} model years{done}", flush=True)

    def evaluated(self, record: dict[str, Any]) -> None:
        super().evaluated(record)
        print("  ".join(f"{name} {value}" for name, value in self.facts(record).items()), flush=True)

    def note(self, text: str) -> None:
        print(text, flush=True)


class JsonProgress(_Watching):
    """A JSON line an evaluation, for machines."""

    def started(self, header: Header, records: list[dict[str, Any]]) -> None:
        super().started(header, records)
        self._print({"event": "started", "case": header.case, "method": header.method, "evaluations": len(records)})

    def evaluated(self, record: dict[str, Any]) -> None:
        super().evaluated(record)
        shown = {key: value for key, value in record.items() if key not in ("files", "slot")}
        self._print({"event": "evaluation", **shown, "seconds_left": self.left})

    def note(self, text: str) -> None:
        self._print({"event": "note", "text": text})

    @staticmethod
    def _print(event: dict[str, Any]) -> None:
        print(json.dumps(event), flush=True)


class LiveProgress(_Watching):
    """A table of the last evaluations and a bar, redrawn in place."""

    ROWS = 8

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def started(self, header: Header, records: list[dict[str, Any]]) -> None:
        super().started(header, records)
        self._console.print(Text(header.title, style="bold"))
        self._console.print(
            f"{header.method}, budget {header.budget_years:g} model years, tolerance {header.tolerance:g} per year"
        )
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"), console=self._console
        )
        self._task = self._bar.add_task("model years", total=header.budget_years, words="")
        self._live = Live(self._draw(), console=self._console, refresh_per_second=4)
        self._live.start()

    def evaluated(self, record: dict[str, Any]) -> None:
        super().evaluated(record)
        if self._live is not None:
            self._live.update(self._draw())

    def note(self, text: str) -> None:
        self._console.print(Text(text, style="dim"))

    def ended(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _draw(self) -> Table:
        done = self.records[-1]["model_years"] if self.records else 0.0
        self._bar.update(
            self._task, completed=done, words=f"{done:g} of {self.header.budget_years:g}, {_clock(self.left)} left"
        )
        table = Table(box=None, header_style="dim")
        shown = [self.facts(record) for record in self.records[-self.ROWS :]]
        for name in shown[0] if shown else ():
            table.add_column(name, justify="right")
        for facts in shown:
            table.add_row(*(Text(fact) for fact in facts.values()))
        whole = Table.grid()
        whole.add_row(table)
        drifts = [r["drift"] for r in self.records if r["drift"] is not None]
        whole.add_row(_sparkline(drifts))
        whole.add_row(self._bar)
        return whole


def _sparkline(drifts: list[float], width: int = 60) -> str:
    """The drift so far on a log scale, one character a bin."""
    if len(drifts) < 2:
        return ""
    bins = np.array_split(np.log10(np.maximum(drifts, 1e-300)), min(width, len(drifts)))
    levels = np.array([part.mean() for part in bins])
    span = max(float(np.ptp(levels)), 1e-12)
    marks = "▁▂▃▄▅▆▇█"
    line = "".join(marks[int((level - levels.min()) / span * (len(marks) - 1))] for level in levels)
    return f"drift {max(drifts):.1e} {line} {drifts[-1]:.1e}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
