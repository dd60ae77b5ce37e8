"""Downloads: verified, and never half a file under its final name."""

import http.client
import logging
import os
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from src.errors import CannotWrite, DataError

TIMEOUT_SECONDS = 10  # to connect, and between two pieces
PIECE_BYTES = 1 << 20
log = logging.getLogger(__name__)


def download(urls: Sequence[str], path: Path, decode: Callable[[bytes], bytes]) -> None:
    """Writes to `path` what the first good source holds.

    Args:
        urls: places with the same content, tried in turn.
        path: the file to make; its folder is made too.
        decode: turns what was downloaded into the content of the file, and raises `DataError` where that is not right.

    Raises:
        DataError: no source could be reached, or none had the right content.
        CannotWrite: there is no room for the file, or its folder cannot be made.
    """
    failures = []
    for url in urls:
        try:
            content = decode(fetch(url))
        except (OSError, http.client.HTTPException, DataError) as error:
            failures.append(f"{url}: {getattr(error, 'reason', error)}")
            continue
        keep(content, path)
        return
    raise DataError("could not be downloaded (" + "; ".join(failures) + ")")


def keep(content: bytes, path: Path) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise CannotWrite(f"could not write {path}: {error.strerror}. Make room, or set data.root.") from error
    finally:
        if path.parent.is_dir():
            partial.unlink(missing_ok=True)


def fetch(url: str) -> bytes:
    """The bytes behind an address, with a progress bar where there is a terminal."""
    log.info("downloading %s", url)
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        total = int(response.headers.get("Content-Length") or 0) or None
        pieces = []
        with tqdm(total=total, unit="B", unit_scale=True, disable=None, leave=False) as bar:
            while piece := response.read(PIECE_BYTES):
                pieces.append(piece)
                bar.update(len(piece))
    return b"".join(pieces)
