"""How fast the page answers other programs: ``python benchmarks/page_requests.py <film> [address of serve.py]``.

Prints films a second and the 95th percentile of the time of a POST /predict, with 1, 4 and 16 clients.
"""

import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

REQUESTS = 48


def post(address: str, name: str, content: bytes) -> float:
    """Seconds from a film to its mask."""
    begun = time.perf_counter()
    answer = requests.post(f"{address}/predict", files={"file": (name, content)}, timeout=300)
    answer.raise_for_status()
    return time.perf_counter() - begun


def main() -> None:
    """Measure, and print a table."""
    film, address = Path(sys.argv[1]), [*sys.argv[2:], "http://127.0.0.1:8765"][0]
    content = film.read_bytes()
    post(address, film.name, content)
    sys.stdout.write("clients  films/s  median s  p95 s\n")
    for clients in (1, 4, 16):
        with ThreadPoolExecutor(clients) as pool:
            begun = time.perf_counter()
            times = list(pool.map(lambda _: post(address, film.name, content), range(REQUESTS)))
            rate = REQUESTS / (time.perf_counter() - begun)
        p95 = statistics.quantiles(times, n=20)[-1]
        sys.stdout.write(f"{clients:7}  {rate:7.2f}  {statistics.median(times):8.3f}  {p95:5.3f}\n")


if __name__ == "__main__":
    main()
