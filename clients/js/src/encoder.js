// A worker: pictures in, JPEGs out. On the page's own thread browsers encode only when idle.

onmessage = async ({ data: { picture, width, height, quality } }) => {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0, width, height);
  picture.close();
  postMessage(await canvas.convertToBlob({ type: "image/jpeg", quality }));
};
