// Draws a picture and the faces found in it. Sizes are CSS pixels; canvases follow the screen's density.

import { CONTOURS, COUNT, PUPILS, noseTip } from "./landmarks.js";

const LINE = "#40e0d0";
const POINT = "#ffffff";
const UNDER = "rgb(0 20 18 / 0.45)";
// As the service draws them: red forward out of the nose, green down, blue to the image's right.
export const AXES = [
  { direction: [1, 0, 0], colour: "#2f7dff" },
  { direction: [0, 1, 0], colour: "#2fc75a" },
  { direction: [0, 0, -1], colour: "#ff4a3d" },
];

// The canvas's context in CSS pixels, cleared, and its size.
export function prepared(canvas) {
  const density = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const [w, h] = [Math.round(width * density), Math.round(height * density)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  context.lineCap = context.lineJoin = "round";
  return { context, width, height };
}

// The picture and the faces of its answer.
export function drawAnswer(canvas, picture, answer, { mirrored = false, chosen = null } = {}) {
  const view = drawPicture(canvas, picture, answer.image, mirrored);
  if (view) drawFaces(view, answer.faces, chosen);
}

// The picture as large as the canvas allows, in its middle, mirrored or not; `size` is that of the
// image that the service saw. Returns the view for `drawFaces`, or null while the canvas has no size.
export function drawPicture(canvas, picture, size, mirrored = false) {
  const { context, width, height } = prepared(canvas);
  if (!width || !height) return null;
  const scale = Math.min(width / size.width, height / size.height);
  const left = (width - scale * size.width) / 2;
  const top = (height - scale * size.height) / 2;
  context.save();
  if (mirrored) {
    context.translate(width, 0);
    context.scale(-1, 1);
  }
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, left, top, scale * size.width, scale * size.height);
  context.restore();
  const place = ([x, y]) => [mirrored ? width - left - scale * x : left + scale * x, top + scale * y];
  return { context, width, height, scale, place };
}

// All faces of an answer, on a picture that was drawn; the chosen one stands out.
export function drawFaces(view, faces, chosen = null) {
  for (const face of faces) {
    const points = face.smoothed ?? face.landmarks;
    const dim = chosen && face !== chosen;
    view.context.globalAlpha = dim ? 0.55 : 1;
    if (face.box) drawBox(view, face);
    if (points) drawLandmarks(view, face, points);
    if (face.pose) drawAxes(view, face, points ? noseTip(points) : middle(face));
    view.context.globalAlpha = 1;
  }
}

const middle = ({ box }) => [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
const extent = ({ box }) => Math.max(box[2] - box[0], box[3] - box[1]);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// Lines and pupils where there are all 98 points, else dots alone.
function drawLandmarks({ context, scale, place }, face, landmarks) {
  const points = landmarks.map(place);
  const size = scale * extent(face);
  const whole = points.length === COUNT;
  if (whole) drawContours(context, points, clamp(size / 190, 0.9, 2.4));
  const radius = clamp(size / 150, 0.8, 2.6);
  context.fillStyle = POINT;
  for (const point of points) disc(context, point, radius);
  for (const index of whole ? PUPILS : []) {
    context.fillStyle = UNDER;
    disc(context, points[index], 2 * radius + 1.2);
    context.fillStyle = LINE;
    disc(context, points[index], 2 * radius);
  }
}

function drawContours(context, points, width) {
  const path = new Path2D();
  for (const [first, last, closed] of CONTOURS) {
    points.slice(first, last).forEach(([x, y], i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
    if (closed) path.closePath();
  }
  outline(context, path, LINE, width, 1.6);
}

// A line with a darker one under it, to be seen on any picture.
function outline(context, path, colour, width, more) {
  context.strokeStyle = UNDER;
  context.lineWidth = width + more;
  context.stroke(path);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}

export function disc(context, [x, y], radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

// Three axes of equal length in space, seen without perspective, the nearest drawn last.
function drawAxes({ context, scale, place }, face, origin) {
  const length = 0.5 * extent(face);
  const width = clamp((scale * extent(face)) / 75, 2, 6);
  for (const { turned, colour } of turnedAxes(face.pose.rotation)) {
    const end = [origin[0] + length * turned[0], origin[1] + length * turned[1]];
    drawAxis(context, place(origin), place(end), colour, width);
  }
}

export function turnedAxes(rotation) {
  return AXES.map(({ direction, colour }) => ({ turned: turn(rotation, direction), colour })).sort(
    (a, b) => b.turned[2] - a.turned[2],
  );
}

export function turn(rotation, [x, y, z]) {
  return rotation.map(([a, b, c]) => a * x + b * y + c * z);
}

export function drawAxis(context, from, to, colour, width) {
  const path = new Path2D();
  path.moveTo(...from);
  path.lineTo(...to);
  outline(context, path, colour, width, 2);
}

// Corners instead of a frame, and who it is.
function drawBox({ context, width, place }, face) {
  const [x0, y0, x1, y1] = face.box;
  const [a, b] = [place([x0, y0]), place([x1, y1])];
  const [left, right] = [Math.min(a[0], b[0]) - 8, Math.max(a[0], b[0]) + 8];
  const [top, bottom] = [a[1] - 8, b[1] + 8];
  const arm = clamp((right - left) / 7, 6, 26);
  const path = new Path2D();
  for (const [x, y, dx, dy] of [[left, top, 1, 1], [right, top, -1, 1], [right, bottom, -1, -1], [left, bottom, 1, -1]]) {
    path.moveTo(x + dx * arm, y);
    path.lineTo(x, y);
    path.lineTo(x, y + dy * arm);
  }
  outline(context, path, POINT, 1.75, 2.25);
  drawLabel(context, nameOf(face), left, top - 8, width);
}

export function nameOf(face) {
  const sure = `${Math.round(100 * face.confidence)} %`;
  return face.track_id === undefined ? sure : `Face ${face.track_id} · ${sure}`;
}

function drawLabel(context, text, x, y, width) {
  context.font = `600 12px ${getComputedStyle(context.canvas).fontFamily}`;
  const length = context.measureText(text).width + 16;
  const left = clamp(x, 6, Math.max(6, width - length - 6));
  const bottom = Math.max(y, 28);
  context.fillStyle = "rgb(10 16 15 / 0.72)";
  context.beginPath();
  context.roundRect(left, bottom - 22, length, 22, 6);
  context.fill();
  context.fillStyle = "#fff";
  context.textBaseline = "middle";
  context.fillText(text, left + 8, bottom - 10.5);
}
