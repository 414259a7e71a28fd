// What the client takes for an image, and for several.

export function isImage(given) {
  return given instanceof Blob || typeof given?.byteLength === "number";
}

// The content type to tell: Blobs of stores and disks have all kinds, and the service looks for itself.
export function contentType(type) {
  return /^image\/(jpeg|png|webp|bmp)$/.test(type) ? type : "application/octet-stream";
}

// The image as it is; a path or a number would be sent as such.
export function anImage(given) {
  if (isImage(given)) return given;
  throw new TypeError(`an image is a Blob, an ArrayBuffer or a Uint8Array, not ${kindOf(given)}`);
}

// The images as they are; one alone, whose bytes would be taken for images, is refused.
export function several(given) {
  const listed = given?.[Symbol.iterator] ?? given?.[Symbol.asyncIterator];
  if (listed && typeof given !== "string" && !isImage(given)) return given;
  throw new TypeError(
    `a list of images is expected, not ${kindOf(given)}; for a video file see VideoFeed in the README`,
  );
}

function kindOf(given) {
  return given?.constructor?.name ?? String(given);
}
