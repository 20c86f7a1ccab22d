"""Trajectories: the terminal, the HTML page and the SVG show exactly what was recorded."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from rich.console import Console

from sedd_core import UserError
from sedd_core.stages.sampler import FixedTokens
from sedd_core.text.builtin import UNKNOWN, byte_codec, character_codec
from sedd_core.text.codec import Codec
from sedd_core.trajectory import LiveView, Recorder, Trajectory, to_html, to_svg
from sedd_core.trajectory.layout import layout
from sedd_core.trajectory.style import NEVER, kinds, later_ages, token_texts

LETTERS = character_codec("abcdefgh <>/&\"'\n")
MASK = LETTERS.vocab_size


def recorded(*samples: list[str], given: str = "", mask: int | None = MASK, codec: Codec = LETTERS) -> Trajectory:
    """States of samples, a text each, `_` being the mask; given: `+` where a token was known."""
    token = {**{c: codec.encode(c)[0] for c in "abcdefgh <>/&\"'\n"}, "_": MASK}
    states = torch.tensor([[[token[c] for c in text] for text in frame] for frame in zip(*samples, strict=True)])
    record = Recorder(torch.linspace(1, 0, len(states), dtype=torch.float64))
    for state in states:
        record(state)
    where = torch.tensor([c == "+" for c in given.ljust(states.shape[2])]).expand(states.shape[1:])
    return record.trajectory(codec, mask, FixedTokens(states[-1], where))


def random_walk(frames: int, length: int, seed: int, vocab: int = 256, codec: Codec | None = None) -> Trajectory:
    """Every token changes at every frame: the most that there can be to show."""
    torch.manual_seed(seed)
    states = torch.randint(vocab, (frames, 1, length)).int()
    times, steps = torch.linspace(1, 0, frames, dtype=torch.float64), torch.arange(frames)
    given = torch.zeros(1, length, dtype=torch.bool)
    return Trajectory(states, times, steps, given, codec or byte_codec(), None)


def data_of(page: str) -> dict[str, Any]:
    """What the page's script reads: the content of the element, as an HTML parser sees its end."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def replayed(data: dict[str, Any], sample: int) -> list[str]:
    """Every frame's text, put together from the page's data; the mask is `_`."""
    state, frames = list(data["samples"][sample]["first"]), []
    for changes in [[], *data["samples"][sample]["changes"]]:
        for position, token in zip(changes[::2], changes[1::2], strict=True):
            state[position] = token
        frames.append("".join("_" if token == data["mask"] else data["texts"][token] for token in state))
    return frames


def test_batches_are_recorded_side_by_side() -> None:
    times = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    record = Recorder(times)
    whole = torch.arange(3 * 5 * 2).view(3, 5, 2)
    for batch in whole.split([3, 2], dim=1):
        for state in batch:
            record(state)
    trajectory = record.trajectory(LETTERS, None)
    assert torch.equal(trajectory.states, whole.int())
    assert trajectory.steps.tolist() == [0, 1, 2]
    assert not trajectory.given.any()
    record(whole[0])
    with pytest.raises(ValueError, match="7 states were recorded, which is not a multiple of 3 times"):
        record.trajectory(LETTERS, None)


@pytest.mark.parametrize(("frames", "most", "stride"), [(130, 200, 1), (200, 200, 1), (201, 200, 2), (1026, 200, 6)])
def test_thinning_keeps_both_ends_and_equal_distances(frames: int, most: int, stride: int) -> None:
    whole = random_walk(frames, 4, 0)
    thin = whole.thinned(most)
    assert len(thin.steps) <= most
    assert thin.steps[[0, -1]].tolist() == [0, frames - 1]
    assert set(thin.steps.diff()[:-1].tolist()) == {stride}
    assert thin.steps.diff()[-1] <= stride
    assert torch.equal(thin.states, whole.states[thin.steps])
    assert torch.equal(thin.times, whole.times[thin.steps])


def test_a_trajectory_is_a_file(tmp_path: Path) -> None:
    for mask in (MASK, None):
        before = recorded(["___", "a__", "abc"], given="+", mask=mask)
        before.save(tmp_path / "x.safetensors")
        after = Trajectory.load(tmp_path / "x.safetensors")
        for name in ("states", "times", "steps", "given"):
            assert torch.equal(getattr(before, name), getattr(after, name))
        assert after.mask == mask
        assert after.codec.decode(after.states[-1, 0].tolist()) == "abc"


