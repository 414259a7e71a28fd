// One photo: shown at once, sent, and shown with its faces.

import { stage } from "./dom.js";
import { busy, note, pill, tell } from "./messages.js";
import { client, explained } from "./service.js";
import { Source } from "./source.js";

export async function openPhoto(page, file) {
  const picture = await createImageBitmap(file).catch(() => null);
  if (picture) await ask(page, file, picture);
  else tell("This is not a photo or video.", `${file.name || "The file"} cannot be read as one.`);
}

async function ask(page, file, picture) {
  const photo = new Source("photo", file.name || "photo.jpg", file.type);
  photo.picture = picture;
  photo.size = { width: picture.width, height: picture.height };
  page.begin(photo);
  busy("Looking for faces…");
  const started = performance.now();
  try {
    const answer = await client().align(file, { pose: true, signals: true });
    if (page.source !== photo) return;
    photo.answer = answer;
    photo.size = answer.image;
    photo.trips = [performance.now() - started];
    answered(page, photo);
  } catch (error) {
    if (page.source !== photo) return;
    pill("offline", "no answer");
    if (error.code === "unauthorized") page.key.refused(() => ask(page, file, picture));
    else tell(...explained(error), ["Try again", () => ask(page, file, picture)]);
  } finally {
    if (page.source === photo) busy(null);
  }
}

function answered(page, photo) {
  const count = photo.faces.length;
  note(count === 0 ? "No face found" : count === 1 ? "One face found" : `${count} faces found`);
  if (count) pill("found", count === 1 ? "1 face" : `${count} faces`);
  else {
    pill("no face", "no face");
    tell("No face in this picture.", "It should be larger than a thumbnail and look roughly this way.");
  }
  stage.dataset.state = count ? "detected" : "lost";
  page.show();
  page.write();
}
