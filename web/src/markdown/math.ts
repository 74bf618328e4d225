// The maths part, loaded when the first formula is met: TeX to MathML, which browsers draw by themselves.

import temml from "temml";
import { safeMathMl } from "./html";

const MAX_TEX_CHARS = 4000;
// The page's policy forbids inline styles, and says so each time it meets one. Quotes in texts are escaped.
const INLINE_STYLES = / style="[^"]*"/g;

/** Safe MathML, or null where the TeX cannot be read; it is then shown as it was written. */
export function mathMl(tex: string, isBlock: boolean): unknown {
  if (tex.length > MAX_TEX_CHARS) return null;
  try {
    const options = { displayMode: isBlock, throwOnError: true, trust: false, maxSize: [10, 100] as [number, number] };
    return safeMathMl(temml.renderToString(tex, options).replace(INLINE_STYLES, ""));
  } catch {
    return null;
  }
}
