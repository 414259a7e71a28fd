// The client of ATPN, face landmarks, head pose and tracking: for browsers and Node.

export { Client } from "./client.js";
export { drawAnswer, drawFaces, drawPicture } from "./drawing.js";
export { AtpnError } from "./errors.js";
export { Stream } from "./stream.js";
export { VideoFeed, everyFrame } from "./video.js";
