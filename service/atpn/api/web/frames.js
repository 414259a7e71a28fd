// Where frames come from: a webcam or a video file in one <video>, shown frame by frame.

const SENT_SIDE = 640; // pixels of the longer side; the detector looks at no more
const SHOWN_SIDE = 1280;
const QUALITY = 0.82;

export class NotPlayable extends Error {}

export async function openWebcam(video) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new DOMException("needs https or localhost", "NotSupportedError");
  }
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: false,
    video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 720 } },
  });
  video.srcObject = stream;
  await video.play();
  return stream;
}

export async function openVideo(video, file) {
  const url = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => {
      video.onloadeddata = resolve;
      video.onerror = () => reject(new NotPlayable(file.name));
      video.src = url;
      video.load();
    });
    if (!video.videoWidth) throw new NotPlayable(file.name);
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error;
  } finally {
    video.onloadeddata = video.onerror = null;
  }
  await video.play();
}

export function closeVideo(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.pause();
  if (video.src) URL.revokeObjectURL(video.src);
  video.srcObject = null;
  video.removeAttribute("src");
  video.load();
}

// Calls `each` for every frame that the video shows, until the returned function is called.
export function everyFrame(video, each) {
  let ended = false;
  let last = -1;
  const again = video.requestVideoFrameCallback
    ? () => video.requestVideoFrameCallback(step)
    : () => requestAnimationFrame(stepIfNew);
  function stepIfNew() {
    if (video.currentTime === last) again();
    else step();
    last = video.currentTime;
  }
  function step() {
    if (ended) return;
    again();
    if (video.videoWidth) each();
  }
  again();
  return () => (ended = true);
}

// Copies of frames, in a few canvases that are used in turn: one a frame under way, and one shown.
export class Copies {
  constructor() {
    this._canvases = Array.from({ length: 4 }, () => document.createElement("canvas"));
    this._next = 0;
  }

  take(video) {
    this._next = (this._next + 1) % this._canvases.length;
    const canvas = this._canvases[this._next];
    [canvas.width, canvas.height] = fitted(video.videoWidth, video.videoHeight, SHOWN_SIDE);
    const context = canvas.getContext("2d", { alpha: false });
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    return canvas;
  }
}

// Makes JPEGs of limited size, one at a time; in a worker where the browser has what it takes.
export class Encoder {
  constructor() {
    if (window.OffscreenCanvas) this._worker = new Worker(new URL("encoder.js", import.meta.url));
  }

  async encode(canvas) {
    const [width, height] = fitted(canvas.width, canvas.height, SENT_SIDE);
    if (!this._worker) return encodedHere(canvas, width, height);
    const picture = await createImageBitmap(canvas);
    return new Promise((resolve) => {
      this._worker.onmessage = ({ data }) => resolve(data);
      this._worker.onerror = () => {
        this._worker = null;
        resolve(encodedHere(canvas, width, height));
      };
      this._worker.postMessage({ picture, width, height, quality: QUALITY }, [picture]);
    });
  }

  end() {
    this._worker?.terminate();
  }
}

async function encodedHere(canvas, width, height) {
  const small = document.createElement("canvas");
  [small.width, small.height] = [width, height];
  small.getContext("2d", { alpha: false }).drawImage(canvas, 0, 0, width, height);
  return new Promise((resolve) => small.toBlob(resolve, "image/jpeg", QUALITY));
}

function fitted(width, height, longest) {
  const scale = Math.min(1, longest / Math.max(width, height));
  return [Math.round(width * scale), Math.round(height * scale)];
}
