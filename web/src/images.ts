// Pictures on their way to the model: made small enough to keep and to send, turned by their EXIF, stripped of it.

export const MAX_IMAGES = 4;
const MAX_FILE_BYTES = 20 * 1024 * 1024;
const MAX_SIDE_PX = 896; // four times what the built-in model sees; larger models gain, storage does not suffer
const LOOKS_LIKE_A_PICTURE = /\.(jpe?g|png|webp|gif|heic|heif|bmp|tiff?|avif)$/i;

export class PictureError extends Error {
  constructor(
    readonly reason: "notAPicture" | "tooLarge",
    readonly fileName: string,
  ) {
    super(reason);
  }
}

/** A data URL of the picture in `file`. */
export async function toDataUrl(file: File): Promise<string> {
  const isPicture = file.type.startsWith("image/") || LOOKS_LIKE_A_PICTURE.test(file.name);
  if (!isPicture || file.type === "image/svg+xml") throw new PictureError("notAPicture", file.name);
  if (file.size > MAX_FILE_BYTES) throw new PictureError("tooLarge", file.name);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    // The browser cannot read it (HEIC, often); the server may. Anything else it answers with a clear error.
    if (/hei[cf]/i.test(file.type + file.name)) return asIs(file, "image/heic");
    throw new PictureError("notAPicture", file.name);
  }
  const scale = Math.min(1, MAX_SIDE_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d")!;
  context.fillStyle = "#fff"; // what is transparent is seen on white
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.toDataURL("image/jpeg", 0.88);
}

function asIs(file: File, mediaType: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).replace(/^data:[^;,]*/, `data:${mediaType}`));
    reader.onerror = () => reject(new PictureError("notAPicture", file.name));
    reader.readAsDataURL(file);
  });
}

/** Whether the browser can show a data URL as a thumbnail. */
export const canShow = (url: string) => !url.startsWith("data:image/heic");
