"""The JSRT set with the SCR masks: 247 digitised films, 154 with a lung nodule.

Layout, with the folders anywhere below ``data.raw_dir``::

    All247images/JPCLN001.IMG            2048 x 2048, 12 bits in big-endian 16; or .png
    fold1/masks/right lung/JPCLN001.gif  1024 x 1024, also "left lung"; fold2 holds the other half

Films from the Japanese Society of Radiological Technology (Shiraishi et al. 2000, doi:10.2214/ajr.174.1.1740071); masks
from the SCR database (van Ginneken et al. 2006, doi:10.1016/j.media.2005.02.002), for research and education only.
"""

from pathlib import Path

from PIL import Image

from lung_seg.raw.case import Case, Listing
from lung_seg.raw.sources.layout import Layout, listing, masks_by_stem

LAYOUT = Layout(
    radiographs="JPC*.IMG or JPC*.png",
    masks="masks/right lung and masks/left lung",
    remedy="The films need an account at http://db.jsrt.or.jp/eng.php, the SCR masks one at "
    "https://www.isi.uu.nl/Research/Databases/SCR/; unpack both below data.raw_dir.",
)


def find_cases(raw_dir: Path) -> Listing:
    """Cases below ``raw_dir``; where a film exists in both formats, the .IMG is taken."""
    files = sorted(raw_dir.rglob("JPC*"))
    candidates = [path for path in files if not path.parent.name.endswith((" lung", " clavicle", "heart"))]
    films = {path.stem: path for suffix in (".png", ".img") for path in candidates if path.suffix.lower() == suffix}
    gifs = [path for path in files if path.suffix.lower() == ".gif"]
    lungs = ([path for path in gifs if path.parent.name == name] for name in ("right lung", "left lung"))
    masks = masks_by_stem(*lungs)
    cases = [_case(film, masks.get(stem, ())) for stem, film in films.items()]
    return listing(cases, raw_dir, LAYOUT)


def _case(film: Path, mask_paths: tuple[Path, ...]) -> Case:
    raw = film.suffix.lower() == ".img"
    return Case(
        case_id=film.stem,
        source="jsrt",
        patient_id=film.stem,
        image_path=film,
        mask_paths=mask_paths,
        mask_downscale=2 if raw or (mask_paths and _is_larger(film, mask_paths[0])) else 1,
    )


def _is_larger(film: Path, mask: Path) -> bool:
    """Whether a converted film kept its 2048 pixels; only headers are read, False for a corrupt one."""
    try:
        with Image.open(film) as film_image, Image.open(mask) as mask_image:
            return film_image.width > mask_image.width
    except OSError:  # preparation reports it
        return False
