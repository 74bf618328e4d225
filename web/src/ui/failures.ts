// What to say about a failure, in the reader's language; the server's own words stand behind it as a detail.

import { ApiError } from "../api/client";
import type { Words } from "../i18n";
import type { Failure } from "../state/thread";

const PICTURE = /image|picture|photo/i;
const TOO_LONG = /context|too long|tokens/i;

export function wordsOf(failure: Failure, t: Words): string {
  switch (failure.kind) {
    case "offline":
      return t.errorOffline;
    case "interrupted":
      return t.errorInterrupted;
    case "key":
      return t.errorKey;
    case "busy":
      return t.errorBusy;
    case "missing":
      return t.errorMissing;
    case "refused":
      if (PICTURE.test(failure.message)) return t.errorPicture;
      return TOO_LONG.test(failure.message) ? t.errorTooLong : failure.message;
  }
}

/** The server's words, where ours say less. */
export function detailOf(failure: Failure, t: Words): string | null {
  return failure.message && failure.message !== wordsOf(failure, t) ? failure.message : null;
}

/** The words for an error of a call; anything but an `ApiError` is a bug and goes on. */
export function wordsOfError(error: unknown, t: Words): string {
  if (!(error instanceof ApiError)) throw error;
  return error.kind === "refused" ? error.message : wordsOf({ kind: error.kind, message: error.message, retryAt: null }, t);
}
