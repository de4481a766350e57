"""`python -m evaluation.report`: what is on the page, what must not be, and how a real browser shows it."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.schema import KAGGLE15
from evaluation import worst
from evaluation.entries import Entry, Scored
from evaluation.report import sentences, tables
from evaluation.report.__main__ import main

ROOT = Path(__file__).parents[1]
RED = (255, 0, 0)  # of pictures that show other people's faces
SECTIONS = ["compared", "summary", "comparisons", "sources", "keypoints", "plots", "faces", "worst", "leakage", "noise"]
SECTIONS += ["data", "environment", "again", "limits"]

FILES = {
    "performance.csv": """\
run,data,trained_on,split,model,recipe,treatment,seed,faces,points_scored,rmse_px,val_rmse_px,flag,command,data_note
v1-quick-none-s0,toy,toy,60/8/8 seed 0,v1,quick,none,0,8,1119,1.6789,1.7,,python -m models.v1,stand-in: not the real one
base-quick-none-s0,toy,toy,60/8/8 seed 0,base,quick,none,0,8,1119,1.8,1.6,worse than ridge,python -m models.base,
mean_face,toy,,,mean_face,,,,8,1119,4.7,4.8,,,
label_noise,toy,,,label_noise,,,,,,0.4961,,simulated: judge no network by it,,stand-in: not the real one; from 5 images
""",
    "summary.csv": """\
variant,model,recipe,seeds,rmse_px,rmse_low_px,rmse_high_px,val_rmse_px,parameters
"v1 (quick, none)",v1,quick,2,1.6789,1.5,1.9,1.7,1432862
"base (quick, none)",base,quick,1,1.8,1.7,2.2,1.6,2390558
mean face,mean_face,,,4.7,4.6,4.8,4.8,
""",
    "comparisons.csv": """\
a,b,differs_in,difference_px,low_px,high_px,p_value,p_holm,probability_of_improvement,verdict,note
A1,B1,model,-0.25,-0.4,-0.1,0.01,0.02,0.75,a better,
A2,B2,model,0.25,0.1,0.4,0.0002,0.0004,0.25,b better,one seed
A3,B3,recipe,0.05,-0.1,0.2,0.5,0.5,0.4,no difference shown,
""",
    "by_source.csv": "run,label_source,faces,rmse_px\nv1-quick-none-s0,1,3,2.5\nv1-quick-none-s0,2,5,1.5\n",
    "per_keypoint.csv": "run,keypoint,rmse_px\nv1-quick-none-s0,nose_tip,2.222\nmean_face,nose_tip,6.1\n",
    "worst.csv": "run,id,label_source,mean_distance_px,points_scored\nv1-quick-none-s0,2218,1,19.34,15\n",
    "data/checks.csv": "stage,check,found,expected,result\nraw,faces,8,,\nraw,rows,0,0,passed\n",
    "data/missing.csv": "keypoint,part,faces,labelled\nnose_tip,all,76,70\nnose_tip,test,8,7\n",
    "../leakage/toy/leakage.csv": "label_source,test_faces,difference_px,low_px,high_px\nall,500,-0.2,-0.3,-0.1\n",
}
FACES = ("sample_faces_v1.png", "worst_faces_v1.png", "before_after_v1.png", "data/samples.png")
PLOTS = ("intervals.png", "cumulative_error.png", "error_per_keypoint.png", "worst_points_v1.png", "my_own.png")
LEAKAGE = "../leakage/toy/leakage.png"
README = """# Results
## What these numbers cannot show
- **One split**, few `seeds`.
- `youtube68` is small:
  very.
