"""What may import what, and that serving needs nothing of training."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SERVE_WITHOUT_TORCH = """
import sys
for name in ("torch", "onnx", "atpn_training"):
    sys.modules[name] = None  # importing it raises ImportError
import asyncio, httpx, skimage.data
from atpn.app import create_app
from atpn.settings import Settings
from tests.clips import encoded

async def main():
    app = create_app(Settings())
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=transport, base_url="http://atpn") as client:
            answer = await client.post(
                "/align",
                content=encoded(skimage.data.astronaut()),
                headers={"content-type": "image/jpeg"},
            )
    assert len(answer.json()["faces"]) == 1, answer.text

asyncio.run(main())
"""


def test_import_contracts_hold() -> None:
    """In a process of its own: the tool sets up logging anew, and other tests look at the log."""
    lint = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_the_service_runs_where_torch_is_not_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVE_WITHOUT_TORCH],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_faces_are_found_here_where_no_web_framework_is_installed() -> None:
    web = ["fastapi", "starlette", "uvicorn"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({web}));"
        "from atpn.cli import main; sys.exit(main(['align', 'docs/images/pose.png']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "in 1 image" in done.stdout


def test_the_library_starts_without_what_only_a_service_or_its_clients_need() -> None:
    """What is imported is waited for: half a second is the bar (loadtests/in_process.py)."""
    others = {"fastapi", "httpx", "prometheus_client", "redis", "uvicorn", "websockets"}
    code = "import sys; from atpn import FaceAligner; FaceAligner(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert not others & set(done.stdout.split())


def test_the_commands_help_needs_no_web_framework() -> None:
    code = "import sys; sys.modules['fastapi'] = None; from atpn.cli import main; main(['--help'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout
