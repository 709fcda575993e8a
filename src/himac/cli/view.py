"""`himac view`: a run or a folder of runs in the browser, while it goes on."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from himac.cli.console import console


def view_command(root: Path, port: int, show: bool) -> None:
    """Serve until Ctrl-C."""
    from himac.report.server import ADDRESS, make_server

    with make_server(root, port) as server:
        address = f"http://{ADDRESS}:{server.server_port}/"
        console.print(f"{root}: {address} (Ctrl-C ends)")
        if show:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("ended")
