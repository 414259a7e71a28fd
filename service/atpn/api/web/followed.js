// A webcam or a video file, followed over /track for as long as it is open.

import { VideoFeed } from "./atpn/video.js";
import { $, stage, video } from "./dom.js";
import { NotPlayable, closeVideo, openVideo, openWebcam } from "./media.js";
import { busy, note, pill, tell } from "./messages.js";
import { client, explained } from "./service.js";
import { Source } from "./source.js";

const WINDOW_MS = 2000; // of the frame rate
const TRIPS = 15; // of the median
const SETTLED_MS = 1000; // a face that is gone this long is lost
const RESUMED_MS = 1600; // how long the word stays
const AWAY = {
  cut: "Connection cut",
  lost: "Connection lost",
  refused: "The service refused",
  restart: "The service asks to reconnect",
};

export async function openWebcamStream(page) {
  const followed = new Followed(page, "webcam", "webcam", "", $("mirror").checked);
  const again = ["Try again", () => openWebcamStream(page)];
  await open(page, followed, "Waiting for the webcam…", (isWanted) => openWebcam(video, isWanted), (error) => [...noWebcam(error), again]);
}

export async function openVideoStream(page, file) {
  const followed = new Followed(page, "video", file.name, file.type);
  await open(page, followed, "Opening the video…", () => openVideo(video, file), notPlayable);
}

async function open(page, followed, waiting, media, explain) {
  const isWanted = () => page.source === followed;
  page.begin(followed);
  busy(waiting);
  try {
    await media(isWanted);
  } catch (error) {
    if (!isWanted()) return;
    page.close();
    tell(...explain(error));
    return;
  }
  if (isWanted()) followed.start();
}

function notPlayable(error) {
  const detail = error instanceof NotPlayable ? "MP4 (H.264) and WebM work in most browsers." : error.message;
  return ["This browser cannot play the file.", detail];
}

function noWebcam(error) {
  return {
    NotAllowedError: ["The webcam is blocked.", "Allow the camera for this page in the browser's address bar, then try again."],
    NotFoundError: ["No webcam was found.", "Plug one in, or choose a photo or video."],
    NotReadableError: ["The webcam is in use.", "Close the program that uses it, then try again."],
    NotSupportedError: ["The browser gives no webcam to this page.", "It needs https, or an address on this computer."],
  }[error.name] ?? ["The webcam could not be opened.", error.message];
}

class Followed extends Source {
  constructor(page, mode, name, type, mirrored = false) {
    super(mode, name, type, mirrored);
    this._page = page;
    this._times = []; // of the last answers
    this._seen = new Map(); // track id → when it was last seen
    this._resumedAt = -RESUMED_MS;
    this._resuming = false; // no face was seen since the stream came back
    this._frameFailed = false; // and that is told
  }

  get frameRate() {
    const [first, last] = [this._times[0], this._times.at(-1)];
    return this._times.length > 1 ? (1000 * (this._times.length - 1)) / (last - first) : null;
  }

  get dropped() {
    return (this._stream?.dropped ?? 0) + (this._feed?.skipped ?? 0);
  }

  // Follow what the video element shows from now on.
  start() {
    for (const track of video.srcObject?.getTracks() ?? []) {
      track.onended = () => {
        this._page.close();
        tell("The webcam was unplugged or taken away.");
      };
    }
    busy("Connecting…");
    this._connect();
  }

  end() {
    this._feed?.end();
    this._stream?.end();
    closeVideo(video);
  }

  cut() {
    this._stream?.cut();
  }

  configure() {
    this._stream?.configure({ smoothing: $("smooth").checked });
  }

  _connect() {
    const handlers = {
      opened: (session) => this._opened(session),
      answered: (result) => this._answered(result),
      failed: ({ error }) => this._failed(error),
      away: (why) => this._away(why),
      ended: (error) => this._refused(error),
    };
    this._feed?.end();
    this._stream = client().stream(handlers, { signals: true, smoothing: $("smooth").checked });
    this._feed = new VideoFeed(video, this._stream, { away: (picture) => this._show(picture, picture, null) });
  }

  _opened(session) {
    busy(null);
    tell(null);
    const { resumes } = this._stream;
    stage.dataset.connection = "open";
    stage.dataset.resumes = resumes;
    $("cut").disabled = false;
    pill("idle", "starting");
    $("connection").textContent = resumes ? `open, resumed ${resumes}×` : "open";
    this._resuming = session.state === "resumed";
    if (this._resuming) note(`Resumed at frame ${session.seq}`);
    else note(session.state === "expired" ? "Connected, as a new session: the old one had expired" : "Connected");
    this._page.health.check();
  }

  _away({ reason, delayMs, error }) {
    if (stage.dataset.connection !== "away") {
      note(AWAY[reason]);
      this._page.health.check();
    }
    if (error) tell(...explained(error));
    stage.dataset.connection = "away";
    $("cut").disabled = true;
    $("connection").textContent = delayMs < 50 ? "reconnecting" : `next try in ${(delayMs / 1000).toFixed(1)} s`;
    this.trips = [];
    this._times = [];
    pill("offline", "reconnecting");
    busy("Reconnecting…");
  }

  // For good, with the key that the page has.
  _refused(error) {
    const again = () => this._page.source === this && this._connect();
    busy(null);
    pill("offline", "refused");
    $("cut").disabled = true;
    $("connection").textContent = "refused";
    if (error.code === "unauthorized") this._page.key.refused(again);
    else tell(...explained(error), ["Try again", again]);
  }

  // Of one frame; the next may be answered again.
  _failed(error) {
    this._frameFailed = true;
    tell(...explained(error));
  }

  _answered({ answer, frame, tripMs }) {
    if (this._frameFailed) tell(null);
    this._frameFailed = false;
    const now = performance.now();
    this._times = [...this._times.filter((time) => now - time < WINDOW_MS), now];
    this.trips = [...this.trips.slice(1 - TRIPS), tripMs];
    if (answer.state === "resumed") this._resumedAt = now;
    const resumed = answer.faces.length && now - this._resumedAt < RESUMED_MS;
    const word = resumed ? "resumed" : answer.state;
    pill(word, word === "lost" ? "no face" : word);
    stage.dataset.state = answer.state;
    stage.dataset.seq = answer.seq;
    stage.dataset.tracks = answer.faces.map((face) => face.track_id).join(" ");
    this._noteFaces(answer.faces, now);
    this._show(frame, answer.image, answer);
  }

  // Who came and who went; a face must be away for a while to be worth a line.
  _noteFaces(faces, now) {
    for (const { track_id: id } of faces) {
      if (!this._seen.has(id)) note(`Face ${id} found`);
      else if (this._resuming) note(`Face ${id} goes on`);
      this._seen.set(id, now);
    }
    if (faces.length) this._resuming = false;
    for (const [id, last] of this._seen) {
      if (now - last > SETTLED_MS) {
        this._seen.delete(id);
        note(`Face ${id} lost`);
      }
    }
  }

  _show(picture, size, answer) {
    this.picture = picture;
    this.size = size;
    this.answer = answer;
    this._page.show();
    this._page.writeSoon();
  }
}
