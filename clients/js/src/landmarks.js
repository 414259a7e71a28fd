// Which of the landmarks is what: WFLW's 98 points, and 68 (300W) or 5 where those were asked for.

// Lines through the 98 points: first, last + 1, closed.
export const JAW = [0, 33, false];
export const NOSE_BRIDGE = [51, 55, false];
export const FEATURES = [ // brows, below the nose, eyes, outer and inner lips
  [33, 42, true], [42, 51, true], [55, 60, false], [60, 68, true], [68, 76, true], [76, 88, true], [88, 96, true],
];
export const CONTOURS = [JAW, NOSE_BRIDGE, ...FEATURES];
export const COUNT = 98;
export const PUPILS = [96, 97];
export const NOSE_TIP = 54;

// The nose tip of 98, 68 or 5 points.
export function noseTip(points) {
  return points[{ 98: NOSE_TIP, 68: 30, 5: 2 }[points.length]];
}
