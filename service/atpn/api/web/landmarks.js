// Which of WFLW's 98 points is what.

// Lines through the points: first, last + 1, closed.
export const JAW = [0, 33, false];
export const NOSE_BRIDGE = [51, 55, false];
export const FEATURES = [ // brows, below the nose, eyes, outer and inner lips
  [33, 42, true], [42, 51, true], [55, 60, false], [60, 68, true], [68, 76, true], [76, 88, true], [88, 96, true],
];
export const COUNT = 98;
export const PUPILS = [96, 97];
export const NOSE_TIP = 54;
