"""Files that look like a well-known data set and are not: recognised by their hash, named in every result."""

STAND_IN = (
    "stand-in: other real faces (YouTube Faces stills, HELEN, AFW, FG-NET, LFW) in Kaggle's file format; "
    "not comparable with Kaggle's leaderboard"
)
REDUCED = "reduced: 3,802 stills of 311 people out of YouTube Faces"

NOTES = {
    "bcd6d2e33a4fc96f1a0507bc9eaac07b767af0e58c74863db517d063aec780c6": STAND_IN,  # training.zip
    "fdeb15069265df30fb4292a262e31ca69cd22c59cbd42708023b3567e23ba175": STAND_IN,  # training.csv
    "0beab0f320075b2d3ce9ac85f5b7b0c60cb655220501169bb713788dabd047c6": REDUCED,  # folder of 3,111 + 691 frames
}


def note(sha256: str) -> str | None:
    """What a reader of the results must know about the file with this hash; None where nothing is known."""
    return NOTES.get(sha256)


def simulated(sha256: str) -> bool:
    """Whether images that the file labels twice got their second label from a random generator, not a person."""
    return note(sha256) == STAND_IN
