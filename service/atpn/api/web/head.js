// The small head: a mask of facets, turned as the service says the head is turned.

import { disc, drawAxis, prepared, turn, turnedAxes } from "./atpn/drawing.js";
import { COUNT, FEATURES, NOSE_TIP, PUPILS } from "./atpn/landmarks.js";
import { FACETS, SHAPE } from "./mask.js";

const LIGHT = normalised([-0.45, -0.6, -0.75]);
export const STRAIGHT = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];

// The rotation of a head; the same convention as the service's: Rx(-pitch) Ry(yaw), degrees.
export function rotationOf(yaw, pitch) {
  const [a, b] = [(-pitch * Math.PI) / 180, (yaw * Math.PI) / 180];
  const [sa, ca, sb, cb] = [Math.sin(a), Math.cos(a), Math.sin(b), Math.cos(b)];
  return [[cb, 0, sb], [sa * sb, ca, -sa * cb], [-ca * sb, sa, ca * cb]];
}

export function drawHead(canvas, rotation, { mirrored = false, axes = true, faint = false } = {}) {
  const { context, width, height } = prepared(canvas);
  if (!width || !height) return;
  const colours = colouring(canvas);
  const unit = 0.6 * Math.min(height, width);
  const turned = SHAPE.map((point) => turn(rotation, point));
  const place = ([x, y]) => [width / 2 + (mirrored ? -x : x) * unit, height / 2 + (y + 0.14) * unit];
  context.globalAlpha = faint ? 0.35 : 1;
  context.lineWidth = 0.6;
  for (const { corners, shade } of facets(turned)) {
    const path = polygon(corners.map(place), true);
    context.fillStyle = context.strokeStyle = colours.shade(shade);
    context.fill(path);
    context.stroke(path);
    context.strokeStyle = colours.edge;
    context.stroke(path);
  }
  if (turn(rotation, [0, 0, -1])[2] < -0.15) drawFeatures(context, turned.map(place), unit, colours);
  if (axes) {
    const origin = turned[NOSE_TIP];
    for (const axis of turnedAxes(rotation)) {
      const end = [origin[0] + 0.42 * axis.turned[0], origin[1] + 0.42 * axis.turned[1]];
      drawAxis(context, place(origin), place(end), axis.colour, 2.5);
    }
  }
  context.globalAlpha = 1;
}

function drawFeatures(context, points, unit, colours) {
  context.strokeStyle = context.fillStyle = colours.line;
  context.lineWidth = Math.max(1, unit / 200);
  for (const [first, last, closed] of FEATURES) {
    context.stroke(polygon(points.slice(first, last), closed));
  }
  for (const index of PUPILS) disc(context, points[index], unit / 52);
  if (unit > 160) for (const point of points.slice(0, COUNT)) disc(context, point, unit / 130);
}

// What can be seen of the mask: far facets first, each with the light that falls on it, 0 to 1.
function facets(points) {
  return FACETS.map((indices) => {
    const corners = indices.map((i) => points[i]);
    const normal = normalised(cross(corners));
    const depth = corners[0][2] + corners[1][2] + corners[2][2];
    const light = normal[0] * LIGHT[0] + normal[1] * LIGHT[1] + normal[2] * LIGHT[2];
    const shade = normal[2] < 0 ? 0.5 + 0.5 * light : 0.12; // behind: the mask's inner side
    return { corners, depth, shade: Math.min(1, Math.max(0, shade)) };
  }).sort((a, b) => b.depth - a.depth);
}

function cross([a, b, c]) {
  const [u, v] = [b.map((x, i) => x - a[i]), c.map((x, i) => x - a[i])];
  return [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
}

function normalised(v) {
  const length = Math.hypot(...v) || 1;
  return v.map((x) => x / length);
}

function polygon(points, closed) {
  const path = new Path2D();
  points.forEach(([x, y], i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
  if (closed) path.closePath();
  return path;
}

// The theme's colours, read anew for each drawing: the reader may change the theme at any time.
function colouring(canvas) {
  const style = getComputedStyle(canvas);
  const read = (name) => style.getPropertyValue(name).trim();
  const [dark, light] = [rgb(read("--mask-dark")), rgb(read("--mask-light"))];
  return {
    shade: (t) => `rgb(${dark.map((d, i) => Math.round(d + t * (light[i] - d))).join(" ")})`,
    edge: read("--mask-edge"),
    line: read("--accent"),
  };
}

function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}
