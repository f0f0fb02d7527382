"""report.html: what it holds, that no name can harm it, and in a real browser that it works."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from browser import Browser
from PIL import Image

from mixit_mss.bin import curves, report
from mixit_mss.data.manifest import make_manifest, write_manifest
from mixit_mss.errors import UserError
from mixit_mss.report.figures import svg
from mixit_mss.report.figures.power import power_image
from mixit_mss.report.history import read_history
from mixit_mss.report.listening import choose_songs, fit_page, liveliest_second, mp3
from mixit_mss.report.results import Experiment, unique_titles
from mixit_mss.scoring.experiments import write_experiment
from mixit_mss.scoring.songs import write_scores
from mixit_mss.stamps import Result, write_stamp

RATE, SECONDS = 16000, 6
STEMS = {"vocals": 440.0, "bass": 110.0}  # Hz
NASTY = """<img src=x onerror=alert(1)> "&' </scriptx>""".replace("/", "")
SONGS = (NASTY, "two", "three")
LABEL = 'tuned <script>document.title="harmed"'


def plant_audio(path, waveform):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.T, RATE)
    return str(path)


def plant(folder, label, order, level, with_estimates=True, **facts):
    """An experiment whose estimates are the references times ``level``, and whose scores rank."""
    scores = [
        {"song": song, "stem": stem, "usdr": 9 - 3 * i + j, "usdr_per_channel": 0, "csdr": i + j}
        for i, song in enumerate(SONGS)
        for j, stem in enumerate(STEMS)
    ]
    write_scores(folder / "scores.csv", pd.DataFrame(scores))
    write_experiment(folder, label=label, order=order, commit="abc", command="make", **facts)
    for song in SONGS if with_estimates else ():
        for stem, frequency in STEMS.items():
            plant_audio(folder / f"estimates/{song}/{stem}.wav", level * tone(frequency))


