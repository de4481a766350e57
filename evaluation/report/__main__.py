"""One page about one comparison, made from the tables and pictures of its results folder. Computes nothing.

    python -m evaluation.report results/kaggle15            writes results/kaggle15/report.html
    python -m evaluation.report results/kaggle15 --full     writes results/kaggle15/faces/report_full.html

The page needs no network and no other file. Photographs of real people are only in the full one, which git ignores.
"""

import argparse
import os
import sys
from pathlib import Path

from data_prep.faceset import DataError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="results/NAME", help="what python -m evaluation wrote")
    parser.add_argument("--full", action="store_true", help="with the photographs in faces/: for your eyes only")
    options = parser.parse_args(arguments)
    try:
        page = write(options.folder, options.full)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write the report: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation.report: stopped", file=sys.stderr)
        return 130
    print(f"{page}: {page.stat().st_size / 1e6:.1f} MB")
    return 0


def write(folder: Path, full: bool = False) -> Path:
    """Make the page of a results folder and return its path. The old page stays where anything fails."""
    page = folder / ("faces/report_full.html" if full else "report.html")
    text = render(folder, full)
    page.parent.mkdir(exist_ok=True)
    aside = page.with_name(page.name + ".partial")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, page)
    finally:
        aside.unlink(missing_ok=True)
    return page


def render(folder: Path, full: bool = False) -> str:
    """The page as HTML text; equal folders give equal text. Raises DataError where a file is damaged."""
    # Imported here: --help should not pay for it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from evaluation.report import contents

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.jinja").render(contents.read(folder, full))


if __name__ == "__main__":
    sys.exit(main())
