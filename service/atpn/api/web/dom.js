// The page's elements by their ids.

export const $ = (id) => document.getElementById(id);
export const stage = $("stage");
export const video = $("video");
