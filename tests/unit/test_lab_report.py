"""The report: what it says, that nothing is left out, and how it looks to a real browser."""

from __future__ import annotations

import re
import shlex
import shutil
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import jsonschema
import matplotlib
import pytest
from lab_world import METRICS, Weather, World, experiment

from llamasmith.errors import MissingDependency
from llamasmith.lab import build_record, json_schema
from llamasmith.lab.arm import Arm
from llamasmith.lab.condition import IDLE, Condition
from llamasmith.lab.plan import Metric
from llamasmith.lab.process import WorkerDied
from llamasmith.lab.report import render, write_report
from llamasmith.lab.report.headline import headline
from llamasmith.lab.report.marks import marks
from llamasmith.lab.report.numbers import amount
from llamasmith.lab.report.view import view
from llamasmith.lab.words import times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PP, TG = METRICS
NEIGHBOURS, QUOTA = Condition(neighbours=2), Condition(quota=1.0)
NOISE = (1.0, 1.02, 0.99, 1.01, 0.98, 1.0, 1.015, 0.985, 1.003, 0.997, 1.01)
FAST: dict[str, Any] = {"aa": True, "rounds": 6, "warmup": 2}
HOSTILE = (
    "<script>alert(1)</script>",
    "</svg><b>",
    'a"onload="x',
    r"$\frac{1$ %s {{ 7 }}",
    "漢字 \U0001f600",
    "\x1b\ud800",
)


def record_of(rates: dict[str, float] | None = None, names: str = "ab", **change: Any) -> dict[str, Any]:
    """A record of arms of one letter; `change` is for the world where it knows the name, else for the experiment."""
    rates = rates or {"a": 100.0, "b": 170.0}
    world = {name: change.pop(name) for name in [*change] if name in Weather.__dataclass_fields__}
    plan = experiment(names, **FAST | change)
    found = Weather(rates | {"A/A": rates["a"]}, **{"noise": NOISE} | world).run(plan)
    return build_record(found)


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """One condition, two arms and the A/A arm."""
    return record_of()


@pytest.fixture(scope="module")
def rich() -> dict[str, Any]:
    """Conditions of which one cannot be created, a large difference, and warnings."""
    return record_of(
        {"a": 100.0, "b": 101.0, "c": 80.0},
        "abc",
        conditions=(IDLE, NEIGHBOURS, QUOTA),
        under={NEIGHBOURS.name: {"a": 10.0, "b": 0.3, "c": 44.0, "A/A": 10.0}},
        cannot={QUOTA.name: "No cgroup can be made here."},
        name="wait",
        question="Which way of waiting is the fastest?",
        command=("llamasmith", "lab", "run", "wait", "--html", "my report.html"),
        idle_seconds=5.0,
    )