## Columns
- no limit
"""


def make_results(folder, kind="synthetic", leave_out=()):
    """A results folder with every file that a page can show; its pictures of faces are plain red."""
    files = {name: text for name, text in FILES.items() if name not in leave_out}
    config = {"data": "toy", "trained_on": "toy", "data_source": {"kind": kind, "path": None}, "treatment": "none"}
    config |= {"data_folder": "data/prepared/toy", "machine": {"cpu": "AMD", "cores": 2}, "commit": "abc1234"}
    files |= {"runs/v1-quick-none-s0/config.json": json.dumps(config | {"versions": {"keras": "3.15.1"}})}
    files |= {"../README.md": README}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in (*PLOTS, *FACES, LEAKAGE, "faces/sample_faces_base.png"):
        colour = RED if name in FACES or "faces" in name else (0, 90, 200)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (840, 500), (*colour, 255)).save(folder / name)
    return folder


@pytest.fixture
def toy(tmp_path):
    return make_results(tmp_path / "results/toy")


def page(folder, *options):
    """The page of a results folder, made by the command."""
    assert main([str(folder), *options]) == 0
    return (folder / ("faces/report_full.html" if options else "report.html")).read_text()


def text_of(html):
    """What a reader reads, spaces as one."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def embedded(html):
    """Every picture of a page, decoded."""
    urls = re.findall(r'<img src="data:image/\w+;base64,([^"]+)"', html)
    return [np.array(Image.open(io.BytesIO(base64.b64decode(url))).convert("RGB")) for url in urls]


def is_red(picture):
    """Whether it is one of the red ones, up to what JPEG makes of the colour."""
    return np.abs(picture.reshape(-1, 3).mean(axis=0) - RED).max() < 5


# --- what is on the page


def test_figures_of_the_tables_stand_on_the_page(toy):
    text = text_of(page(toy))
    assert "stand-in: not the real one" in text
    # Rounded to two digits; the interval is its two ends; thousands have a comma.
    assert "v1 (quick, none) 1.68 1.50 to 1.90 2 1.70 1,432,862" in text
    # base has the lower validation RMSE, though v1 has the lower one on test.
    assert "Best by validation: base (quick, none), RMSE 1.80 px (95 % interval 1.70 to 2.20)." in text
    assert "Flagged: base-quick-none-s0 (worse than ridge)." in text
    assert "8 test faces 1,119 labelled points" in text
    assert "run source 1 (3 faces) source 2 (5 faces) v1-quick-none-s0 2.50 1.50" in text
    assert "would still show 0.50 px RMSE (from 5 images; simulated: judge no network by it)" in text
    assert "1 2218: 19.3" in text
    assert "nose tip 70 7" in text
    assert "Findings and failed checks; 1 other checks passed" in text
    assert "all 500 −0.20 −0.30 to −0.10" in text
    assert (
        "python -m data_prep --source synthetic --missing none --output data/prepared/toy python -m models.v1" in text
    )
    assert "label_noise" not in text, "it is no run"
    assert "Left out" not in text


def test_comparisons_in_words():
    rows = list(tables.csv.DictReader(io.StringIO(FILES["comparisons.csv"])))
    found = sentences.comparisons(rows)
    # The better one comes first and its lead is positive: -0.25 (-0.4 to -0.1) turns into 0.25 (0.1 to 0.4), and b's
    # chance is what a's 0.25 leaves.
    assert found["Networks"] == [
        (True, "A1 is better than B1", "0.25 px (0.10 to 0.40), p = 0.020, the first nearer in 75 % of groups"),
        (
            True,
            "B2 is better than A2",
            "0.25 px (0.10 to 0.40), p < 0.001, the first nearer in 75 % of groups, one seed",
        ),
    ]
    figures = "0.05 px (−0.10 to 0.20), p = 0.500, the first nearer in 40 % of groups"
    assert found["Recipes"] == [(False, "No difference shown between A3 and B3", figures)]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(1234.5, 1, "1,234.5"), (-0.004, 2, "0.00"), (-0.2, 2, "−0.20"), (0, 0, "0")],
)
def test_numbers_as_text(value, digits, text):
    assert tables.decimal(value, digits) == text


