// What a <video> shows, for a stream: a webcam or a file, frame by frame, as JPEGs of limited size.

const SENT_SIDE = 640; // pixels of the longer side; the detector looks at no more
const SHOWN_SIDE = 1280;
const QUALITY = 0.82;

// Sends what the video shows whenever the stream has room. The `frame` of an answer is a canvas
// with the picture that was sent; it is used again three frames later.
export class VideoFeed {
  skipped = 0; // frames that came while others were under way

  #video;
  #stream;
  #away;
  #copies = new Copies();
  #encoder;
  #encoding = false;
  #stop;

  // `away(canvas)` gets the frames that are shown while there is no connection.
  constructor(video, stream, { away = () => {}, side = SENT_SIDE, quality = QUALITY } = {}) {
    this.#video = video;
    this.#stream = stream;
    this.#away = away;
    this.#encoder = new JpegEncoder(side, quality);
    this.#stop = everyFrame(video, () => this.#frame());
  }

  end() {
    this.#stop();
    this.#encoder.end();
  }

  async #frame() {
    if (this.#stream.room && !this.#encoding) {
      this.#encoding = true;
      try {
        const picture = this.#copies.take(this.#video);
        this.#stream.push(await this.#encoder.encode(picture), picture);
      } catch (error) { // the next frame may be encoded again
        reportError(error);
      } finally {
        this.#encoding = false;
      }
    } else if (this.#stream.ready) this.skipped += 1;
    else this.#away(this.#copies.take(this.#video));
  }
}

// Calls `each` for every frame that the video shows, until the returned function is called.
export function everyFrame(video, each) {
  let ended = false;
  let last = -1;
  const again = video.requestVideoFrameCallback
    ? () => video.requestVideoFrameCallback(step)
    : () => requestAnimationFrame(stepIfNew);
  function stepIfNew() {
    if (ended) return;
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
  return () => {
    ended = true;
  };
}

// Copies of frames, in a few canvases that are used in turn: one a frame under way, and one shown.
class Copies {
  #canvases = Array.from({ length: 4 }, () => document.createElement("canvas"));
  #next = 0;

  take(video) {
    this.#next = (this.#next + 1) % this.#canvases.length;
    const canvas = this.#canvases[this.#next];
    [canvas.width, canvas.height] = fitted(video.videoWidth, video.videoHeight, SHOWN_SIDE);
    const context = canvas.getContext("2d", { alpha: false });
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    return canvas;
  }
}

// Makes JPEGs of limited size, one at a time; in a worker where the browser has what it takes.
class JpegEncoder {
  #side;
  #quality;
  #worker = null;
  #made = () => {}; // takes the worker's JPEG, or null

  constructor(side, quality) {
    this.#side = side;
    this.#quality = quality;
    if (!window.OffscreenCanvas) return;
    this.#worker = new Worker(new URL("encoder.js", import.meta.url));
    this.#worker.onmessage = ({ data }) => (data ? this.#made(data) : this.#failed());
    this.#worker.onerror = () => this.#failed(); // its script may be missing: before the first frame
  }

  async encode(canvas) {
    const [width, height] = fitted(canvas.width, canvas.height, this.#side);
    const made = this.#worker && await this.#encodedThere(await createImageBitmap(canvas), width, height);
    return made ?? this.#encodedHere(canvas, width, height);
  }

  end() {
    this.#worker?.terminate();
  }

  // The page encodes by itself from now on, and the frame under way, too.
  #failed() {
    this.end();
    this.#worker = null;
    this.#made(null);
  }

  // null where the worker could not.
  #encodedThere(picture, width, height) {
    return new Promise((resolve) => {
      if (!this.#worker) return resolve(null);
      this.#made = resolve;
      this.#worker.postMessage({ picture, width, height, quality: this.#quality }, [picture]);
    });
  }

  async #encodedHere(canvas, width, height) {
    const small = document.createElement("canvas");
    [small.width, small.height] = [width, height];
    small.getContext("2d", { alpha: false }).drawImage(canvas, 0, 0, width, height);
    const image = await new Promise((resolve) => small.toBlob(resolve, "image/jpeg", this.#quality));
    if (!image) throw new Error(`this browser could not encode a frame of ${width}x${height} as JPEG`);
    return image;
  }
}

function fitted(width, height, longest) {
  const scale = Math.min(1, longest / Math.max(width, height));
  return [Math.round(width * scale), Math.round(height * scale)];
}
