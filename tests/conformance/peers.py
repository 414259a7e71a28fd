"""Starts another Open Inference Protocol server with our network, as a process."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx

from atpn.engine.inference import find_model, shipped_models
from tests.stores import free_port

START_S = 120
HERE = Path(__file__).parent


class MLServer:
    """Seldon's MLServer with a runtime of our own: tensors as JSON numbers only.

    Its ports stay the same when it is started again.
    """

    def __init__(self, python: str, folder: Path) -> None:
        """``python`` is the interpreter that has its package; files go to ``folder``."""
        self.python = python
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.engine = f"oip+{self.url}"
        self.model = find_model(shipped_models(), "atpn").path.resolve()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until the model answers."""
        names = ("LD_PRELOAD", "PYTHONPATH")
        environment = {k: v for k, v in os.environ.items() if k not in names}
        environment |= {"PYTHONPATH": str(HERE)}
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # its workers end with it
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._ready():
                return
            time.sleep(0.2)
        tail = (self.folder / "log.txt").read_text()[-1500:]
        self.stop()
        raise RuntimeError(f"{self.python}: the server did not start:\n{tail}")

    def stop(self) -> None:
        """End it and what it started, without warning."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def _ready(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/v2/models/atpn/ready", timeout=2, trust_env=False)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    def _command(self) -> list[str]:
        """What starts it; its settings are files in the folder."""
        settings = {
            "host": "127.0.0.1",
            "http_port": self.port,
            "grpc_port": free_port(),
            "metrics_endpoint": None,
            "parallel_workers": 0,
        }
        model = {
            "name": "atpn",
            "implementation": "mlserver_runtime.FaceRuntime",
            "parameters": {"uri": str(self.model), "version": "1"},
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))
        (self.folder / "model-settings.json").write_text(json.dumps(model))
        return [str(Path(self.python).with_name("mlserver")), "start", str(self.folder)]
