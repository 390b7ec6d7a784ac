"""The documentation is true: what its pages tell a reader to type runs, prints what they show, and the site builds.

Fenced `bash` and `python` blocks of PAGES are run in order, each in a process of its own, in one folder a page.
A python block with a title="NAME" is saved under that name too. A `text` block after one shows its output: `...` on
a line of its own stands for any lines, `…` for any text, and lines may be left out at the end. Numbers may differ by a
quarter, times (`wall`, `left`) by anything.

A comment on the line above a block says what is special about it:

    <!-- test: exit N -->            it ends with this code
    <!-- test: skip WHY -->          it is not run
    <!-- test: background "TEXT" --> it goes on while the next blocks run, once it has printed TEXT
    <!-- test: watch "TEXT" -->      it is interrupted once it has printed TEXT
    <!-- test: interrupt N -->       no block follows: the one in the background is interrupted and ends with this code

SPINUP_DOCS_UPDATE=1 writes the output as it is now into the pages.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("index", "tutorial", "wrap-your-model", "read-results", "how-it-works", "cli", "errors")
UPDATE = bool(os.environ.get("SPINUP_DOCS_UPDATE"))
PATIENCE = 480  # s, for one block

BLOCK = re.compile(
    r"(?:^<!-- test: (?P<directive>.+?) -->\n)?^```(?P<language>\w+)(?P<options>.*)\n(?P<text>(?:.*\n)*?)^```$"
    r"|^<!-- test: (?P<alone>interrupt \d+) -->$",
    re.MULTILINE,
)
NUMBER = re.compile(r"(?<![\w.])[-−+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
TIME = re.compile(r"(?:wall|left) +[\d:.]+(?: s)?")


@dataclass(frozen=True)
class Block:
    """A fenced block and where it is; `directive` is what its comment says."""

    language: str
    text: str
    options: str
    directive: list[str]
    where: str
    span: tuple[int, int]


def file_of(page: str) -> Path:
    return DOCS.parent / "README.md" if page == "README" else DOCS / "pages" / f"{page}.md"


def blocks_of(page: str) -> list[Block]:
    file = file_of(page)
    text = file.read_text()
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        directive = shlex.split(match["directive"] or match["alone"] or "")
        language = match["language"] or "comment"
        span = match.span("text") if match["text"] is not None else match.span()
        found.append(
            Block(language, match["text"] or "", match["options"] or "", directive, f"{file.name}:{line}", span)
        )
    return found


# --- what was printed, and what is shown ---------------------------------------------------------


def shape(line: str) -> str:
    """A line without its numbers and the width of its gaps."""
    return " ".join(NUMBER.sub("#", TIME.sub("@", line)).split())


def matches(shown: str, line: str) -> bool:
    parts = [re.escape(shape(part)) for part in shown.split("…")]
    return re.fullmatch(r".*?".join(f" ?{part} ?" for part in parts), f"{shape(line)}") is not None


def numbers(line: str) -> list[float]:
    return [float(n.replace("−", "-")) for n in NUMBER.findall(TIME.sub("@", line))]


def difference(shown: str, line: str) -> float:
    """The largest relative difference of two numbers that stand in the same place, up to a `…`."""
    pairs = zip(numbers(shown.split("…")[0]), numbers(line), strict=False)
    return max((abs(a - b) / max(abs(a), abs(b), 1e-300) for a, b in pairs), default=0.0)


def compared(shown: str, printed: str, where: str) -> list[str]:
    """The shown lines as they were printed now. Fails at the first that was not."""
    lines, here, now, free = printed.splitlines(), 0, [], False
    for wanted in shown.splitlines():
        if wanted.strip() == "...":
            free = True
            now.append(wanted)
            continue
        if not wanted.strip():
            now.append(wanted)
            continue
        while here < len(lines) and not lines[here].strip():
            here += 1
        candidates = range(here, len(lines)) if free or "…" in wanted else range(here, min(here + 1, len(lines)))
        at = min(
            (i for i in candidates if matches(wanted, lines[i])),
            key=lambda i: difference(wanted, lines[i]),
            default=None,
        )
        near = at is not None and (UPDATE or difference(wanted, lines[at]) <= 0.25)
        assert near, f"{where}: not printed (any more):\n  {wanted}\nbut:\n" + "\n".join(lines[here:])
        now.append(wanted if "…" in wanted else lines[at].rstrip())
        here, free = at + 1, False
    return now


# --- running a page ------------------------------------------------------------------------------


class Reader:
    """Who types what a page says, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("SPINUP_TEST", "SPINUP_CASES"))}
        self.environment |= {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "COLUMNS": "150",
            "NO_COLOR": "1",
            "MPLBACKEND": "Agg",
            "PYTHONUNBUFFERED": "1",
        }
        self.background: tuple[subprocess.Popen[str], Path] | None = None

    def do(self, block: Block) -> str:
        """Run a block; give what it printed."""
        action, *arguments = block.directive or ["exit", "0"]
        if action == "interrupt":
            assert self.background is not None, f"{block.where}: nothing is running"
            process, log = self.background
            self.background = None
            return self.ended(process, log, int(arguments[0]), block.where, interrupt=True)
        process, log = self.start(block)
        if action == "exit":
            return self.ended(process, log, int(arguments[0]), block.where)
        self.wait_for(arguments[0], process, log, block.where)
        if action == "background":
            self.background = (process, log)
            return ""
        assert action == "watch", f"{block.where}: unknown directive {action!r}"
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
        return log.read_text()

    def start(self, block: Block) -> tuple["subprocess.Popen[str]", Path]:
        if block.language == "bash":
            # one command replaces the shell, so that an interrupt reaches it
            single = len(block.text.splitlines()) == 1 and "&&" not in block.text
            command = ["bash", "-euo", "pipefail", "-c", ("exec " if single else "") + block.text]
        elif title := re.search(r'title="(.+?)"', block.options):
            (self.folder / title[1]).write_text(block.text)
            command = [sys.executable, title[1]]
        else:
            command = [sys.executable, "-c", block.text]
        log = self.folder.parent / f"{self.folder.name}-{block.where.replace(':', '-')}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT, text=True
            )
        return process, log

    def ended(
        self, process: "subprocess.Popen[str]", log: Path, code: int, where: str, *, interrupt: bool = False
    ) -> str:
        before = 0
        if interrupt:
            before = len(log.read_text())
            process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        printed = log.read_text()
        assert process.returncode == code, f"{where}: exit code {process.returncode}, not {code}\n{printed}"
        return printed[before:]

    def wait_for(self, text: str, process: "subprocess.Popen[str]", log: Path, where: str) -> None:
        end = time.monotonic() + PATIENCE
        while text not in log.read_text():
            running = process.poll() is None and time.monotonic() < end
            assert running or text in log.read_text(), f"{where}: {text!r} was not printed\n{log.read_text()}"
            time.sleep(0.05)

    def close(self) -> None:
        if self.background is not None:
            self.background[0].kill()
            self.background[0].wait()


