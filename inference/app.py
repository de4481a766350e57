"""A page in the browser that finds the points of the faces in a photo, or before the camera.

    pip install -r requirements-demo.txt
    python -m inference.app                               then open http://127.0.0.1:7860; Ctrl-C ends it
    python -m inference.app --host 0.0.0.0 --port 8000    for other machines too, which browsers give no camera

Drop a photo or take one, choose the network and what to draw, look, and download the points as CSV; or see them live.
Left and right are the subject's. The page works without internet and without TensorFlow.

A photo lies in a folder of its own, in memory where the system has /dev/shm, for some ten minutes; the folder is
removed when the page ends. What is drawn and the CSV are never a file here.
"""

import argparse
import base64
import csv
import html
import importlib.util
import io
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, wraps
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from data_prep.faceset import DataError
from inference.detectors import Detector, haar, whole_image
from inference.filters import FILTERS, get_filter, put_on_all
from inference.network import Network, open_network
from inference.output import COLUMNS, QUALITY, Face, draw, rows
from inference.photos import Photo, read, shown
from inference.pipeline import find_faces
from inference.video import Tracker, as_photo
from models.pretrained import DEFAULTS, default_file, default_run

MOST_BYTES = 10 * 2**20  # of an upload; inference/photos.py limits the pixels
KEPT = 600  # seconds that an upload lies in its folder
RATE = 5  # frames a second of the live view
MEMORY, ROOM = "/dev/shm", 10**9  # a folder that lies in memory, and the free bytes from which it is used
BUSY = Lock()
TITLE = "Facial keypoints"
ABOUT = f"""# {TITLE}
A small network finds the eyes, brows, nose and mouth of every face.

Photos stay in the memory of the machine that runs this page: none is kept, none is sent elsewhere."""
NO_FACE = (
    "Sorry, no face was found. One that looks into the camera and is not too small is found best. If the picture is "
    "nothing but one face, tick “The whole picture is one face”."
)
CSS = """
.gradio-container {max-width: 1100px !important; margin: 0 auto !important}
#report p {display: flex; justify-content: space-between; align-items: center; gap: 1rem; margin: 0; flex-wrap: wrap}
#report a {padding: .3rem .8rem; border-radius: var(--radius-md); white-space: nowrap; text-decoration: none;
  color: var(--button-primary-text-color); background: var(--button-primary-background-fill)}
#report div {max-height: 16rem; overflow-y: auto; margin-top: .5rem}
#report table {width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem}
#report th {position: sticky; top: 0; background: var(--body-background-fill); text-align: left}
#report :is(td, th) {padding: .15rem .25rem; border-bottom: 1px solid var(--border-color-primary)}
#report td:nth-child(2) {overflow-wrap: anywhere}
#report :is(td, th):nth-child(n+3) {text-align: right}
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inference.app", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to answer at (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=7860, help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        if not args.host:
            raise DataError("--host is empty; an address is accepted")
        if not 1 <= args.port <= 65535:
            raise DataError(f"--port is {args.port}; 1 to 65535 are accepted")
        if importlib.util.find_spec("gradio") is None:
            raise DataError("gradio is not installed (pip install -r requirements-demo.txt)")
        try:
            socket.create_server((args.host, args.port)).close()
        except (OSError, OverflowError, TypeError, UnicodeError) as error:
            reason = str(error).split(" (")[0].rstrip(".")
            raise DataError(f"{args.host}, port {args.port}: {reason}; choose another --port or --host") from None
        serve(args.host, args.port)
    except (DataError, OSError) as error:
        print(f"inference.app: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0  # that is how it ends


def serve(host: str, port: int) -> None:
    """Show the page until Ctrl-C, or until the process is told to end."""
    opened(15)  # what is wrong with it is said now
    for name in {"SIGTERM", "SIGHUP"} & set(dir(signal)):
        signal.signal(getattr(signal, name), signal.default_int_handler)
    place = MEMORY if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM else None
    with tempfile.TemporaryDirectory(prefix="faces-", dir=place, ignore_cleanup_errors=True) as folder:
        # Read when gradio is imported, which else keeps files in the system's folder and reports to huggingface.co.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
        import gradio as gr

        blocks = page()
        try:
            blocks.launch(
                server_name=host, server_port=port, share=False, prevent_thread_lock=True, quiet=True,
                max_file_size=MOST_BYTES, state_session_capacity=100, run_history=False, enable_monitoring=False,
                ssr_mode=False, pwa=False, mcp_server=False, footer_links=[], css=CSS,
                theme=gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            )  # fmt: skip
            print(f"http://{host}:{port}  (Ctrl-C ends it)", flush=True)
            while True:
                time.sleep(1)
        finally:
            blocks.close(verbose=False)
            BUSY.acquire()  # a thread that is cut off in C++ would abort the process


def page():
    """The page, a `gradio.Blocks`."""
    import gradio as gr

    def picture(**looks):
        """An image that comes as a file not opened yet, and goes as text in the page, not as a file."""
        image = gr.Image(**looks)  # no class of our own: gradio would write a .pyi file beside this one
        image.preprocess, image.postprocess = as_path, as_text
        return image

    def as_path(payload):
        return None if payload is None else Path(payload.path)

    def as_text(rgb):
        if rgb is None:
            return None
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, "JPEG", quality=QUALITY)
        return gr.data_classes.ImageData(url=as_url(file.getvalue(), "image/jpeg"), orig_name="keypoints.jpg")

    size = {"height": 360, "min_width": 320}
    inputs = size | {"webcam_options": gr.WebcamOptions(mirror=False)}  # left stays the subject's left
    outputs = size | {"label": "Result", "interactive": False, "buttons": ["download", "fullscreen"]}
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(KEPT // 10, KEPT)) as blocks:
        gr.Markdown(ABOUT)
        with gr.Row():
            points = gr.Radio([(f"{count} points", count) for count in offered()], value=15, label="Network")
            things = gr.CheckboxGroup(["points", *FILTERS], value=["points"], label="Draw", scale=2)
        with gr.Tab("Photo"):
            with gr.Row():
                sources, ask = ["upload", "webcam", "clipboard"], "Drop a photo here, or click"
                photo = picture(label="Photo", sources=sources, placeholder=ask, **inputs)
                result = picture(**outputs)
            whole = gr.Checkbox(label="The whole picture is one face", container=False)
            report = gr.HTML(elem_id="report", apply_default_css=False)
        with gr.Tab("Live view"), gr.Row():
            frame = gr.Image(label="Camera", sources="webcam", streaming=True, **inputs)
            live, tracker = picture(**outputs), gr.State()
        changes = [photo.change, points.change, things.change, whole.change]
        gr.on(changes, answer, [photo, points, things, whole], [result, report],
              show_progress_on=result, trigger_mode="always_last", api_visibility="private")  # fmt: skip
        frame.stream(follow, [frame, points, things, tracker], [live, tracker],
                     stream_every=1 / RATE, show_progress="hidden", api_visibility="private")  # fmt: skip
    return blocks


def offered() -> list[int]:
    """The numbers of points for which the repository has a network."""
    there = []
    for count in DEFAULTS:
        with suppress(DataError):
            default_run(count)
            there.append(count)
    return there


def alone(act: Callable) -> Callable:
    """The same, but one at a time of all that are marked so, whoever asks."""

    @wraps(act)
    def wait(*values, **named):
        with BUSY:
            return act(*values, **named)

    return wait


@alone
def answer(path: Path | None, points: int, things: list[str], whole: bool) -> tuple[np.ndarray | None, str]:
    """For an upload: the photo with what was chosen drawn, if there is a face, and the report, HTML."""
    if path is None:
        return None, ""
    if not path.exists():
        return None, said("This photo is no longer held here. Please choose it again.")
    try:
        photo, (network, detect) = read(path), opened(points)
        faces = find(photo, network, detect, whole)
    except DataError as error:
        return None, said(f"That did not work: {str(error).removeprefix(f'{shown(path)}: ')}.")
    if not faces:
        return None, said(NO_FACE)
    return dressed(photo.rgb, faces, network, things), report_of(faces, network.schema.points)


@alone
def follow(image: np.ndarray | None, points: int, things: list[str], tracker: Tracker | None) -> tuple:
    """For a frame of the camera: the frame drawn, and what follows its faces to the next one."""
    if image is None:
        return None, None
    network, _ = opened(points)
    if tracker is None or tracker.network is not network:
        tracker = Tracker(haar(network.size), network, RATE)
    photo = as_photo(np.ascontiguousarray(image[..., 2::-1]))
    return dressed(photo.rgb, tracker(photo), network, things), tracker


@cache
def opened(points: int) -> tuple[Network, Detector]:
    network = open_network(default_file(points))
    return network, haar(network.size)


def find(photo: Photo, network: Network, detect: Detector, whole: bool) -> list[Face]:
    found = whole_image(network.size)(photo) if whole else detect(photo)
    return find_faces([(photo.name, photo, found)], network, passes=2)[0]


def dressed(rgb: np.ndarray, faces: list[Face], network: Network, things: list[str]) -> np.ndarray:
    """A photo with the things that were chosen on every face, the smallest first, and the points on top."""
    chosen = [get_filter(name) for name in FILTERS if name in things]
    rgb = put_on_all(rgb, [network.fifteen(face.keypoints[None])[0] for face in faces], chosen)
    return draw(rgb, faces) if "points" in things else rgb


def report_of(faces: list[Face], points: tuple[str, ...]) -> str:
    """How many faces there are, and their points: as a CSV file to download and as a table."""
    table, text = [COLUMNS, *rows(faces, points)], io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    link = f'<a download="keypoints.csv" href="{as_url(text.getvalue().encode(), "text/csv")}">Download CSV</a>'
    head, *body = ("<tr>" + "".join(f"<td>{value}</td>" for value in row) + "</tr>" for row in table)
    table = f"<table><thead>{head.replace('td>', 'th>')}</thead><tbody>{''.join(body)}</tbody></table>"
    count = "1 face" if len(faces) == 1 else f"{len(faces)} faces, the largest first"
    about = f"{count}. x and y are pixels from the top left; confidence is the chance that a point is right."
    return f'{said(about, link)}<div tabindex="0">{table}</div>'


def said(text: str, link: str = "") -> str:
    return f'<p role="status"><span>{html.escape(text)}</span>{link}</p>'


def as_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


if __name__ == "__main__":
    sys.exit(main())