def tone(frequency):
    time = np.arange(SECONDS * RATE) / RATE
    return np.tile(0.5 * np.sin(2 * np.pi * frequency * time), (2, 1))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Two trained experiments, one with votes and history, and an oracle; the report made."""
    root = tmp_path_factory.mktemp("recipe")
    rows = []
    for song in SONGS:
        for stem, frequency in STEMS.items():
            path = plant_audio(root / f"data/{song}/{stem}.wav", tone(frequency))
            row = {"song": song, "stem": stem, "path": path, "frames": SECONDS * RATE}
            common = {"split": "test", "license": "", "sample_rate": RATE, "channels": 2}
            rows.append(row | common)
    none = (np.zeros(0, np.int64), 1)
    for corpus in ("labelled", "unlabelled"):
        write_manifest(root / f"manifests/{corpus}", make_manifest(rows, [none] * len(rows)))
    plant(root / "exp/oracle", "oracle", 0, 1, with_estimates=False)
    plant(root / "exp/first", "first", 1, 0.1, parameters=5, steps=10, seed=1)
    plant(root / "exp/bare", "bare", 3, 1, with_estimates=False, parameters=5)
    plant(root / "exp/tuned", LABEL, 2, 0.5, parameters=1234567, steps=20, seed=2)
    (root / "exp/tuned/votes.csv").write_text(
        "channel,vocals,bass,chosen_for\n0,0,7,bass\n1,0,0,\n2,5,1,vocals\n"
    )
    (root / "exp/tuned/history.csv").write_text(
        "epoch,step,lr,train_loss,val_loss,val_usdr,seconds\n"
        "1,10,0.001,-1.5,,,3\n2,20,0.001,-2.5,-2.25,4.5,3\n"
    )
    told = {"config": {"loss": {"threshold": "<b>"}}}
    write_stamp(root / "exp/tuned", [Result("finetune", told, {"/secret": "1"})])
    make(root)
    return root


def make(root, *more):
    folders = [str(root / "exp" / name) for name in ("tuned", "oracle", "first", "bare")]
    options = {"manifests": "manifests", "out": "RESULTS.md", "figures": "figures"}
    argv = [word for key, value in options.items() for word in (f"--{key}", str(root / value))]
    report.main([*folders, "--recipe", "band", *argv, *more])


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style and script."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] not in ("style", "script"):
            self.words.append(data)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def test_the_comparison_and_every_trained_experiment_get_a_page(recipe):
    everything = Page(recipe / "report.html")
    own = Page(recipe / "exp/tuned/report.html")
    assert (recipe / "exp/first/report.html").exists()
    assert not (recipe / "exp/oracle/report.html").exists()
    # a mixture, and of two stems the true ones and the estimates of two experiments, or of one
    assert len(everything.all("audio")) == 2 * (1 + 2 * 3)
    assert len(own.all("audio")) == 2 * (1 + 2 * 2)
    text = "".join(own.words)
    for word in ("1,234,567", "6.50", "1.50", "training", "validation", "output channel", "make"):
        assert word in text
    assert "/secret" not in text


def test_what_is_missing_leaves_out_its_section(recipe):
    sections = {attributes.get("id") for attributes in Page(recipe / "report.html").all("section")}
    assert sections == {"scores", "songs", "listen", "curves", "votes", "how"}
    bare = Page(recipe / "exp/bare/report.html")
    sections = {attributes.get("id") for attributes in bare.all("section")}
    assert sections == {"scores", "songs", "how"}
    assert not bare.all("audio") and "<h2" in (recipe / "exp/bare/report.html").read_text()


def test_names_are_text_and_nothing_comes_from_elsewhere(recipe):
    for path in (recipe / "report.html", recipe / "exp/tuned/report.html"):
        page = Page(path)
        assert NASTY in "".join(page.words) and LABEL in "".join(page.words)
        assert len(page.all("script")) == 1
        for tag, attributes in page.tags:
            assert not [name for name in attributes if name.startswith("on")]
            for name in ("src", "href"):
                assert attributes.get(name, "#").startswith(("data:", "#")), (tag, attributes)
        assert "http" not in path.read_text().replace("http://www.w3.org/2000/svg", "").replace(
            "http-equiv", ""
        )


def test_the_sound_in_the_page_is_that_of_the_estimates(recipe):
    audios = Page(recipe / "exp/tuned/report.html").all("audio")
    by_name = {a["aria-label"].rsplit(": ", 1)[1]: a["src"] for a in audios}
    encoded = base64.b64decode(by_name[f"vocals, {LABEL}"].split(",")[1])
    sound, rate = soundfile.read(io.BytesIO(encoded))
    assert rate == RATE and abs(len(sound) / RATE - SECONDS) < 0.1
    middle = sound[2 * RATE : 3 * RATE, 0]
    assert np.abs(np.fft.rfft(middle)).argmax() == STEMS["vocals"]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.25, rel=0.05)


def test_the_same_results_give_the_same_page_and_options_count(recipe):
    before = (recipe / "report.html").read_bytes()
    make(recipe, "--page", str(recipe / "other.html"), "--songs", "1", "--seconds", "2")
    page = Page(recipe / "other.html")
    (player,) = (a for a in page.all("article") if "player" in a["class"])
    assert player["data-seconds"] == "2.0"
    assert any("rank 2 of 3 by uSDR of tuned" in word for word in page.words)
    make(recipe)
    assert (recipe / "report.html").read_bytes() == before
    for bad in (["--songs", "-1"], ["--seconds", "0"]):
        with pytest.raises(UserError, match=r"--(songs|seconds) .* must be"):
            make(recipe, *bad)
    with pytest.raises(UserError, match="at least one experiment"):
        report.main([])


def test_songs_are_the_best_the_median_and_the_worst():
    means = {"a": 1.0, "b": 5.0, "c": np.nan, "d": 3.0, "e": 4.0, "f": 2.0}
    scores = pd.DataFrame({"song": list(means), "usdr": list(means.values())})
    assert choose_songs(scores, 0) == []
    assert choose_songs(scores, 1) == [("d", "rank 3 of 5")]
    assert [song for song, _ in choose_songs(scores, 3)] == ["b", "d", "a"]
    assert choose_songs(scores, 9)[-1] == ("a", "worst of 5")


def test_a_page_stays_small_however_many_experiments_it_compares():
    assert fit_page(9, 2) == (2, 12.0)
    assert fit_page(9, 0)[0] == 0
    for num_tracks in (9, 50, 65, 200):
        songs, seconds = fit_page(num_tracks, 2)
        assert num_tracks * songs * seconds * 100_000 / 8 * 4 / 3 < 8.1e6
        assert seconds >= 6 or songs == 1


def test_the_excerpt_is_where_all_stems_are_heard():
    stems = [np.zeros((1, 10 * RATE)) for _ in range(3)]
    stems[0][:, 2 * RATE : 8 * RATE] = 0.1
    stems[1][:, 5 * RATE : 10 * RATE] = 0.1  # the third never plays
    assert liveliest_second(stems, RATE, 3) == 5
    assert liveliest_second(stems[:1], RATE, 30) == 0


def test_any_rate_and_any_channels_become_mp3_and_rows_follow_frequency():
    for rate, channels in ((96000, 1), (11000, 6)):
        sound, _ = soundfile.read(io.BytesIO(mp3(0.1 * np.ones((channels, rate), "f"), rate)))
        assert np.ndim(sound) == min(channels, 2)
    low, high = (power_image(tone(frequency), RATE).sum(axis=1) for frequency in (100, 4000))
    assert high.argmax() < 15 and 60 < low.argmax() < 90


def test_experiments_of_one_label_are_told_apart_by_their_seeds():
    rows = [Experiment(Path(name), {"label": "a", "seed": i}, None) for i, name in enumerate("xy")]
    titles = unique_titles([*rows, Experiment(Path("z"), {"label": "b", "seed": 0}, None)])
    assert list(titles.values()) == ["a (seed 0)", "a (seed 1)", "b"]


def test_charts_draw_what_they_are_given():
    line = svg.Line("<up>", [0, 10], [1, 3], dots=True)
    chart = svg.line_chart([line], "step", "loss")
    points = re.search(r'points="([\d.]+),([\d.]+) ([\d.]+),([\d.]+)"', chart).groups()
    x0, y0, x1, y1 = map(float, points)
    assert x1 > x0 and y1 < y0 and "<up>" not in chart and "&lt;up&gt;" in chart
    assert svg.line_chart([svg.Line("flat", [5], [2])], "step", "loss")
    values = pd.Series([1.0, 2.0, 3.0, 4.0, 30.0, np.nan], index=list("abcdef"))
    box = svg.box_plot([("row", values)], (1, 30), "what")
    assert "median 3.00 dB, quartiles 2.00 and 4.00 dB" in box
    assert box.count("<circle") == 5 and "e: 30.00 dB" in box
    votes = pd.DataFrame([[0, 0], [0, 3]], index=["a", "b"], columns=["0", "1"])
    heat = svg.heat_map(votes, {"b": 1})
    assert heat.count('class="chosen"') == 1 and heat.count('class="count') == 1


def test_curves_become_a_picture(recipe, tmp_path):
    folder = recipe / "exp/tuned"
    curves.main([str(folder), "--out", str(tmp_path / "curves.png")])
    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("L"))
    assert min(pixels.shape) > 300 and pixels.std() > 10
    with pytest.raises(UserError, match=r"oracle/history\.csv is missing"):
        curves.main([str(recipe / "exp/oracle"), "--out", str(tmp_path / "none.png")])
    with pytest.raises(UserError, match=r"must end in \.png"):
        curves.main([str(folder), "--out", "curves.pdf"])
    for broken in ("", "epoch,step\n1,2\n", "step,train_loss\n1,loud\n"):
        (tmp_path / "history.csv").write_text(broken)
        with pytest.raises(UserError, match="no history of a training"):
            read_history(tmp_path / "history.csv")


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def page(browser, recipe):
    browser.look(1280, 900)
    browser.open((recipe / "report.html").as_uri())
    yield browser
    assert browser.problems == []
    assert not [url for url in browser.requests if not url.startswith(("file:", "data:"))]


PLAYER = ".player:first-of-type"


def levels(page):
    """What is heard of every row, from 0 (silence) to 1."""
    script = """[...document.querySelector(".player").querySelectorAll(".track")].map(
        row => [row.dataset.stem, Number(row.querySelector(".level").style.getPropertyValue("--level"))])"""
    return dict(page.run(script))


def position(page):
    return page.run('Number(document.querySelector(".player .seek").value)')


def hears(page, *stems):
    """Wait until exactly these rows are heard."""
    script = f"""[...document.querySelector(".player").querySelectorAll(".track")].every(row =>
        (Number(row.querySelector(".level").style.getPropertyValue("--level")) > 0.3)
        === {json.dumps(list(stems))}.includes(row.dataset.stem))"""
    page.wait(script)


def hears_vocals_at(page, amplitude):
    """Wait until the meter shows what a sine of this amplitude has, within half a dB."""
    level = 1 + 10 * np.log10(amplitude**2 / 2) / 60
    page.wait(f"""Math.abs(document.querySelector('.player [data-stem="vocals"] .level').style
        .getPropertyValue("--level") - {level}) < 0.5 / 60""")


def test_players_play_solo_and_mute(page):
    assert page.run("document.title") == "Results of band"
    page.click(f"{PLAYER} .play")
    page.wait('Number(document.querySelector(".player .seek").value) > 0.3')
    before = position(page)
    page.wait(f'Number(document.querySelector(".player .seek").value) > {before + 0.2}')
    hears(page, "vocals", "bass")
    page.click(f'{PLAYER} [data-stem="bass"] .solo')
    hears(page, "bass")
    page.click(f'{PLAYER} [data-stem="bass"] .mute')
    hears(page, "bass")  # a solo goes before a mute
    page.click(f'{PLAYER} [data-stem="bass"] .solo')
    hears(page, "vocals")
    page.click(f'{PLAYER} [data-stem="mixture"] .mute')
    hears(page, "mixture", "vocals")
    hears_vocals_at(page, 0.25)
    page.click(f"{PLAYER} .versions label:first-of-type span")  # the true stems, twice as loud
    hears_vocals_at(page, 0.5)
    page.click(f"{PLAYER} .play")
    rest = position(page)
    assert page.run("new Promise(done => setTimeout(done, 300))") is None
    assert position(page) == rest
    assert max(levels(page).values()) == 0


def test_the_tracks_are_in_step(page):
    """The mixture minus the true stems is silence only if all of them start at one sample."""
    rest = page.run("""(async () => {
        const audios = [...document.querySelectorAll(".player")[0].querySelectorAll("audio")];
        const context = new OfflineAudioContext(1, 48000, 48000);
        const player = [...audios].filter((a) => ["", "0"].includes(a.closest(".strip").dataset.version));
        for (const [i, audio] of player.entries()) {
            const source = context.createBufferSource(), gain = context.createGain();
            source.buffer = await context.decodeAudioData(bytesOf(audio.src));
            gain.gain.value = i ? -1 : 1;
            source.connect(gain).connect(context.destination);
            source.start(0, 1);
        }
        const samples = (await context.startRendering()).getChannelData(0);
        return [player.length, Math.sqrt(samples.reduce((s, x) => s + x * x, 0) / samples.length)];
    })()""")
    assert rest[0] == 3 and rest[1] < 0.02


def test_everything_works_by_keyboard(page):
    page.run('document.querySelector(".player .play").focus()')
    page.key("Enter")
    page.wait("document.activeElement.ariaLabel.startsWith('Pause')")
    page.key(" ")
    page.wait("document.activeElement.ariaLabel.startsWith('Play')")
    page.key("Tab")
    assert page.run('document.activeElement.matches(".seek")')
    page.key("ArrowRight")
    page.key("p")
    page.wait('document.querySelector(".player").matches(".playing")')
    page.key("2")
    hears(page, "vocals")
    page.key("0")
    hears(page, "vocals", "bass")
    page.key("v")
    checked = 'Number(document.querySelector(".player .versions :checked").value)'
    assert page.run(checked) == 0
    page.key("v")
    assert page.run(checked) == 2
    reached = set()
    for _ in range(12):
        page.key("Tab")
        reached.add(page.run("document.activeElement.ariaLabel"))
    assert {"Solo vocals", "Mute vocals", "Solo bass"} <= reached
    # every control has a name
    assert page.run("""[...document.querySelectorAll("button, input, img, [role=img], [role=region]")]
        .every(e => e.ariaLabel || e.alt || (e.labels && e.labels.length))""")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_it_fits_every_screen_in_both_colours(page, tmp_path, width, height, dark):
    page.look(width, height, dark)
    picture = np.asarray(Image.open(page.screenshot(tmp_path / "page.png")).convert("L"), float)
    assert page.run("document.documentElement.scrollWidth") == width
    assert picture.shape[1] == width and picture.std() > 20
    background = np.median(picture)
    assert background < 60 if dark else background > 200
    small = """[...document.querySelectorAll("svg text")].some(
        e => e.getBoundingClientRect().height < 9)"""
    assert not page.run(small)


def test_without_scripts_the_browsers_own_controls_stay(browser, recipe):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open((recipe / "report.html").as_uri())
        shown = """[...document.querySelectorAll("audio")].filter(e => e.offsetHeight > 0).length"""
        assert browser.run(shown) == 14
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