@pytest.mark.parametrize("page", ["README", *PAGES])
@pytest.mark.timeout(1200)
def test_what_a_page_says_runs_and_prints_what_it_shows(page, tmp_path):
    folder = tmp_path / page
    folder.mkdir()
    reader, printed, updates = Reader(folder), None, []
    try:
        for block in blocks_of(page):
            if block.directive[:1] == ["skip"]:
                assert block.directive[1:], f"{block.where}: say why it is skipped"
                printed = None
            elif block.language == "text" and printed is not None:
                now = compared(block.text, printed, block.where)
                updates.append((block.span, "".join(f"{line}\n" for line in now)))
                printed = None
            elif block.language in ("bash", "python", "comment"):
                printed = reader.do(block)
        assert reader.background is None, f"{page}: a block in the background was never interrupted"
    finally:
        reader.close()
    if UPDATE:
        file = file_of(page)
        text = file.read_text()
        for (begin, end), new in reversed(updates):
            text = text[:begin] + new + text[end:]
        file.write_text(text)


def test_the_tutorial_hides_nothing_from_the_tests():
    text = (DOCS / "pages" / "tutorial.md").read_text()
    fences = len(re.findall(r"^\s*```(?:bash|python|sh|console)", text, re.MULTILINE))
    run = [b for b in blocks_of("tutorial") if b.language in ("bash", "python")]
    assert len(run) == fences
    assert sum(b.directive[:1] == ["skip"] for b in run) == 1  # the installation


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning fails it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(DOCS / "mkdocs.yml"), "-d", str(folder)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_the_site_has_its_pages_and_nothing_left_to_fill_in(site):
    for page in (*PAGES, "api"):
        html = (site / f"{page}.html").read_text()
        assert "fill:" not in html
        assert "None" not in re.sub(r"<code.*?</code>", "", html, flags=re.DOTALL) or page == "api"


def test_the_site_loads_nothing_from_a_network(site):
    loads = re.compile(
        r"""<(?:script|img|iframe|source)[^>]+src=["']?(?:https?:)?//[^>]*|<link(?![^>]+canonical)[^>]+href=["']?(?:https?:)?//[^>]*"""
        r"""|@import[^;]+//[^;]*|url\(["']?(?:https?:)?//[^)]*"""
    )
    for file in (*site.rglob("*.html"), *site.rglob("*.css")):
        found = loads.findall(file.read_text())
        assert not found, f"{file.name}: {found[:3]}"


def test_every_setting_and_option_is_in_the_reference(site):
    from typer.main import get_command

    from spinup.cli import app
    from spinup.methods import METHODS
    from spinup.store.header import StoreSettings

    page = (site / "cli.html").read_text()
    for owner, model in {**METHODS, "store": StoreSettings}.items():
        for name in model.model_fields:
            assert f"{owner}.{name}" in page
    for command in get_command(app).commands.values():
        for parameter in command.params:
            for flag in parameter.opts if parameter.param_type_name == "option" else ():
                assert flag in page
