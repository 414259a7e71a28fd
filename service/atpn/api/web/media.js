// Opens a webcam or a video file in a <video>, and closes it.

export class NotPlayable extends Error {}

export async function openWebcam(video) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new DOMException("needs https or localhost", "NotSupportedError");
  }
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: false,
    video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 720 } },
  });
  video.srcObject = stream;
  await video.play();
  return stream;
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

export function closeVideo(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.pause();
  if (video.src) URL.revokeObjectURL(video.src);
  video.srcObject = null;
  video.removeAttribute("src");
  video.load();
}
