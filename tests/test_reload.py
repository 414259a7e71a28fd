"""A newer version in the model folder takes over while requests run."""

import asyncio
import hashlib
import json
import re
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from atpn import reloading
from atpn.assembly import open_core
from atpn.engine.inference import (
    ModelFile,
    Network,
    bucket_of,
    find_model,
    shipped_models,
    warm_sizes,
)
from atpn.errors import ConfigurationError
from atpn.loading import open_network
from atpn.reloading import Reloader
from tests.conftest import SettingsFactory, until
from tests.server import Server, metric, running


def model_folder(path: Path) -> Path:
    """A copy of the shipped models."""
    shutil.copytree(shipped_models(), path)
    return path


def add_version(folder: Path, version: str, damaged: bool = False) -> None:
    """The same network under another version number."""
    newest = max((p for p in (folder / "atpn").iterdir() if p.name.isdigit()), key=lambda p: p.name)
    target = folder / "atpn" / version
    shutil.copytree(newest, target)
    if damaged:
        metadata = json.loads((target / "metadata.json").read_text())
        (target / "metadata.json").write_text(json.dumps(metadata | {"sha256": "0"}))


async def test_the_newest_version_is_taken_into_use_and_told(
    settings: SettingsFactory, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "models")
    async with open_core(settings(model_dir=folder)) as core:
        before = core.model.version
        assert not await core.reloader.reload()
        add_version(folder, "12")
        assert await core.reloader.reload()
        assert (before, core.model.version) == ("1", "12")
        crops = [np.zeros((112, 112, 3), np.uint8)] * 2
        assert len(await core.pipeline.infer(crops, 10)) == 2
        assert 'version="12"} 1.0' in core.metrics.render().decode()


async def test_a_damaged_version_is_refused_and_the_old_one_stays(
    settings: SettingsFactory, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "models")
    async with open_core(settings(model_dir=folder)) as core:
        add_version(folder, "2", damaged=True)
        with pytest.raises(ConfigurationError, match="sha256"):
            await core.reloader.reload()
        assert core.model.version == "1"


@pytest.mark.parametrize(
    ("name", "content"),
    [("metadata.json", None), ("metadata.json", "{"), ("metadata.json", "[]"), ("model.onnx", "x")],
    ids=["no metadata", "half of them", "a list", "no model"],
)
async def test_the_folder_is_looked_at_again_after_a_version_that_was_half_copied(
    settings: SettingsFactory, tmp_path: Path, name: str, content: str | None
) -> None:
    folder = model_folder(tmp_path / "models")
    async with open_core(settings(model_dir=folder)) as core:
        half = tmp_path / "half"
        shutil.copytree(folder / "atpn" / "1", half)
        if content is None:
            (half / name).unlink()
        else:
            (half / name).write_text(content)
        if name == "model.onnx":  # what it should be, and yet no model
            digest = hashlib.sha256(content.encode() if content else b"").hexdigest()
            metadata = json.loads((half / "metadata.json").read_text()) | {"sha256": digest}
            (half / "metadata.json").write_text(json.dumps(metadata))
        half.rename(folder / "atpn" / "2")
        with pytest.raises(ConfigurationError, match=name):
            await core.reloader.reload()
        core.reloader.request()
        await asyncio.sleep(0.1)
        shutil.copytree(folder / "atpn" / "1", folder / "atpn" / "3")
        core.reloader.request()
        await until(lambda: core.model.version == "3", within_s=20)


