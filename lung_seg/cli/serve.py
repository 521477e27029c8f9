"""A local page to look at radiographs and correct them: ``python serve.py --help`` lists the settings."""

import socket
import webbrowser
from pathlib import Path

from lung_seg.cli.command import command
from lung_seg.cli.predict import find_second_step
from lung_seg.config import ServeConfig
from lung_seg.errors import UserError
from lung_seg.files import exclusive


@command("serve", ServeConfig, main_key="input", verbatim_keys=("input", "output", "corrections"))
def main(config: ServeConfig, output: Path) -> None:
    """Serve the page until Ctrl-C."""
    try:
        import uvicorn

        from lung_seg.page.access import addresses, is_loopback
        from lung_seg.page.app import create_app, new_token
        from lung_seg.page.review import Review
    except ModuleNotFoundError as error:
        raise UserError(
            f'serve.py needs {error.name}, which is not installed.\nInstall it: pip install "lung_seg[page]"'
        ) from error
    token = None if is_loopback(config.host) else new_token()
    with exclusive(output), _listening(config) as listener:
        review = Review(config, find_second_step(config.prediction))
        app = create_app(review, token)
        urls = addresses(config.host, listener.getsockname()[1], token)
        print(f"\nThe page is at {' or '.join(urls)}")
        print("Nothing leaves this machine. Ctrl-C stops the server; what was saved is kept.", flush=True)
        if config.browser:
            webbrowser.open(urls[0])
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
        server.run(sockets=[listener])


def _listening(config: ServeConfig) -> socket.socket:
    """A socket that listens on the address.

    Raises:
        UserError: the address or the port cannot be used.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        reason = (error.strerror or "it is no address").lower()
        raise UserError(
            f"host={config.host} port={config.port} cannot be listened on: {reason}.\n"
            "Choose another port=, or port=0 for any free one."
        ) from error
    return listener


if __name__ == "__main__":
    main()
