// What is open: a picture, what the service says of it, and which face was chosen.

export const keyOf = (face, index) => face.track_id ?? index + 1;

export class Source {
  constructor(mode, name, type, mirrored = false) {
    this.mode = mode; // photo, video or webcam
    this.name = name;
    this.type = type;
    this.mirrored = mirrored;
    this.answer = null;
    this.picture = null; // what can be drawn
    this.size = null; // of the picture, in the pixels that the answer counts in
    this.trips = []; // milliseconds of the last calls
    this.chosenKey = null;
  }

  get faces() {
    return this.answer?.faces ?? [];
  }

  get chosen() {
    return this.faces.find((face, index) => keyOf(face, index) === this.chosenKey) ?? this.faces[0] ?? null;
  }

  // Frames a second, and frames left out; a photo has none.
  get frameRate() {
    return null;
  }

  get dropped() {
    return null;
  }

  end() {}
}
