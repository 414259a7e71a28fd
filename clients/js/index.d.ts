// Types of the client. Answers are the service's own JSON, with its names.

/** x, y in pixels of the image after EXIF orientation: origin top-left, x right, y down. */
export type Point = [x: number, y: number];
/** x0, y0, x1, y1 in pixels; may reach beyond the image. */
export type Box = [x0: number, y0: number, x1: number, y1: number];
/** How many landmarks: WFLW's 98, 300W's 68, or eyes, nose tip and mouth corners. */
export type Points = 98 | 68 | 5;
/** An encoded image: JPEG, PNG, WebP or BMP. In Node give bytes. */
export type EncodedImage = Blob | ArrayBuffer | Uint8Array;

export interface Pose {
  /** Degrees; positive: the nose points to the image's left. */
  yaw: number;
  /** Degrees; positive: the nose points up. */
  pitch: number;
  /** Degrees; positive: the head is turned clockwise on the image. */
  roll: number;
  /** Rx(-pitch) Ry(yaw) Rz(roll), rows; camera axes x right, y down, z away. */
  rotation: [number[], number[], number[]];
}

/** An eye; left and right are those of the image. */
export interface Eye {
  /** 0 closed, 1 open; null: turned away. */
  open: number | null;
  /**
   * x, y from the middle between the eye's corners, in halves of its width: x -1 is the left corner
   * and 1 the right one, y points down. null: turned away or covered.
   */
  pupil: Point | null;
}

/** What a face does, each from 0 to 1; null: turned away. */
export interface Signals {
  left_eye: Eye;
  right_eye: Eye;
  /** 1: as high as it is wide. */
  mouth_open: number | null;
  smile: number | null;
  brow_raise: number | null;
}

export interface Blinks {
  /** Since the face was first seen. */
  count: number;
  /** For how many seconds the eyes are closed: 0 while they are open, null while turned away. */
  closed_s: number | null;
  /** The newest: number of the frame that showed the eyes closed, and seconds. */
  last: { seq: number; ago_s: number; length_s: number } | null;
}

export interface Face {
  box: Box;
  /** Probability that this is a face, 0 to 1. */
  confidence: number;
  landmarks: Point[];
  /** Where they were asked for. */
  pose?: Pose;
  signals?: Signals;
}

export interface PosedFace {
  box: Box;
  confidence: number;
  pose: Pose;
  signals?: Signals;
}

export interface TrackedFace extends Face {
  /** Stays with the face for the whole session, over reconnects and replicas. */
  track_id: number;
  /** How often the face was found; counts up when it comes back. */
  generation: number;
  /** The region that the network looked at, before it is turned by `roi_angle` degrees. */
  roi: Box;
  roi_angle: number;
  /** The landmarks with their jitter filtered out, where that was asked for. */
  smoothed?: Point[];
  /** Beside the person's own face at rest, which a stream learns. */
  signals?: Signals & { blinks: Blinks };
}

/** Milliseconds in the service. */
export interface Timings {
  decode: number;
  detect: number;
  queue: number;
  inference: number;
}

export interface Size {
  width: number;
  height: number;
}

export interface Model {
  name: string;
  version: string;
}

export interface Answer<F = Face> {
  /** Best first, or in the order of the given boxes; empty where there are none. */
  faces: F[];
  image: Size;
  model: Model;
  ms: Timings;
}

export interface FrameAnswer {
  type: "frame";
  /** Counts every frame of the session, dropped ones too. */
  seq: number;
  state: "detected" | "tracked" | "resumed" | "lost";
  /** Frames before this one that newer ones replaced. */
  dropped: number;
  image: Size;
  faces: TrackedFace[];
  ms: Timings;
}

export interface Session {
  type: "session";
  /** For logs; not secret. */
  session_id: string;
  /** Secret: whoever has it may resume the session. */
  token: string;
  state: "new" | "resumed" | "expired";
  seq: number;
  model: Model;
  limits: {
    max_frame_bytes: number;
    max_pixels: number;
    max_faces: number;
    session_ttl_s: number;
    stream_idle_s: number;
  };
}

export interface ClientOptions {
  /** An API key, where the service wants one: ASCII, no space at either end. */
  key?: string;
  /** Patience with one photograph; 15000 by default. */
  timeoutMs?: number;
  /** globalThis.WebSocket by default; Node before 22 has none. */
  WebSocket?: new (url: string, protocols: string[]) => WebSocketLike;
}

/** The part of a WebSocket that is used. */
export interface WebSocketLike {
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: any): void;
  close(): void;
}

export interface LimitOptions {
  maxFaces?: number;
  minConfidence?: number;
}

export interface CallOptions extends LimitOptions {
  /** Look here in place of searching for faces. */
  boxes?: Box[];
  /** What drew them; of a detector by default. */
  boxesAre?: "detector" | "landmarks" | "roi";
  /** Four looks at each face for "best", at about four times the cost. */
  quality?: "normal" | "best";
  /** Ends the call, which then throws the signal's reason. */
  signal?: AbortSignal;
  /** What each face does; not to be confused with `signal`. */
  signals?: boolean;
}

export interface AlignOptions extends CallOptions {
  points?: Points;
  pose?: boolean;
}

/** What a stream answers; the service's own settings where nothing is given. */
export interface FollowOptions extends LimitOptions {
  points?: Points;
  pose?: boolean;
  signals?: boolean;
  smoothing?: boolean;
  /** The frames are a recording's, so many a second: blinks are timed by it. */
  fps?: number;
}

export interface StreamOptions extends FollowOptions {
  /** How long it comes back without an answer: for ever, and 30000 for `track`. */
  patienceMs?: number;
}

