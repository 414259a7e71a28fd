// A worker: pictures in, JPEGs out. On the page's own thread browsers encode only when idle.

// Where that fails it answers null: the page then encodes by itself.
onmessage = async ({ data }) => postMessage(await encoded(data).catch(() => null));

async function encoded({ picture, width, height, quality }) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0, width, height);
  picture.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality });
}