async def test_whatever_goes_wrong_with_a_version_the_next_one_is_taken(
    settings: SettingsFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = model_folder(tmp_path / "models")
    chosen = settings(model_dir=folder)

    def broken(model: ModelFile) -> Network:
        if model.version == "2":
            raise RuntimeError("out of luck")
        return open_network(chosen, model)

    async with open_core(chosen) as core, Reloader(core.pipeline, broken) as reloader:
        add_version(folder, "2")
        reloader.request()
        await until(lambda: "out of luck" in caplog.text)
        add_version(folder, "3")
        reloader.request()
        await until(lambda: core.model.version == "3", within_s=20)


async def test_requests_go_on_while_the_folder_is_read(
    settings: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = threading.Event()

    def slow(*arguments: Any) -> ModelFile:
        assert read.wait(20)
        return find_model(*arguments)

    async with open_core(settings()) as core:
        monkeypatch.setattr(reloading, "find_model", slow)
        reload = asyncio.create_task(core.reloader.reload())
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)  # would wait for the folder
        read.set()
        assert not await reload


def keeps_hangups(pid: int) -> bool:
    """Whether SIGHUP is handled there, and does not end the process."""
    process = Path(f"/proc/{pid}")
    if b"serve" not in (process / "cmdline").read_bytes():  # it is still ours, before exec
        return False
    caught = re.search(r"SigCgt:\t(\w+)", (process / "status").read_text())
    return bool(caught and int(caught[1], 16) & 1 << (signal.SIGHUP - 1))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hangup_while_the_service_starts_does_not_end_it(workers: str) -> None:
    server = Server(workers=workers)
    try:
        deadline = time.monotonic() + 20
        while not keeps_hangups(server.process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        server.process.send_signal(signal.SIGHUP)
        server.wait_ready()
        server.process.send_signal(signal.SIGHUP)  # to workers that have just been started, too
        time.sleep(0.5)
        assert metric(server.url, "atpn_streams") == 0
        assert server.stop() == 0
    finally:
        server.kill()


async def test_a_version_that_was_chosen_by_setting_stays(
    settings: SettingsFactory, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "models")
    async with open_core(settings(model_dir=folder, model_version="1")) as core:
        add_version(folder, "2")
        assert not await core.reloader.reload()


async def test_no_request_is_lost_while_the_model_is_replaced(
    tmp_path: Path, astronaut_jpeg: bytes
) -> None:
    folder = model_folder(tmp_path / "models")
    with running(model_dir=str(folder)) as server:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as client:
            versions = []

            async def ask() -> None:
                answer = await client.post(
                    "/align", content=astronaut_jpeg, headers={"content-type": "image/jpeg"}
                )
                assert answer.status_code == 200
                versions.append(answer.json()["model"]["version"])

            await ask()
            add_version(folder, "2")
            server.process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(30):
                while versions[-1] != "2":
                    await asyncio.gather(*(ask() for _ in range(4)))
            metadata = (await client.get("/v2/models/atpn")).json()
    assert sorted(set(versions)) == ["1", "2"]
    assert metadata["versions"] == ["2"]


async def test_the_folder_is_looked_at_by_itself_where_that_is_set(
    settings: SettingsFactory, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "models")
    async with open_core(settings(model_dir=folder, reload_every_s=0.05)) as core:
        add_version(folder, "2")
        async with asyncio.timeout(20):
            while core.model.version != "2":
                await asyncio.sleep(0.02)


async def test_a_hangup_while_a_reload_runs_asks_for_another_one_after_it(
    settings: SettingsFactory, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "models")
    chosen = settings(model_dir=folder)
    loading, opened, go_on = threading.Lock(), [], threading.Event()

    def slow(model: ModelFile) -> Network:
        with loading:
            opened.append(model.version)
            assert go_on.wait(20)
            return open_network(chosen, model)

    async with open_core(chosen) as core, Reloader(core.pipeline, slow) as reloader:
        add_version(folder, "2")
        reloader.request()
        await until(lambda: opened)
        add_version(folder, "3")
        for _ in range(3):
            reloader.request()
            await asyncio.sleep(0.05)
        assert (opened, core.model.version) == (["2"], "1")
        go_on.set()
        await until(lambda: core.model.version == "3", within_s=20)
        await asyncio.sleep(0.1)
    assert opened == ["2", "3"]


def test_batches_are_padded_to_few_sizes_and_all_of_them_are_warm() -> None:
    assert [bucket_of(n, 12) for n in range(1, 14)] == [1, 2, 4, 4, 8, 8, 8, 8, *[12] * 4, 13]
    assert warm_sizes(12) == [1, 2, 4, 8, 12]
    assert warm_sizes(1) == [1]
