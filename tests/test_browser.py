"""The page in a real browser, against a real service: what is drawn, said, and survived."""

import asyncio
import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    FilePayload,
    Page,
    WebSocketRoute,
    async_playwright,
    expect,
)

from atpn.geometry import Image
from tests import clips
from tests.films import FIVE, Film, swaying
from tests.javascript import javascript
from tests.server import Server, running
from tests.stores import redis_server

PHOTO = Path(__file__).with_name("photos") / "astronaut.jpg"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
KEY = "a key for the page"
FIVE_OF_98 = [96, 97, 54, 76, 82]  # pupils, nose tip, mouth corners
NOTHING = "\N{EN DASH}"  # where there is no figure
PATIENCE_MS = 60_000
SLIDER = "document.getElementById('seek').value"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def film() -> Film:
    """What the webcam sees."""
    return swaying()


@pytest.fixture(scope="module")
async def browser(film: Film, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """Chromium with a webcam that shows the film."""
    seen = tmp_path_factory.mktemp("webcam") / "film.mjpeg"
    film.write_mjpeg(seen)
    arguments = [
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={seen}",
        "--disable-gpu",
    ]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        await chromium.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A service without keys."""
    with running() as started:
        yield started


@asynccontextmanager
async def visit(
    browser: Browser,
    server: Server,
    camera: bool = True,
    expected: str = "",
    path: str = "",
    **options: Any,
) -> AsyncIterator[Page]:
    """A page, open; no error may reach the console but those that match ``expected``."""
    context: BrowserContext = await browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    if camera:
        await context.grant_permissions(["camera"], origin=server.url)
    page = await context.new_page()
    errors: list[str] = []

    def noticed(message: ConsoleMessage) -> None:
        if message.type == "error" and not (expected and re.search(expected, message.text)):
            errors.append(message.text)

    page.on("console", noticed)
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(server.url + path)
    yield page
    await context.close()
    assert errors == []


async def answer_of(page: Page) -> dict[str, Any]:
    """What the page shows as the service's last answer."""
    text = await page.locator("#answer").text_content()
    return json.loads(text or "")  # type: ignore[no-any-return]


async def shown_answer(page: Page, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The first answer shown that is wanted."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while True:
            text = await page.locator("#answer").text_content()
            if text and wanted(answer := json.loads(text)):
                return answer  # type: ignore[no-any-return]
            await asyncio.sleep(0.1)


def five(face: dict[str, Any]) -> NDArray[np.float64]:
    """Pupils, nose tip and mouth corners of a face."""
    return np.array(face["landmarks"])[FIVE_OF_98]


async def colours_at(page: Page, points: NDArray[np.float64], size: dict[str, int]) -> list[Any]:
    """The canvas's RGB where it shows these points of a picture, which it contains as a whole."""
    program = """([points, size]) => {
        const view = document.getElementById("view");
        const scale = Math.min(view.width / size.width, view.height / size.height);
        const left = (view.width - scale * size.width) / 2;
        const top = (view.height - scale * size.height) / 2;
        const context = view.getContext("2d");
        return points.map(([x, y]) => [...context.getImageData(
            Math.floor(left + scale * x), Math.floor(top + scale * y), 1, 1).data.slice(0, 3)]);
    }"""
    return await page.evaluate(program, [points.tolist(), size])  # type: ignore[no-any-return]


async def until(page: Page, condition: str) -> None:
    """Wait until the expression is true; the page's policy forbids `wait_for_function`."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while not await page.evaluate(condition):
            await asyncio.sleep(0.1)


async def picture_of(page: Page) -> Image:
    """What the canvas shows of a 640x480 frame, overlay included."""
    program = """() => {
        const view = document.getElementById("view");
        const scale = Math.min(view.width / 640, view.height / 480);
        const part = document.createElement("canvas");
        [part.width, part.height] = [640, 480];
        part.getContext("2d").drawImage(view, (view.width - 640 * scale) / 2,
            (view.height - 480 * scale) / 2, 640 * scale, 480 * scale, 0, 0, 640, 480);
        return part.toDataURL("image/png").split(",")[1];
    }"""
    data = base64.b64decode(await page.evaluate(program))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)


async def choose(page: Page, file: Path | FilePayload) -> None:
    """Pick a file as a person does through the dialog."""
    await page.set_input_files("#file", file)


def state(page: Page, name: str, value: str) -> Any:
    """Wait until the page says so."""
    return expect(page.locator("#stage")).to_have_attribute(f"data-{name}", value)


async def test_the_reference_is_read_and_tried_without_another_host(
    browser: Browser, server: Server
) -> None:
    async with visit(browser, server, path="/docs") as page:
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(request.url))
        await page.reload()
        operation = page.locator("[id$='readyz_get']").first
        await operation.locator(".opblock-summary").click()
        await operation.get_by_role("button", name="Try it out").click()
        await operation.get_by_role("button", name="Execute").click()
        answered = operation.locator(".live-responses-table tbody .response-col_status")
        await expect(answered).to_contain_text("200")
        assert all(url.startswith((server.url, "data:")) for url in asked)


async def test_a_photo_is_shown_with_its_points_on_the_face(
    browser: Browser, server: Server
) -> None:
    async with visit(browser, server) as page:
        await choose(page, PHOTO)
        await state(page, "state", "detected")
        answer = await answer_of(page)
        assert len(answer["faces"]) == 1
        found = five(answer["faces"][0])
        assert np.linalg.norm(found - FIVE, axis=1).max() < 4
        pupils = await colours_at(page, found[:2], answer["image"])
        for red, green, blue in pupils:
            assert green > 190
            assert blue > 180
            assert red < 120
        await expect(page.locator("#pill")).to_have_text("1 face")
        await expect(page.locator("#confidence")).to_have_text("100.0 %")
        yaw = answer["faces"][0]["pose"]["yaw"]
        await expect(page.locator("#yaw")).to_have_text(
            f"{yaw:.1f}°".replace("-", "\N{MINUS SIGN}")
        )
        signals = answer["faces"][0]["signals"]
        eyes = [f"{100 * signals[side]['open']:.0f}" for side in ("left_eye", "right_eye")]
        await expect(page.locator("#eyes")).to_have_text("\N{THIN SPACE}/\N{THIN SPACE}".join(eyes))
        await expect(page.locator("#smile")).to_have_text(f"{100 * signals['smile']:.0f} %")
        await expect(page.locator("#blinks")).to_be_hidden()


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
async def test_the_curl_command_that_the_page_shows_gives_the_answer_that_it_shows(
    browser: Browser, server: Server, tmp_path: Path
) -> None:
    name = "it's a $photo.jpg"
    (tmp_path / name).write_bytes(PHOTO.read_bytes())
    async with visit(browser, server) as page:
        await choose(page, tmp_path / name)
        await state(page, "state", "detected")
        command = await page.locator("#snippet").text_content()
        answer = await answer_of(page)
    assert command
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-c", command), cwd=tmp_path, stdout=subprocess.PIPE
    )
    output, _ = await shell.communicate()
    assert json.loads(output)["faces"] == answer["faces"]


async def test_the_python_that_the_page_shows_for_a_video_times_it_by_its_own_rate(
    browser: Browser, server: Server, tmp_path: Path
) -> None:
    clips.video(tmp_path / "a talk.mp4", clips.panning(6))
    async with visit(browser, server) as page:
        program = await page.evaluate("""async () => {
            const { snippets } = await import("./web/snippets.js");
            return snippets({ mode: "video", name: "a talk.mp4", type: "video/mp4" }).python;
        }""")
    assert "fps=video.get(cv2.CAP_PROP_FPS)" in program
    ran = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), cwd=tmp_path, stdout=subprocess.PIPE
    )
    output, _ = await ran.communicate()
    assert output.decode().splitlines() == ["detected [(1, 0)]", *["tracked [(1, 0)]"] * 5]


async def test_gauges_and_figures_tell_the_same_answer_while_a_stream_runs(
    browser: Browser, server: Server
) -> None:
    async with visit(browser, server) as page:
        await page.get_by_role("button", name="Use the webcam").click()
        await state(page, "state", "tracked")
        seen = await page.evaluate("""async () => {
            const seen = [];
            while (seen.length < 120) {
                await new Promise(requestAnimationFrame);
                for (const name of ["mouth", "smile", "brows"]) {
                    const width = parseFloat(document.getElementById(`${name}-mark`).style.width);
                    seen.push([width, parseFloat(document.getElementById(name).textContent)]);
                }
            }
            return seen;
        }""")
    assert len({width for width, _ in seen}) > 3  # the film's face moves
    assert [(width, told) for width, told in seen if abs(width - told) > 0.51] == []


async def test_tabs_can_be_walked_with_the_arrow_keys(browser: Browser, server: Server) -> None:
    async with visit(browser, server) as page:
        await page.get_by_role("button", name="Try the example photo").press("Enter")
        await state(page, "state", "detected")
        await page.get_by_role("tab", name="curl").focus()
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("tab", name="Python")).to_be_focused()
        await expect(page.locator("#snippet")).to_contain_text("from atpn import Client")
        await expect(page.locator("#snippet")).to_contain_text('"your-photo.jpg"')
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#snippet")).to_contain_text(f"{server.url}/align?include=pose")
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("tabpanel")).to_contain_text('"landmarks"')


async def test_the_first_steps_with_the_keyboard_lead_to_the_sources(
    browser: Browser, server: Server
) -> None:
    async with visit(browser, server) as page:
        names = []
        for _ in range(5):
            await page.keyboard.press("Tab")
            names.append(await page.evaluate("document.activeElement.textContent.trim()"))
        await page.get_by_role("button", name="Try the example photo").focus()
        await page.keyboard.press("Enter")
        await state(page, "state", "detected")
        await expect(page.get_by_role("group", name="Source")).to_be_focused()
    assert names[1:4] == ["API reference", "Use the webcam", "Choose a photo or video"]


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        ("notes.txt", "text/plain", b"no picture"),
        ("broken.jpg", "image/jpeg", PHOTO.read_bytes()[:2000]),
        ("empty.png", "image/png", b""),
    ],
)
async def test_what_is_no_photo_is_said_to_be_none(
    browser: Browser, server: Server, name: str, kind: str, data: bytes
) -> None:
    async with visit(browser, server, expected="422") as page:
        await choose(page, {"name": name, "mimeType": kind, "buffer": data})
        await expect(page.get_by_role("alert")).to_contain_text(
            "not a photo or video" if name != "broken.jpg" else "not a"
        )


async def test_a_photo_without_a_face_is_said_to_have_none(
    browser: Browser, server: Server
) -> None:
    async with visit(browser, server) as page:
        await choose(page, {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": clips.empty()})
        await expect(page.get_by_role("alert")).to_contain_text("No face in this picture")
        await expect(page.locator("#yaw")).to_have_text(NOTHING)
        await expect(page.locator("#eyes")).to_have_text(NOTHING)


@pytest.mark.parametrize(("mirrored", "eyes"), [(False, ["90%", "0%"]), (True, ["0%", "90%"])])
async def test_eyes_are_shown_on_the_side_of_the_picture_where_they_are_seen(
    browser: Browser, server: Server, mirrored: bool, eyes: list[str]
) -> None:
    """The one that is turned away has an empty gauge."""
    signals = {
        "left_eye": {"open": 0.9, "pupil": [0, 0]},
        "right_eye": {"open": None, "pupil": None},
        **{"mouth_open": None, "smile": 0.25, "brow_raise": 0},
    }
    async with visit(browser, server) as page:
        widths = await page.evaluate(
            """async ([signals, mirrored]) => {
                const { drawGauges } = await import("./web/measures.js");
                drawGauges({ confidence: 1, signals }, mirrored);
                const marks = ["first-eye-mark", "second-eye-mark", "mouth-mark", "smile-mark"];
                return marks.map((id) => document.getElementById(id).style.width);
            }""",
            [signals, mirrored],
        )
    assert widths == [*eyes, "0%", "25%"]


async def test_a_file_that_is_no_video_is_said_to_be_unplayable(
    browser: Browser, server: Server
) -> None:
    async with visit(browser, server) as page:
        await choose(page, {"name": "x.mp4", "mimeType": "video/mp4", "buffer": b"no video"})
        await expect(page.get_by_role("alert")).to_contain_text("cannot play")
        await expect(page.get_by_role("button", name="Use the webcam")).to_be_visible()


async def test_a_service_that_is_gone_is_said_to_be_gone_and_can_be_asked_again(
    browser: Browser, server: Server
) -> None:
    async with visit(browser, server, expected="ERR_FAILED") as page:
        await page.route("**/align*", lambda route: route.abort())
        await choose(page, PHOTO)
        await expect(page.get_by_role("alert")).to_contain_text("does not answer")
        await page.unroute("**/align*")
        await page.get_by_role("button", name="Try again").click()
        await state(page, "state", "detected")
        await expect(page.get_by_role("alert")).to_be_hidden()


async def test_a_refused_webcam_is_explained(browser: Browser, server: Server) -> None:
    async with visit(browser, server, camera=False) as page:
        session = await page.context.new_cdp_session(page)
        denied = {"permission": {"name": "camera"}, "setting": "denied", "origin": server.url}
        await session.send("Browser.setPermission", denied)
        await page.get_by_role("button", name="Use the webcam").click()
        await expect(page.get_by_role("alert")).to_contain_text("The webcam is blocked")
        await expect(page.get_by_role("button", name="Try again")).to_be_visible()


#: Cameras are opened once `grant()` is called; `cameras` has what was.
SLOW_PERMISSION = """
  const opened = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const granted = new Promise((resolve) => { window.grant = resolve; });
  window.cameras = [];
  navigator.mediaDevices.getUserMedia = async (asked) => {
    await granted;
    window.cameras.push(await opened(asked));
    return window.cameras.at(-1);
  };
"""
LIVE = "cameras.flatMap((c) => c.getTracks()).filter((t) => t.readyState === 'live').length"


async def test_no_camera_stays_on_that_was_allowed_too_late_or_asked_for_twice(
    browser: Browser, server: Server
) -> None:
    async with visit(browser, server) as page:
        await page.add_init_script(SLOW_PERMISSION)
        await page.reload()
        await page.get_by_role("button", name="Use the webcam").click()
        again = page.locator("#sources").get_by_role("button", name="Webcam")
        await again.dblclick()
        await page.evaluate("grant()")
        await state(page, "tracks", "1")
        assert await page.evaluate(f"[cameras.length, {LIVE}]") == [3, 1]
        await page.get_by_role("button", name="Close").click()
        assert await page.evaluate(LIVE) == 0

        await page.reload()
        await page.get_by_role("button", name="Use the webcam").click()
        await page.get_by_role("button", name="Close").click()
        await page.evaluate("grant()")
        await until(page, "cameras.length === 1")
        assert await page.evaluate(LIVE) == 0
        assert await page.evaluate("document.querySelector('video').srcObject") is None


async def test_what_is_told_of_one_frame_goes_with_the_next(
    browser: Browser, server: Server
) -> None:
    def spoil(ours: WebSocketRoute) -> None:
        theirs = ours.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            told = json.loads(message)
            if told["type"] == "frame" and told["seq"] == 3:
                failure = {"type": "error", "code": "deadline_exceeded", "detail": "too late"}
                told = failure | {"seq": 3, "dropped": told["dropped"]}
            ours.send(json.dumps(told))

        theirs.on_message(pass_on)

    async with visit(browser, server) as page:
        await page.route_web_socket(re.compile("/track"), spoil)
        await page.evaluate("""() => {
            window.notices = [];
            const title = document.getElementById("notice-title");
            const observer = new MutationObserver(() => notices.push(title.textContent));
            observer.observe(title, {childList: true});
        }""")
        await page.get_by_role("button", name="Use the webcam").click()
        await until(page, "document.getElementById('stage').dataset.seq > 5")
        assert "The service took too long." in await page.evaluate("notices")
        await expect(page.get_by_role("alert")).to_be_hidden()


async def test_nothing_sticks_out_of_a_phone(browser: Browser, server: Server) -> None:
    phone = {"width": 360, "height": 740}
    wide = "document.documentElement.scrollWidth"
    async with visit(browser, server, viewport=phone) as page:
        assert await page.evaluate(wide) == 360
        await page.get_by_role("button", name="Try the example photo").click()
        await state(page, "state", "detected")
        assert await page.evaluate(wide) == 360


async def test_where_keys_are_set_the_page_asks_for_one_and_uses_it(browser: Browser) -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    with running(api_key_hashes=json.dumps([digest])) as server:
        async with visit(browser, server, expected="401") as page:
            dialog = page.get_by_role("dialog")
            await expect(dialog).to_contain_text("asks for a key")
            await dialog.get_by_label("API key").fill("cl\N{LATIN SMALL LETTER E WITH ACUTE}")
            await dialog.get_by_role("button", name="Continue").click()
            await expect(dialog).to_contain_text("cannot be a key")
            await dialog.get_by_label("API key").fill("wrong")
            await dialog.get_by_role("button", name="Continue").click()
            await choose(page, PHOTO)
            await expect(dialog).to_contain_text("not accepted")
            await dialog.get_by_label("API key").fill(KEY)
            await page.keyboard.press("Enter")
            await state(page, "state", "detected")
            command = await page.locator("#snippet").text_content()
            assert command
            assert "Authorization" in command
            assert KEY not in await page.content()
            await page.locator("#sources").get_by_role("button", name="Webcam").click()
            await state(page, "tracks", "1")


async def in_module(page: Page, program: str) -> Any:
    """What a program gives that uses the client, in a page with a video and a canvas."""
    await page.evaluate("""() => {
        const [video, canvas] = [document.createElement("video"), document.createElement("canvas")];
        [canvas.style.width, canvas.style.height] = ["640px", "480px"];
        canvas.id = "view";
        document.body.replaceChildren(canvas, video);
    }""")
    served = 'const {names} = await import("/web/atpn/index.js");'.replace("{names}", r"\1")
    program = re.sub('import ({.*?}) from "atpn";', served, program)
    return await page.evaluate(f"async () => {{ {program} }}")


async def test_the_clients_program_draws_the_face_that_the_webcam_sees(
    browser: Browser, server: Server, film: Film
) -> None:
    program = javascript("In a browser").replace("http://127.0.0.1:8000", server.url)
    async with visit(browser, server, path="/docs") as page:
        await in_module(page, program)
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while not await drawn_on_the_face(page, film):
                await asyncio.sleep(0.1)


async def drawn_on_the_face(page: Page, film: Film) -> bool:
    """Whether the (mirrored) picture shows lines, and where the film has its face.

    A first frame may be caught before its lines are all there.
    """
    mirrored = await picture_of(page)
    red, green, blue = np.moveaxis(mirrored.astype(int), 2, 0)
    lines = np.argwhere((red < 90) & (green > 200) & (blue > 180))[:, ::-1]
    if len(lines) <= 200:
        return False
    true = film.shown(mirrored[:, ::-1]).mean(0)
    middle = np.median(lines, 0)
    return bool(np.linalg.norm([639 - middle[0], middle[1]] - true) < 30)


async def test_the_client_asks_for_several_photographs_at_once(
    browser: Browser, server: Server
) -> None:
    program = """async (data) => {
        const { Client } = await import("/web/atpn/index.js");
        const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
        const images = [new Blob([bytes]), bytes.slice(0, 2000), bytes];
        const results = await new Client(location.origin).batch(images, { points: 5 });
        return results.map(({ answer, error }) => error?.code ?? answer.faces[0].landmarks.length);
    }"""
    async with visit(browser, server, path="/docs") as page:
        photo = base64.b64encode(PHOTO.read_bytes()).decode()
        assert await page.evaluate(program, photo) == [5, "invalid_image", 5]


@pytest.mark.parametrize("points", [5, 68])
async def test_fewer_points_are_drawn_as_dots(
    browser: Browser, server: Server, points: int
) -> None:
    async with visit(browser, server, path="/docs") as page:
        colours = await in_module(
            page,
            f"""import {{ drawAnswer }} from "atpn";
            const landmarks = Array.from({{ length: {points} }}, (_, i) => [100 + 6 * i, 200]);
            const face = {{ box: [90, 90, 540, 400], confidence: 1, landmarks }};
            const canvas = document.querySelector("canvas");
            const picture = new OffscreenCanvas(640, 480);
            picture.getContext("2d").fillRect(0, 0, 640, 480);
            drawAnswer(canvas, picture, {{ image: {{ width: 640, height: 480 }}, faces: [face] }});
            const context = canvas.getContext("2d");
            return landmarks.map(([x, y]) => [...context.getImageData(x, y, 1, 1).data]);""",
        )
    assert len(colours) == points
    assert np.min(colours) > 200


@pytest.mark.long
async def test_the_webcam_is_tracked_and_a_cut_connection_resumes_with_the_same_id(
    browser: Browser, server: Server, film: Film
) -> None:
    async with visit(browser, server) as page:
        await page.get_by_role("button", name="Use the webcam").click()
        await state(page, "tracks", "1")
        for _ in range(5):
            answer = await shown_answer(page, lambda a: a["faces"])
            assert film.distance(five(answer["faces"][0])) < 15
            await asyncio.sleep(0.4)
        before = await shown_answer(page, lambda a: a["state"] == "tracked")
        await page.get_by_role("button", name="Cut the connection").click()
        await state(page, "connection", "away")
        await state(page, "resumes", "1")
        after = await shown_answer(page, lambda a: a["seq"] > before["seq"] and a["faces"])
        assert [face["track_id"] for face in after["faces"]] == [1]
        await expect(page.locator("#blinks")).to_have_text("0 blinks")
        log = page.get_by_role("log")
        for line in ("Face 1 found", "Connection cut", "Resumed at frame", "Face 1 goes on"):
            await expect(log).to_contain_text(line)


@pytest.mark.long
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_the_same_face_goes_on_when_the_service_ends_and_comes_back(
    browser: Browser, end: signal.Signals
) -> None:
    long_lived = {"session_ttl_s": "900"}  # however long the second one takes to start
    with redis_server() as store, running(redis_url=store.url, **long_lived) as first:
        async with visit(browser, first, expected="net::ERR_|503") as page:
            await page.get_by_role("button", name="Use the webcam").click()
            await state(page, "tracks", "1")
            before = await shown_answer(page, lambda a: a["state"] == "tracked")
            first.process.send_signal(end)
            await state(page, "connection", "away")
            await expect(page.locator("#service-text")).to_contain_text("does not answer")
            first.process.wait(30)
            second = Server(port=str(first.port), redis_url=store.url, **long_lived)
            try:
                await asyncio.to_thread(second.wait_ready)
                await state(page, "connection", "open")
                await expect(page.locator("#stage")).to_have_attribute("data-resumes", "1")
                after = await shown_answer(page, lambda a: a["seq"] > before["seq"] and a["faces"])
                assert [face["track_id"] for face in after["faces"]] == [1]
                await expect(page.get_by_role("log")).to_contain_text("Face 1 goes on")
            finally:
                second.kill()


@pytest.mark.long
async def test_a_video_file_is_followed_paused_and_closed(
    browser: Browser, server: Server, film: Film, tmp_path: Path
) -> None:
    film.write_webm(tmp_path / "film.webm")
    async with visit(browser, server) as page:
        await choose(page, tmp_path / "film.webm")
        await state(page, "tracks", "1")
        answer = await shown_answer(page, lambda a: a["state"] == "tracked")
        assert film.distance(five(answer["faces"][0])) < 15
        slider = page.get_by_label("Position in the video")
        await slider.click()
        position = float(await slider.input_value())
        await until(page, f"Math.abs({SLIDER} - {position}) > 0.02")
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
        await asyncio.sleep(2)  # until the last frame is answered, drawn and told
        last = await answer_of(page)
        true = film.shown(await picture_of(page))
        assert np.linalg.norm(five(last["faces"][0]) - true, axis=1).max() < 15
        await page.get_by_role("button", name="Close").click()
        await expect(page.get_by_role("button", name="Use the webcam")).to_be_focused()
        async with asyncio.timeout(20):
            while await open_streams(page):
                await asyncio.sleep(0.1)


async def open_streams(page: Page) -> int:
    """How many streams the service has."""
    ready = "fetch('readyz').then((answer) => answer.json())"
    return int((await page.evaluate(ready))["streams"])
