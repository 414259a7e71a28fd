// What the page just did, for a terminal, Python and JavaScript; and answers as text to read.

import { contentType } from "./atpn/images.js";
import { ALIGN, BASE, hasKey } from "./service.js";

const shell = (text) => (/^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const quoted = (text) => JSON.stringify(text);

// `what` is {mode, name, type}.
export function snippets(what) {
  return what.mode === "photo" ? ofPhoto(what) : ofStream(what);
}

function curl(name, type) {
  const key = hasKey() ? ` \\\n  -H "Authorization: Bearer $ATPN_KEY"` : "";
  return `curl -s --data-binary @${shell(name)} -H 'Content-Type: ${contentType(type)}'${key} \\\n  '${ALIGN}'`;
}

function client() {
  const key = hasKey() ? `, key=os.environ["ATPN_KEY"]` : "";
  const imports = hasKey() ? "import os\n\n" : "";
  return [`${imports}from atpn import Client\n`, `Client(${quoted(BASE)}${key})`];
}

function ofPhoto({ name, type }) {
  const [imports, made] = client();
  const key = hasKey() ? `, Authorization: \`Bearer \${key}\`` : "";
  return {
    curl: curl(name, type),
    python: `${imports}
result = ${made}.align(${quoted(name)}, pose=True, signals=True)
for face in result.faces:
    print(face.confidence, face.pose.yaw, face.signals.smile, face.landmarks.shape)`,
    javascript: `const answer = await fetch(${quoted(ALIGN)}, {
  method: "POST",
  headers: { "Content-Type": file.type || "application/octet-stream"${key} },
  body: file, // a File or Blob, such as input.files[0]
});
const { faces } = await answer.json();
console.log(faces[0]?.pose, faces[0]?.signals, faces[0]?.landmarks);`,
  };
}

function ofStream({ mode, name }) {
  const [imports, made] = client();
  const from = mode === "webcam" ? "0" : quoted(name);
  const pace = mode === "webcam" ? "realtime=True" : "fps=video.get(cv2.CAP_PROP_FPS)";
  const options = hasKey() ? ", { key }" : "";
  return {
    curl: `# a stream is a WebSocket (see the other tabs); one frame of it:\n${curl("frame.jpg", "image/jpeg")}`,
    python: `import cv2
${imports}
video = cv2.VideoCapture(${from})


def frames():
    while (taken := video.read())[0]:
        yield cv2.cvtColor(taken[1], cv2.COLOR_BGR2RGB)


for frame in ${made}.track(frames(), signals=True, ${pace}):  # resumes by itself
    print(frame.state, [(face.track_id, face.signals.blinks.count) for face in frame.faces])`,
    javascript: `import { Client, VideoFeed, drawAnswer } from "atpn"; // clients/js

const stream = new Client(${quoted(BASE)}${options}).stream({ // resumes by itself
  answered({ answer, frame }) {
    console.log(answer.state, answer.faces.map((face) => [face.track_id, face.signals.blinks.count]));
    drawAnswer(document.querySelector("canvas"), frame, answer);
  },
}, { signals: true });
new VideoFeed(document.querySelector("video"), stream); // sends what it shows`,
  };
}

// JSON with one line for each list of numbers.
export function readable(value) {
  const flat = [];
  const marked = JSON.stringify(value, (_, item) => {
    if (!isFlat(item)) return item;
    flat.push(JSON.stringify(item).replaceAll(",", ", "));
    return `\u0001${flat.length - 1}\u0001`;
  }, 2);
  return marked.replace(/"\\u0001(\d+)\\u0001"/g, (_, index) => flat[index]);
}

function isFlat(item) {
  return Array.isArray(item) && item.length > 0 && item.flat().every((x) => typeof x === "number");
}
