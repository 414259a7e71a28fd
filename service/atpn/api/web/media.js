// Opens a webcam or a video file in a <video>, and closes it.

export class NotPlayable extends Error {}

// `isWanted` says whether the webcam still is, when people have allowed it at last.
export async function openWebcam(video, isWanted) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new DOMException("needs https or localhost", "NotSupportedError");
  }
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: false,
    video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 720 } },
  });
  if (!isWanted()) {
    stopTracks(stream);
    return;
  }
  video.srcObject = stream;
  await video.play();
}

export async function openVideo(video, file) {
  const url = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => {
      video.onloadeddata = resolve;
      video.onerror = () => reject(new NotPlayable(file.name));
      video.src = url;
      video.load();
    });
    if (!video.videoWidth) throw new NotPlayable(file.name);
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error;
  } finally {
    video.onloadeddata = video.onerror = null;
  }
  await video.play();
}

function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}

export function closeVideo(video) {
  if (video.srcObject) stopTracks(video.srcObject);
  video.pause();
  if (video.src) URL.revokeObjectURL(video.src);
  video.srcObject = null;
  video.removeAttribute("src");
  video.load();
}