def test_a_column_that_is_not_in_the_results_is_not_asked_for():
    text = (ROOT / "results/README.md").read_text()
    explained = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`[^|]*)\|", text, flags=re.M))))
    wanted = {*tables.COLUMNS, *tables.INTERVALS, *(upper for _, upper in tables.INTERVALS.values())}
    assert wanted - explained == set()


def test_limits_are_those_of_the_readme_without_those_of_other_data(toy):
    html = page(toy)
    assert "<li><strong>One split</strong>, few <code>seeds</code>.</li>" in html
    assert "youtube68" not in html
    assert "no limit" not in html
    real = sentences.limits(ROOT / "results/README.md", {"kaggle15"})
    assert any("not comparable with Kaggle" in limit for limit in real)
    assert not any("youtube68" in limit and "kaggle15" not in limit for limit in real)


def test_with_performance_alone_every_other_section_says_what_makes_it(tmp_path):
    folder = tmp_path / "results/toy"
    folder.mkdir(parents=True)
    (folder / "performance.csv").write_text(FILES["performance.csv"].replace("label_noise", "other"))
    html = page(folder)
    assert re.findall(r'<h2 id="(\w+)"', html) == SECTIONS
    left_out = re.findall(r'<p class="left-out">(.*?)</p>', html, flags=re.S)
    assert len(left_out) == len(SECTIONS) - 2  # what was compared, and how to make it again, are known
    for command in ("evaluation --output results/toy", "data_prep", "evaluation.leakage --data data/prepared/toy"):
        assert f"python -m {command}" in " ".join(left_out)


def test_a_study_file_is_the_one_command(toy):
    study = toy.parents[1] / "studies/toy.toml"
    study.parent.mkdir()
    study.touch()
    assert "<code>python -m evaluation.study studies/toy.toml\n</code>" in page(toy)


def test_a_study_that_names_the_data_set_is_the_one_command(toy):
    studies = toy.parents[1] / "studies"
    studies.mkdir()
    (studies / "a.toml").write_text("[data.other]\n")
    (studies / "b.toml").write_text("[data.toy")  # damaged
    assert "evaluation.study" not in page(toy)
    (studies / "c.toml").write_text("[data.other]\n[data.toy]\n")
    assert "<code>python -m evaluation.study studies/c.toml\n</code>" in page(toy)


@pytest.mark.parametrize("order", [1, -1])
def test_data_are_prepared_by_the_command_that_prepared_them(toy, order):
    """Two runs of one data set, an older one without the command: in either order what was typed is shown, once."""
    run = toy / "runs/v1-quick-none-s0/config.json"
    config = json.loads(run.read_text())
    command = "python -m data_prep --count 80 --skip-bad-rows --output data/prepared/toy"
    for name, new in zip(("a", "z")[::order], ({}, {"data_command": command}), strict=True):
        (toy / "runs" / name).mkdir()
        (toy / "runs" / name / "config.json").write_text(json.dumps(config | new))
    text = text_of(page(toy))
    assert f"{command} python -m models.v1" in text
    assert text.count("python -m data_prep ") == 1


def test_hostile_names_are_text(toy):
    nasty = "<script>alert(1)</script><img/src=x onerror=alert(1)>'`&"
    for name in ("performance.csv", "summary.csv", "per_keypoint.csv", "worst.csv"):
        text = (toy / name).read_text()
        (toy / name).write_text(text.replace("v1-quick-none-s0", nasty).replace("stand-in", nasty))
    (toy / "worst_points_<b onclick=x>.png").write_bytes((toy / PLOTS[0]).read_bytes())

    class Tags(HTMLParser):
        found: set = set()

        def handle_starttag(self, tag, attributes):
            self.found |= {tag, *(name for name, _ in attributes)}

    html = page(toy)
    Tags().feed(html)
    assert not {"script", "b", "onerror", "onclick"} & Tags.found
    assert nasty in text_of(html).replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'").replace("&amp;", "&")


def test_equal_folders_give_equal_pages(toy, tmp_path):
    shutil.copytree(toy.parent, tmp_path / "elsewhere")
    first = page(toy)
    assert page(toy) == first
    assert page(tmp_path / "elsewhere/toy") == first


