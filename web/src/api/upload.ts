// Sending one picture, with its progress. fetch tells no upload progress, so this is an XMLHttpRequest.

import { ApiError, failureFrom } from "./client";
import type { Attachment } from "./types";

/** Store a picture; `onProgress` gets what has been sent, 0 to 1. */
export function uploadPicture(
  picture: Blob,
  name: string,
  onProgress: (sent: number) => void,
  signal: AbortSignal,
): Promise<Attachment> {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest();
    sender.open("POST", `/api/attachments?name=${encodeURIComponent(name)}`);
    sender.setRequestHeader("Content-Type", picture.type || "application/octet-stream");
    sender.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    sender.onerror = () => reject(new ApiError("offline"));
    sender.onabort = () => reject(new ApiError("interrupted"));
    sender.onload = () => {
      if (sender.status >= 200 && sender.status < 300) resolve(JSON.parse(sender.responseText) as Attachment);
      else reject(failureFrom(sender.status, sender.responseText, sender.getResponseHeader("retry-after")));
    };
    signal.addEventListener("abort", () => sender.abort());
    sender.send(picture);
  });
}
