// Compiled, never run: what a program in TypeScript writes.

import { AtpnError, Client, VideoFeed, drawAnswer, drawFaces, drawPicture } from "atpn";
import type { EncodedImage, Face, FrameAnswer, Tracked } from "atpn";

export async function photograph(file: File): Promise<number | undefined> {
  const client = new Client("https://faces.example", { key: "k", timeoutMs: 3000 });
  try {
    const { faces, image } = await client.align(file, { points: 68, pose: true, boxes: [[1, 2, 3, 4]] });
    const first: Face | undefined = faces[0];
    return first?.pose?.yaw ?? image.width;
  } catch (error) {
    if (error instanceof AtpnError && error.code === "rate_limited") return error.retryAfterS ?? 1;
    throw error;
  }
}

export async function film(frames: AsyncIterable<Uint8Array>): Promise<FrameAnswer[]> {
  const answers: FrameAnswer[] = [];
  for await (const { answer, error } of new Client("http://localhost:8000").track(frames, { smoothing: true })) {
    if (error) console.warn(error.code);
    else answers.push(answer);
  }
  return answers;
}

export async function album(files: File[]): Promise<[string, number][]> {
  const results = await new Client("http://localhost:8000").batch(files, { points: 5, maxFaces: 1 });
  return results.map(({ image, answer, error }) => [image.name, error ? 0 : answer.faces.length]);
}

export function live(video: HTMLVideoElement, canvas: HTMLCanvasElement): () => void {
  const stream = new Client(location.origin).stream<HTMLCanvasElement>({
    answered({ answer, frame, tripMs }) {
      const signals = answer.faces[0]?.signals;
      console.log(signals?.left_eye.open?.toFixed(2), signals?.blinks.last?.length_s);
      const view = drawPicture(canvas, frame, answer.image, true);
      if (view) drawFaces(view, answer.faces, answer.faces[0]);
      drawAnswer(canvas, frame, answer, { mirrored: true });
      console.log(tripMs.toFixed(1), answer.faces.map((face) => face.track_id));
    },
    ended: (error) => console.error(error.code),
  });
  const feed = new VideoFeed(video, stream);
  return () => [feed, stream].forEach((part) => part.end());
}

export function mistakes(client: Client, image: EncodedImage, tracked: Tracked<EncodedImage>): void {
  // @ts-expect-error there are 98, 68 or 5 points
  void client.align(image, { points: 4 });
  // @ts-expect-error a photograph's face has not blinked
  void client.align(image, { signals: true }).then(({ faces }) => faces[0]?.signals?.blinks);
  // @ts-expect-error what is turned away is not told
  void client.align(image).then(({ faces }) => faces[0]?.signals?.smile.toFixed(1));
  // @ts-expect-error an answer may be an error
  console.log(tracked.answer.faces);
  // @ts-expect-error boxes are of one image
  void client.batch([image], { boxes: [[1, 2, 3, 4]] });
  // @ts-expect-error a photograph's face has no track
  void client.align(image).then(({ faces }) => faces[0]?.track_id);
}