# --- faces


def test_own_faces_are_shown(toy):
    html = page(toy)
    assert sum(map(is_red, embedded(html))) == len(FACES)
    assert "v1 before and after training: truth green" in html


@pytest.mark.parametrize("kind", ["kaggle", "youtube68", None])
def test_no_face_from_outside_is_on_the_page_that_is_committed(tmp_path, kind):
    # The sheets lie where they should not: beside the tables.
    folder = make_results(tmp_path / "results/toy", kind)
    html = page(folder)
    assert len(embedded(html)) == len([*PLOTS, LEAKAGE])
    assert not any(map(is_red, embedded(html)))
    assert "python -m evaluation.report results/toy --full" in text_of(html)
    full = page(folder, "--full")
    assert sum(map(is_red, embedded(full))) == len(FACES) + 1
    assert "Do not publish it" in full
    assert '<a class="file" href="../performance.csv"' in full
    assert "results/*/faces/" in (ROOT / ".gitignore").read_text().split()


def test_without_records_nobody_knows_whose_faces_they_are(toy):
    shutil.rmtree(toy / "runs")
    assert not any(map(is_red, embedded(page(toy))))


def test_the_committed_results_make_light_pages():
    from evaluation.report.__main__ import render

    for name in ("kaggle15", "synthetic"):
        html = render(ROOT / "results" / name)
        assert len(html) < 3.2e6
        pictures = (ROOT / "results" / name).rglob("*.png")
        shown = {path.name for path in pictures if not {"faces", "features"} & {*path.parts}}
        assert all(file in html for file in shown)
        # Sheets of faces are the JPEGs.
        assert ("data:image/jpeg" in html) == (name == "synthetic")