export interface Away {
  reason: "cut" | "lost" | "refused" | "restart";
  /** Until the next try. */
  delayMs: number;
  /** Why the service refused, for now. */
  error: AtpnError | null;
}

export interface StreamHandlers<F = EncodedImage> {
  opened?(session: Session): void;
  answered?(result: { answer: FrameAnswer; frame: F; tripMs: number }): void;
  /** A frame that could not be used; the stream goes on. */
  failed?(failure: { error: AtpnError; frame: F }): void;
  /** The connection is gone; the stream comes back by itself. */
  away?(why: Away): void;
  /** The stream is over: refused, or out of patience. */
  ended?(error: AtpnError): void;
}

export interface BatchOptions extends LimitOptions {
  points?: Points;
  pose?: boolean;
  /** Four looks at each face for "best", at about four times the cost. */
  quality?: "normal" | "best";
  /** Ends the call, which then throws the signal's reason. */
  signal?: AbortSignal;
  /** What each face does; not to be confused with `signal`. */
  signals?: boolean;
}

/** One image's result in `batch`: an answer or an error. */
export type Batched<I> =
  | { image: I; answer: Answer; error: null }
  | { image: I; answer: null; error: AtpnError };

/** One frame's result in `track`: an answer or an error. */
export type Tracked<I> =
  | { frame: I; answer: FrameAnswer; error: null }
  | { frame: I; answer: null; error: AtpnError };

export class Client {
  constructor(url: string, options?: ClientOptions);
  /** The faces of an image with their landmarks. Throws AtpnError. */
  align(image: EncodedImage, options?: AlignOptions): Promise<Answer>;
  /** The directions of the heads alone. Throws AtpnError. */
  pose(image: EncodedImage, options?: CallOptions): Promise<Answer<PosedFace>>;
  /**
   * The faces of several images, in their order; a refused one has its `error`. Up to 32 images and
   * 40 MiB go into one request. Throws AtpnError where a whole request failed.
   */
  batch<I extends EncodedImage>(images: Iterable<I>, options?: BatchOptions): Promise<Batched<I>[]>;
  /**
   * Every frame answered, in order. The next is asked for when the one before was answered; what
   * a broken connection swallowed is sent again. Throws AtpnError where the stream is refused.
   */
  track<I extends EncodedImage>(
    frames: Iterable<I> | AsyncIterable<I>,
    options?: StreamOptions,
  ): AsyncGenerator<Tracked<I>, void, void>;
  /** A live stream, of which the newest frame wins. TypeError where there is no WebSocket. */
  stream<F = EncodedImage>(handlers: StreamHandlers<F>, options?: StreamOptions): Stream<F>;
}

export class Stream<F = EncodedImage> {
  private constructor();
  /** Frames that got no answer: replaced by newer ones, or lost with a connection. */
  readonly dropped: number;
  /** How often the stream came back to its session. */
  readonly resumes: number;
  readonly token: string | null;
  /** The connection is open. */
  readonly ready: boolean;
  /** Whether a frame that is pushed now is not in another's way: ask before you encode one. */
  readonly room: boolean;
  /** Send a frame when there is room; until then it waits, in place of an older one. */
  push(image: EncodedImage, frame?: F): void;
  /** Change what is answered from now on. */
  configure(options: FollowOptions): void;
  /** Forget all faces, from the next frame on. */
  reset(): void;
  /** Break the connection, to see what happens then. */
  cut(): void;
  end(): void;
}

export class AtpnError extends Error {
  constructor(
    code: string,
    detail: string,
    more?: { status?: number | null; retryAfterS?: number | null; cause?: unknown },
  );
  /** Stable: the service's, or connection_failed, timed_out, bad_answer. */
  readonly code: string;
  /** HTTP status, where there was one. */
  readonly status: number | null;
  /** What the service asked to wait. */
  readonly retryAfterS: number | null;
}

export interface VideoFeedOptions {
  /** Gets the frames that are shown while there is no connection. */
  away?(frame: HTMLCanvasElement): void;
  /** Pixels of a sent frame's longer side; 640 by default. */
  side?: number;
  /** Of JPEG, 0 to 1; 0.82 by default. */
  quality?: number;
}

/**
 * Sends what a video shows whenever the stream has room. The `frame` of an answer is a canvas
 * with the picture that was sent; it is used again three frames later.
 */
export class VideoFeed {
  constructor(video: HTMLVideoElement, stream: Stream<HTMLCanvasElement>, options?: VideoFeedOptions);
  /** Frames that came while others were under way. */
  readonly skipped: number;
  end(): void;
}

/** Calls `each` for every frame that the video shows, until the returned function is called. */
export function everyFrame(video: HTMLVideoElement, each: () => void): () => void;

/** A picture on a canvas, for `drawFaces`; sizes are CSS pixels. */
export interface View {
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
  scale: number;
  place(point: Point): Point;
}

/**
 * The picture as large as the canvas allows, in its middle. `size` is the answer's `image`.
 * null while the canvas, which must be part of the page, has no size.
 */
export function drawPicture(
  canvas: HTMLCanvasElement,
  picture: CanvasImageSource,
  size: Size,
  mirrored?: boolean,
): View | null;

/** The picture and the faces of its answer: `drawPicture`, then `drawFaces`. */
export function drawAnswer(
  canvas: HTMLCanvasElement,
  picture: CanvasImageSource,
  answer: Answer | Answer<PosedFace> | FrameAnswer,
  options?: { mirrored?: boolean; chosen?: Face | PosedFace | TrackedFace | null },
): void;

/** Points, lines, boxes and head axes; if one face is chosen, the others step back. */
export function drawFaces(
  view: View,
  faces: (Face | PosedFace | TrackedFace)[],
  chosen?: Face | PosedFace | TrackedFace | null,
): void;