class Page(HTMLParser):
    """What a page holds: its tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def all(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(attribute))]


def plots(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in re.findall(r'<svg class="plot".*?</svg>', html, re.DOTALL)]


def dots(plot: ElementTree.Element) -> list[str]:
    return [title.text or "" for title in plot.iter("title")]


def test_it_is_made_of_a_valid_record(plain: dict[str, Any], rich: dict[str, Any]) -> None:
    for record in (plain, rich):
        jsonschema.validate(record, json_schema())


def test_arms_that_take_part_under_some_conditions_only() -> None:
    record = record_of(
        {"a": 100.0, "b": 101.0, "c": 80.0}, "abc", conditions=(IDLE, NEIGHBOURS), only={"idle": ("a", "b")}
    )
    jsonschema.validate(record, json_schema())
    page = Page(render(record))
    found = view(record)
    assert [arm.name for arm in found.arms] == ["a", "b", "c", "A/A"]
    rows = {row[0]: [spot.verdict for spot in row[2]] for row in found.glances[0].rows}
    assert list(rows) == ["a", "b", "c", "A/A"]
    assert rows["c"] == ["not asked", "slower"]
    assert "not asked" in page.text
    first, second = (marks(cell) for cell in record["cells"])
    assert first["b"] == second["b"]
    only_c = record_of(
        {"a": 100.0, "c": 80.0}, "ac", conditions=(IDLE, QUOTA), only={"quota=1": ("c",)}, throttles=True
    )
    assert marks(only_c["cells"][1])["c"] == marks(only_c["cells"][0])["c"]
    assert view(only_c).glances[0].caption.endswith("as fast as the baseline of each condition")
    assert "quota" not in headline(only_c).text


def test_question_and_verdict_come_first(plain: dict[str, Any]) -> None:
    page = Page(render(plain))
    assert page.text.index("Is b faster than a on this machine?") < page.text.index("b generates faster than a: 1.")
    assert page.text.index("b generates faster than a: 1.") < page.text.index("What was compared")
    assert "lang" in dict(page.tags)["html"]


def test_every_value_and_every_pair_is_a_dot(rich: dict[str, Any]) -> None:
    found: dict[str, list[ElementTree.Element]] = {}
    for plot in plots(render(rich)):
        found.setdefault(plot.attrib["aria-label"].split(":")[0], []).append(plot)
    for cell in rich["cells"][:2]:
        for metric in cell["metrics"]:
            pairs, rounds, *_ = found[f"{metric}, {cell['condition']['name']}"]
            samples = {arm["name"]: [s for s in arm["raw"] if s["metric"] == metric] for arm in cell["arms"]}
            assert {len(of) for of in samples.values()} == {8}
            assert len(dots(rounds)) == 4 * 8
            assert len(dots(pairs)) == 3 * 8
            assert sum("warm-up" in dot for dot in dots(rounds)) == 4 * 2
            values = cell["metrics"][metric]["samples"]["b"]
            assert f"b, round 1: {amount(values[0])} tokens/s" in dots(rounds)
            ratio = values[5] / cell["metrics"][metric]["samples"]["a"][5]
            assert f"b, round 6: {times(ratio)}× the baseline" in dots(pairs)


def test_dots_that_warmed_up_are_hollow(plain: dict[str, Any]) -> None:
    for plot in plots(render(plain))[:2]:
        groups = [group for group in plot.iter("g") if "style" in group.attrib and dots(group)]
        assert len(groups) in (4, 6)  # of every arm those that warmed up, and those that count
        for group in groups:
            assert ("fill:var(--paper)" in group.attrib["style"]) == ("warm-up" in dots(group)[0])


def test_the_same_record_gives_the_same_page_whatever_the_user_likes(plain: dict[str, Any]) -> None:
    page = render(plain)
    with matplotlib.rc_context({"font.size": 40, "axes.grid": True, "svg.fonttype": "path", "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        assert render(plain) == page
        assert dict(matplotlib.rcParams) == before


def test_ids_are_unique_and_links_lead_somewhere(rich: dict[str, Any]) -> None:
    page = Page(render(rich))
    ids = page.all("id")
    assert len(ids) == len(set(ids)) > 20
    links = {link[1:] for link in page.all("href") if link.startswith("#")}
    assert links <= set(ids)


def test_nothing_is_fetched_and_nothing_runs(rich: dict[str, Any]) -> None:
    html = render(rich)
    page = Page(html)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", html)
    assert not {"script", "iframe", "object", "img", "form"} & {tag for tag, _ in page.tags}
    assert all(link.startswith(("#", "data:")) for link in page.all("href"))
    assert "default-src 'none'" in html


def test_plots_take_their_colours_and_fonts_from_the_page(rich: dict[str, Any]) -> None:
    html = render(rich)
    declared = set(re.findall(r"(--[\w-]+):", html))
    for plot in plots(html):
        markup = ElementTree.tostring(plot, encoding="unicode")
        assert set(re.findall(r"var\((--[\w-]+)\)", markup)) <= declared
        assert not re.search(r"#[0-9a-f]{6}|font-family|<path[^>]*glyph", markup)
        assert plot.attrib["role"] == "img"
        assert len(plot.attrib["aria-label"]) > 40


def test_tables_show_costs_roofline_and_idleness(plain: dict[str, Any]) -> None:
    (cell,) = record_of(idle_seconds=5.0, throttles=True)["cells"]
    text = Page(render(record_of(idle_seconds=5.0, throttles=True))).text
    costs = cell["metrics"][TG.name]["costs"]["b"]
    assert f"{costs['cpu_seconds_per_token'] * 1e3:.1f}" in text
    assert "CPU time ms/token" in text
    assert "in 5 s after work" in text
    assert "100 MB" in text
    assert " 10 % " in text.replace("\u202f", " ")  # throttled
    assert "this machine reads 20.0 GB/s" in text
    assert f"{costs['gigabytes_per_second']:.2f} GB/s" in text
    assert "Quality" not in text


def test_quality_is_shown_where_it_was_measured(plain: dict[str, Any]) -> None:
    found = {"positions": 512, "perplexity": 17.25, "kl_mean": 0.0123, "kl_p99": None, "same_top": 0.987, "chunk": 512}
    (cell,) = plain["cells"]
    arms = [arm | {"quality": found if arm["name"] == "b" else None} for arm in cell["arms"]]
    text = Page(render(plain | {"cells": [cell | {"arms": arms}]})).text
    assert "17.25 0.012 – 98.70%" in text


def test_the_command_can_be_pasted_into_a_shell(rich: dict[str, Any]) -> None:
    html = render(rich)
    command = re.search(r"<pre><code>(.*?)</code></pre>", html, re.DOTALL)
    assert command is not None
    assert shlex.split(unescape(command[1])) == rich["command"]
    text = Page(html).text
    for fact in ("Some CPU", "m.gguf", "0" * 64, "p" * 40, "5" * 64, "In all", "Overhead", "6, after 2 to warm up"):
        assert fact in text
    assert "holds no command" in Page(render(rich | {"command": []})).text


def test_conditions_that_were_not_run_or_not_in_force_say_why(rich: dict[str, Any]) -> None:
    text = Page(render(rich)).text
    assert "Not run: No cgroup can be made here." in text
    assert "In force: seen to be in force." in text
    weak = record_of(conditions=(Condition(sessions=2),))
    text = Page(render(weak)).text
    assert "No verdict: the condition was not in force" in text
    assert "there is no verdict: The sessions did not work at the same time." in text


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (
            {},
            r"b generates faster than a: 1\.[67]\d times as fast \(95 % interval 1\.\d+ to 1\.\d+\); it reads prompts",
        ),
        ({"rates": {"a": 100.0, "b": 50.0}}, r"b generates slower than a: 0\.5\d times"),
        ({"rates": {"a": 100.0, "b": 100.0}}, r"No difference seen: b generates \d\.\d\d times as fast as a \(95 %"),
        ({"conditions": (NEIGHBOURS,)}, r"b generates faster than a beside 2 busy neighbours: 1\.[67]"),
        ({"rounds": 2}, "Too few rounds to say whether b is faster than a."),
        ({"rounds": 1, "warmup": 0}, "Too few rounds to say whether b is faster than a."),
        ({"aa": False}, r"b generates faster than a: 1\.[67]"),
        ({"names": "a"}, "Nothing to compare: a is the only arm."),
        ({"names": "a", "aa": False}, "Nothing to compare: a is the only arm."),
        ({"metrics": (Metric("ttft", 50),)}, r"b gives the first token faster than a: 1\.[67]\d times as fast"),
        (
            {"metrics": (PP, Metric("pp", 100))},
            r"b reads prompts of 50 tokens faster than a: .*; it reads prompts of 100",
        ),
        ({"disasters": {("b", 0): WorkerDied("It fell.\nIts last words")}}, "No verdict: this ended before enough"),
        ({"disasters": {("a", 4): KeyboardInterrupt()}}, "No verdict: this ended before enough"),
        ({"tokens": {"b": [7, 7]}, "names": "ab"}, r"b generates faster"),
    ],
)
def test_whatever_came_out_is_told_in_one_sentence(change: dict[str, Any], verdict: str) -> None:
    record = record_of(**change)
    text = headline(record).text
    assert re.match(verdict, text)
    assert text.endswith(".")
    page = Page(render(record))
    assert text in page.text
    for words in ("None", "nan", "inf ", "0x"):
        assert f" {words}" not in page.text


def test_arms_that_must_agree_and_do_not_spoil_the_verdict() -> None:
    arms = (Arm("a", "upstream"), Arm("b", "patched"))
    record = record_of(arms=arms, tokens={"b": [7, 7]})
    assert headline(record).text == "Do not use this comparison: b generates other tokens than a."
    text = Page(render(record)).text
    assert "Outputs differ where they must be equal" in text
    assert "b differs from the baseline at token 1 of 64." in text


def test_several_arms_and_conditions_are_summed_up(rich: dict[str, Any]) -> None:
    assert re.fullmatch(
        r"c generates faster than a beside 2 busy neighbours \(4\.\d\d×\); slower when idle \(0\.\d\d×\)\.",
        headline(rich).text,
    )
    three = {"a": 100.0, "b": 150.0, "c": 50.0, "d": 130.0}
    assert re.fullmatch(
        r"b does best: it generates 1\.\d\d times as fast as a \(95 % interval .*\); of the others 1 is faster too and "
        r"1 is slower\.",
        headline(record_of(three, "abcd")).text,
    )
    assert headline(record_of({"a": 100.0, "b": 50.0, "c": 60.0}, "abc")).text == (
        "None of 2 arms generates faster than a: 2 are slower."
    )
    two = {NEIGHBOURS.name: {"a": 10.0, "b": 5.0, "c": 40.0}, "idle": {"a": 10.0, "b": 20.0, "c": 5.0}}
    mixed = record_of(names="abc", aa=False, conditions=(IDLE, NEIGHBOURS), under=two)
    assert re.fullmatch(
        r"Faster than a: c beside 2 busy neighbours \(\d\.\d\d×\) and b when idle \(\d\.\d\d×\)\.", headline(mixed).text
    )
    one = {NEIGHBOURS.name: {"a": 10.0, "b": 5.0}, "idle": {"a": 10.0, "b": 4.0}}
    assert headline(record_of(aa=False, conditions=(IDLE, NEIGHBOURS), under=one)).text == (
        "Nothing generates faster than a under any of 2 conditions."
    )


def test_an_arm_that_fell_keeps_its_dots_and_its_reason() -> None:
    record = record_of(disasters={("b", 9): WorkerDied("The arm 'b' was ended by signal 11.")})
    page = render(record)
    text = Page(page).text
    assert "b ended early: The arm 'b' was ended by signal 11." in text
    assert "Not complete" in text
    told = [dot for plot in plots(page)[:2] for dot in dots(plot)]
    raw = [sample for arm in record["cells"][0]["arms"] for sample in arm["raw"] if sample["metric"] == TG.name]
    assert len([dot for dot in told if "tokens/s" in dot]) == len(raw) < 24


def test_an_interrupted_run_and_one_under_way_have_a_page() -> None:
    record = record_of(disasters={("a", 12): KeyboardInterrupt()}, conditions=(IDLE, NEIGHBOURS))
    text = Page(render(record)).text
    assert "Interrupted: this shows what was measured until then." in text
    assert "Nothing was measured here: the experiment ended before." in text
    saved: list[dict[str, Any]] = []
    Weather({"a": 100.0, "b": 150.0}).run(
        experiment(), save=lambda results: saved.append(build_record(results, under_way=True))
    )
    for record in saved:
        assert "No verdict: this ended before enough was measured." in Page(render(record)).text or record["complete"]


def test_hostile_names_stay_text() -> None:
    arms = tuple(Arm(name, "patched", {"n_batch": 64 + index}) for index, name in enumerate(HOSTILE))
    rates = {name: 100.0 + index for index, name in enumerate(HOSTILE)}
    world = World(rates | {"A/A": 100.0}, noise=NOISE)
    facts_of = world.run(experiment(arms=arms, **FAST, name="<i>", question="<b>&amp;</b>", command=("</code>", "'\"")))
    record = build_record(facts_of)
    record["warnings"] = ["</ul><script>"]
    record["facts"] = record["facts"] | {"model": record["facts"]["model"] | {"file": "<img src=x>.gguf"}}
    html = render(record)
    html.encode("utf-8")
    page = Page(html)
    assert not {"script", "b>", "i", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert len(plots(html)) == 5
    for name in HOSTILE[:-1]:
        assert name in page.text
        assert sum(name[:29] in (text.text or "") for plot in plots(html) for text in plot.iter("text"))


def test_the_largest_report_is_below_a_megabyte() -> None:
    names = "abcdef"
    conditions = (IDLE, *(Condition(neighbours=count) for count in range(1, 6)))
    record = record_of(
        {name: 100.0 + 7 * index for index, name in enumerate(names)},
        conditions=conditions,
        arms=tuple(Arm(f"patched,wait=spin,name={name}", "patched", {"n_batch": ord(name)}) for name in names),
        under={
            c.name: {f"patched,wait=spin,name={n}": 90.0 + ord(n) for n in names} | {"A/A": 187.0} for c in conditions
        },
        rounds=20,
    )
    assert [len(arm["raw"]) for cell in record["cells"] for arm in cell["arms"]] == [44] * 42
    assert len(render(record).encode()) < 1_000_000


def test_the_lab_needs_matplotlib_and_jinja2_only_for_reports(run_python: Callable[..., Any]) -> None:
    done = run_python(
        """
        import sys
        for name in ("matplotlib", "jinja2"):
            sys.modules[name] = None
        import llamasmith.lab
        from llamasmith.lab.report import render
        from llamasmith.errors import MissingDependency
        try:
            render({})
        except MissingDependency as error:
            print(error)
        """.replace("\n        ", "\n")
    )
    assert 'pip install "llamasmith[bench]"' in done.stdout, done.stderr
    assert issubclass(MissingDependency, ImportError)


def test_it_is_written_as_one_file(tmp_path: Path, plain: dict[str, Any]) -> None:
    write_report(tmp_path / "report.html", plain)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(plain)


# In a real browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if chromium is None:
        pytest.skip("needs Chromium; on Debian and Ubuntu: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason='needs playwright: pip install "llamasmith[test]"')
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium)
        yield running
        running.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_a_word_of_complaint(
    browser: Any, tmp_path: Path, rich: dict[str, Any], width: int, scheme: str
) -> None:
    write_report(file := tmp_path / "report.html", rich)
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    assert complaints == []
    assert requests == [file.as_uri()]
    assert page.title() == rich["question"]
    assert page.locator(".verdict").inner_text() == headline(rich).text
    assert page.locator("svg.plot").count() == 10
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # What is wider than the screen scrolls in its own box; plots do not.
    boxes = page.eval_on_selector_all(
        "svg.plot, figcaption, pre, dd", "all => all.map(e => e.getBoundingClientRect().right)"
    )
    assert 0 < max(boxes) <= width
    paper, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (sum(_channels(paper)) > sum(_channels(ink))) == (scheme == "light")
    label = page.locator("svg.plot text").first
    assert _channels(label.evaluate("text => getComputedStyle(text).fill")) != _channels(paper)
    assert label.bounding_box()["height"] >= 10  # readable without zooming
    page.close()


@pytest.mark.browser
def test_a_browser_runs_nothing_that_a_name_says(browser: Any, tmp_path: Path) -> None:
    arms = tuple(Arm(name, "patched", {"n_batch": 64 + index}) for index, name in enumerate(HOSTILE))
    found = World(dict.fromkeys(HOSTILE, 100.0), noise=NOISE).run(experiment(arms=arms))
    write_report(file := tmp_path / "report.html", build_record(found))
    page = browser.new_page()
    said: list[str] = []
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    assert said == []
    assert page.locator("script").count() == 0
    assert page.locator("main section").last.locator("h2").inner_text() == "Facts"  # nothing has closed it before
    assert page.locator("svg.plot").count() == len(plots(file.read_text(encoding="utf-8")))
    page.close()


@pytest.mark.browser
def test_paper_is_white_and_pages_hold_all(browser: Any, tmp_path: Path, rich: dict[str, Any]) -> None:
    write_report(file := tmp_path / "report.html", rich)
    page = browser.new_page(color_scheme="dark")
    page.goto(file.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()


def _channels(colour: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", colour)[:3]]