# --- refusals


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("performance.csv", None, "has no performance.csv; python -m evaluation --output"),
        ("performance.csv", b"", "performance.csv is damaged: it has no rows"),
        ("performance.csv", b"run,model\na,b\n", "performance.csv is damaged: it has no column rmse_px"),
        ("performance.csv", b"run,model,rmse_px\na,b\n", "performance.csv is damaged: row 2 does not fit"),
        ("performance.csv", b"run,model,rmse_px\na,b,c\n", "rmse_px is 'c', not a number"),
        ("performance.csv", b"run,model,rmse_px\na,label_noise,1\n", "it has no runs"),
        ("summary.csv", b"\xff\xfe\x00", "summary.csv is damaged"),
        ("summary.csv", b"rmse_px,recipe,val_rmse_px\n1,quick,1\n", "summary.csv is damaged: it has no column variant"),
        ("comparisons.csv", b"a,b\n1,2\n", "comparisons.csv is damaged: it has no column verdict"),
        ("by_source.csv", b"run,rmse_px\na,1\n", "by_source.csv is damaged: it has no column label_source"),
        ("intervals.png", b"\x89PNG\r\n\x1a\n", "intervals.png is damaged"),
        ("runs/v1-quick-none-s0/config.json", b"{", "config.json is damaged"),
        ("runs/v1-quick-none-s0/config.json", b"[]", "config.json is damaged: it is not an object"),
    ],
)
def test_bad_input_is_one_line_and_the_old_page_stays(toy, capsys, file, content, message):
    (toy / "report.html").write_text("old")
    (toy / file).unlink()
    if content is not None:
        (toy / file).write_bytes(content)
    assert main([str(toy)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert (toy / "report.html").read_text() == "old"
    assert not list(toy.rglob("*.partial"))


def test_a_cut_picture_is_refused(toy, capsys):
    path = toy / "intervals.png"
    path.write_bytes(path.read_bytes()[:200])
    assert main([str(toy)]) == 2
    assert "intervals.png is damaged" in capsys.readouterr().err


def test_help_is_quick():
    code = "import sys, evaluation.report.__main__; print({'jinja2', 'matplotlib', 'PIL', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# --- the faces missed most


def entry_of(errors):
    """An entry whose faces have one labelled point less than their number; errors [N] in px, on every point."""
    n, k = len(errors), len(KAGGLE15)
    truth = np.full((n, k, 2), 50.0)
    truth[:, -1] = np.nan
    predicted = np.full((n, k, 2), 50.0) + np.array(errors)[:, None, None] * (0.6, 0.8)
    groups = np.array([0, 0, *range(2, n)])
    of = Scored(np.arange(n) * 10, groups, np.ones(n, int), predicted, truth, predicted - truth)
    config = {"recipe": {"name": "quick"}, "treatment": "none", "seed": 0}
    return Entry("v1-s0", "v1", "toy", KAGGLE15, of, of, config=config, history={"loss": []})


def test_worst_faces_by_hand():
    # (0.6, 0.8) is of length 1, so a face's mean distance is its number. Faces 0 and 1 are of one group: the worse
    # of them stands for both.
    rows = worst.worst_rows([entry_of([5, 4, 3, 9])], count=3)
    assert [row["id"] for row in rows] == [30, 0, 20]
    assert [row["mean_distance_px"] for row in rows] == pytest.approx([9, 5, 3])
    assert {row["points_scored"] for row in rows} == {len(KAGGLE15) - 1}


def test_points_of_the_worst_faces_are_drawn_without_a_pixel_of_them():
    entry = entry_of([5, 4, 3, 9])
    points = worst.worst_points(entry)
    assert sum(len(ax.images) for ax in points.axes) == 0
    titles = [ax.get_title() for ax in points.axes if ax.get_title()]
    assert titles == ["30\n9.0 px", "0\n5.0 px", "20\n3.0 px"]
    faces = worst.worst_faces(entry, np.zeros((4, 96, 96), np.uint8))
    assert sum(len(ax.images) for ax in faces.axes) == 3


# --- in a browser


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if not found:
        pytest.skip(f"none of {', '.join(names)} is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    quiet = ["background-networking", "component-update", "sync", "gpu"]
    arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=found, args=arguments)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_and_asks_for_nothing(browser, toy, scheme):
    long_name = "a_run_with_a_very_long_name_" * 5
    performance = (toy / "performance.csv").read_text()
    (toy / "performance.csv").write_text(performance.replace("base-quick-none-s0", long_name))
    page(toy)
    phone = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    said, asked = [], []
    phone.on("console", lambda message: said.append(message.text))
    phone.on("pageerror", lambda error: said.append(str(error)))
    phone.on("request", lambda request: asked.append(request.url))
    phone.goto((toy / "report.html").as_uri())
    widths = phone.evaluate("[...document.images].map(image => image.complete ? image.naturalWidth : 0)")
    assert widths == [840] * len([*PLOTS, *FACES, LEAKAGE])
    assert phone.evaluate("document.documentElement.scrollWidth") == 360
    # A wide table scrolls in its own box.
    boxes = phone.evaluate("[...document.querySelectorAll('.scroll')].map(box => box.scrollWidth - box.clientWidth)")
    assert max(boxes) > 0
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {(toy / "report.html").as_uri()}
    broken = "[...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.hash)).length"
    assert phone.evaluate(broken) == 0
    levels = phone.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(heading => +heading.tagName[1])")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert phone.evaluate("[...document.images].every(image => image.alt)")
    phone.close()


def test_on_paper_no_table_is_cut_off(browser, toy):
    page(toy)
    sheet = browser.new_page(viewport={"width": 688, "height": 1000})  # A4 less its margins, 96 dots per inch
    sheet.emulate_media(media="print", color_scheme="dark")
    sheet.goto((toy / "report.html").as_uri())
    rights = sheet.evaluate("[...document.querySelectorAll('table, img')].map(e => e.getBoundingClientRect().right)")
    assert max(rights) <= 688
    assert sheet.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert sheet.pdf().startswith(b"%PDF")
    sheet.close()
