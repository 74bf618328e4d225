// Pictures on their way to the server: turned by their EXIF, stripped of it, and not larger than a model can use.

export const MAX_PICTURES = 4;
export const MAX_FILE_BYTES = 20 * 1024 * 1024;
const MAX_SIDE_PX = 1568; // what large open models look at; the built-in one sees less
const LOOKS_LIKE_A_PICTURE = /\.(jpe?g|png|webp|gif|hei[cf]|bmp|tiff?|avif)$/i;
const HEIC = /hei[cf]/i;

export class PictureError extends Error {
  constructor(
    readonly reason: "notAPicture" | "tooLarge",
    readonly fileName: string,
  ) {
    super(reason);
  }
}

export interface Prepared {
  blob: Blob;
  canShow: boolean; // whether this browser can draw it
}

/** The picture in `file`, ready to be sent. */
export async function prepare(file: File): Promise<Prepared> {
  const isPicture = file.type.startsWith("image/") || LOOKS_LIKE_A_PICTURE.test(file.name);
  if (!isPicture || file.type === "image/svg+xml") throw new PictureError("notAPicture", file.name);
  if (file.size > MAX_FILE_BYTES) throw new PictureError("tooLarge", file.name);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    // The browser cannot read it. HEIC the server can; anything else would be refused there as well.
    if (HEIC.test(file.type + file.name)) return { blob: new Blob([file], { type: "image/heic" }), canShow: false };
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
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
  if (!blob) throw new PictureError("notAPicture", file.name);
  return { blob, canShow: true };
}

/** Whether browsers in general can draw a stored picture. */
export const canDraw = (mediaType: string) => !HEIC.test(mediaType);