def test_a_file_that_is_no_trajectory(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    for name in ("text", "missing"):
        with pytest.raises(UserError, match="is not a recorded trajectory"):
            Trajectory.load(tmp_path / name)
    with pytest.raises(UserError, match="could not be written"):
        recorded(["a", "b"]).save(tmp_path / "no" / "folder")


def test_ages_and_kinds() -> None:
    states = recorded(["___ab", "c__ab", "cd_ab", "cd_ac"], given="   + ").states[:, 0]
    ages = torch.full_like(states[0], NEVER)
    for before, after in pairwise(states):
        ages = later_ages(ages, before, after)
    assert ages.tolist() == [2, 1, NEVER, NEVER, 0]
    given = torch.tensor([False, False, False, True, False])
    assert kinds(states[-1], ages, given, MASK) == ["age2", "age1", "mask", "given", "age0"]
    assert kinds(states[-1], torch.tensor([4, 15, 16, 99, NEVER]).int(), given, None) == [
        "age3", "age4", "age5", "given", "prior",
    ]  # fmt: skip


def test_texts_of_tokens() -> None:
    codec = byte_codec()
    assert token_texts(codec, [65, 32, 10, 9, 0, 127, 0xC3, 300], mask=300) == {
        65: "A", 32: " ", 10: "\n", 9: "    ", 0: UNKNOWN, 127: UNKNOWN, 0xC3: UNKNOWN, 300: "",
    }  # fmt: skip


def test_words_without_spaces_of_their_own(shared: Path) -> None:
    """Pieces of WordPiece stand within a text as they will: with a space, or without their ##."""
    from tokenizers import BertWordPieceTokenizer

    vocabulary = str(shared / "data/tokenizers/bert-base-uncased/vocab.txt")
    codec = Codec(BertWordPieceTokenizer(vocabulary)._tokenizer)
    ids = codec.encode("she denoised")
    texts = token_texts(codec, ids, None)
    assert "".join(texts[token] for token in ids) == " she denoised"


def test_the_page_holds_every_frame() -> None:
    frames = ["_____", "a_<__", "a\n<__", "a\n</_", "b\n</&"], ["__cde", "__cde", "_gcde", "hgcde", "hgcde"]
    data = data_of(to_html(recorded(*frames, given="  +"), "title"))
    for i, sample in enumerate(frames):
        assert replayed(data, i) == sample
        assert data["samples"][i]["given"] == [2]
    assert data["steps"] == [0, 1, 2, 3, 4]
    assert data["times"] == [1, 0.75, 0.5, 0.25, 0]


def test_the_page_without_a_mask() -> None:
    data = data_of(to_html(recorded(["abc", "abd"], mask=None), ""))
    assert data["mask"] is None
    assert replayed(data, 0) == ["abc", "abd"]


def test_no_text_can_end_the_script_or_add_to_the_page() -> None:
    attack = "</script><b>"
    codec = character_codec("x")
    codec.tokenizer.add_tokens([attack])
    token = codec.encode(attack)
    assert len(token) == 1
    trajectory = replace(random_walk(3, 4, 0), codec=codec, states=torch.full((3, 1, 4), token[0]).int())
    page = to_html(trajectory, '{{data}}</title><script>alert("1")</script>')
    assert attack not in page
    assert 'alert("1")' not in page
    assert page.count("<script") == page.count("</script") == 2
    assert data_of(page)["texts"] == [attack]


def test_the_page_needs_nothing_else() -> None:
    page = to_html(recorded(["_", "a"]), "title")
    assert not re.search(r"""https?:|src=|@import|url\(|<link|fetch\(|import\(""", page)
    assert "{{" not in page


def test_the_largest_page_is_below_two_megabytes(seed: int) -> None:
    codec = Codec(character_codec("").tokenizer)
    codec.tokenizer.add_tokens([f" word{i}" for i in range(3000)])
    assert len(to_html(random_walk(128, 1024, seed, vocab=3000, codec=codec), "").encode()) < 2e6


def test_lines_break_between_words() -> None:
    boxes = layout(["one", " two", "!", " three", "\n", "  four", "\n\n", "fivefive", "six"], 9)
    assert [[tuple(box) for box in token] for token in boxes] == [
        [(0, 0, "one")], [(4, 0, "two")], [(7, 0, "!")],
        [(0, 1, "three")], [(5, 1, "↵"), (0, 2, "")],
        [(2, 2, "four")], [(6, 2, "↵"), (0, 3, "↵"), (0, 4, "")],
        [(0, 4, "fivefive")], [(0, 5, "six")],
    ]  # fmt: skip
    letters = layout(list("ab cd ef"), 5)
    assert [(token[0].column, token[0].line) for token in letters if token[0].text] == [
        (0, 0), (1, 0), (3, 0), (4, 0), (0, 1), (1, 1),
    ]  # fmt: skip


def visible(picture: str, second: float | None) -> list[tuple[str, str]]:
    """(kind, text) of what is seen at a second of the loop, or without animation (None), from the file's own rules."""
    name = "{http://www.w3.org/2000/svg}"
    root, seen = ElementTree.fromstring(picture), []
    for group in root.iterfind(f"{name}g"):
        span = group.get("class")
        rule = re.search(rf"\.{span}\{{opacity:(\d);animation:{span} ([\d.]+)s step-end infinite\}}", picture)
        opacity = "1" if rule is None else rule[1]
        if rule and second is not None:
            points = re.search(rf"@keyframes {span}\{{(.*?\}})\}}", picture)
            assert points
            for when, value in re.findall(r"([\d.]+)%\{opacity:(\d)\}", points[1]):
                if float(when) <= 100 * second / float(rule[2]):
                    opacity = value
        for inner in group if opacity == "1" else ():
            kind = (inner.get("class") or "").split()[0]
            seen += [(kind, text.text or "") for text in inner.iterfind(f"{name}text")]
            seen += [(kind, "") for path in inner.iterfind(f"{name}path") for _ in re.findall("M", path.get("d") or "")]
    return sorted(seen)


def test_the_picture_shows_every_frame() -> None:
    frames = ["____e", "a___e", "ab__e", "cb_<e"]
    picture = to_svg(recorded(frames, given="    +"), seconds=4.0)
    for second, text in enumerate(frames):
        expected = sorted(("mask", "") if c == "_" else ("given", c) if c == "e" else ("age", c) for c in text)
        if second < 3:
            assert visible(picture, second + 0.5) == expected
    final = [("age", "<"), ("age", "b"), ("age", "c"), ("given", "e"), ("mask", "")]
    assert visible(picture, 3.5) == visible(picture, 6.4) == visible(picture, None) == final


def test_the_picture_needs_nothing_else_and_stays_small(seed: int) -> None:
    picture = to_svg(random_walk(130, 128, seed))
    assert len(picture.encode()) < 300_000
    assert not re.search(r"""href|src=|@import|url\(|<script""", picture)
    assert ElementTree.fromstring(picture).get("width") == "645"
    with pytest.raises(UserError, match="no sample 1 in this trajectory: it has 0 to 0"):
        to_svg(random_walk(4, 4, 0), sample=1)


def terminal(is_terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=60, height=10, color_system=None)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_terminal(is_terminal: bool) -> None:
    console = terminal(is_terminal)
    states = recorded(["___e", "a__e", "ab_e", "abce"]).states.long()
    with LiveView(torch.linspace(1, 0, 4, dtype=torch.float64), LETTERS, MASK, console=console) as view:
        for _batch in range(2):
            for state in states:
                view(state.expand(3, -1))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    if not is_terminal:
        assert written == ""
        return
    for text in ["sample 0   step 0 of 3   t 1.00", "░░░e", "ab░e", "abce", "sample 3   step 1 of 3   t 0.67"]:
        assert text in written
    assert "sample 1 " not in written


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs the browser chromium")
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """The page's own script shows each frame: by its address, by its keys, and for another sample."""
    frames = ["____f", "a___f", "a\n__f", "a\n</f"], ["__cdf", "__cdf", "_gcdf", "hgcdf"]
    probe = """<script>
    const results = [], key = name => dispatchEvent(new KeyboardEvent("keydown", { key: name }));
    const note = () => results.push([at("label").textContent, spans.map(s => [s.className, s.textContent])]);
    note(); key("ArrowRight"); note(); key("End"); note(); key("ArrowRight"); key("ArrowLeft"); note();
    at("sample").value = 1; at("sample").onchange(); key("Home"); note();
    document.body.innerHTML = ""; document.body.append("RESULT" + JSON.stringify(results) + "END");
    </script></body>"""
    (tmp_path / "x.html").write_text(to_html(recorded(*frames, given="    +"), "title").replace("</body>", probe))
    browser = ["chromium", "--no-sandbox", "--disable-gpu", "--headless", f"--user-data-dir={tmp_path}/profile"]
    address = f"file://{tmp_path}/x.html#frame=1"
    dom = subprocess.run([*browser, "--dump-dom", address], capture_output=True, text=True, timeout=60).stdout
    found = re.search("RESULT(.*)END", dom)
    assert found
    results = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\xa0"))
    given = ["given", "f"]
    assert results[0] == ["step 1 of 3 · t = 0.667", [["age0", "a"], *[["mask", ""]] * 3, given]]
    assert results[1][1] == [["age1", "a"], ["age0", "↵\n"], ["mask", ""], ["mask", ""], given]
    assert results[2][1] == [["age2", "a"], ["age1", "↵\n"], ["age0", "<"], ["age0", "/"], given]
    assert results[3] == results[1]
    assert results[4] == [
        "step 0 of 3 · t = 1.000",
        [["mask", ""], ["mask", ""], ["prior", "c"], ["prior", "d"], given],
    ]
