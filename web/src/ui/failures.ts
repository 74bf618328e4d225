// What to say about a failure, in the reader's language; the server's own words stand behind it as a detail.

import type { Words } from "../i18n";
import { en } from "../i18n/en";
import { failureOf, type Failure } from "../state/thread";

const PICTURE = /image|picture|photo/i;
const PICTURE_SIZE = /pixels|on a side|too large/i;
const TOO_LONG = /context|too long|tokens/i;

const WORD_OF_CODE: Record<string, keyof Words> = {
  overloaded: "errorBusy",
  rate_limit_exceeded: "errorRateLimit",
  deadline_exceeded: "errorDeadline",
  cancelled: "errorStopping",
  context_length_exceeded: "errorTooLong",
  too_large: "errorTooLarge",
  invalid_api_key: "errorKey",
  admin_only: "errorAdminOnly",
  model_not_found: "errorModelGone",
  model_unavailable: "errorModelDown",
  backend_unavailable: "errorModelDown",
  model_unknown: "errorModelUnknown",
  model_gated: "errorModelGated",
  model_unsafe: "errorModelUnsafe",
  model_busy: "errorModelBusy",
  model_in_use: "errorModelInUse",
  pull_not_allowed: "errorPullNotAllowed",
  offline: "errorHubOffline",
  hub_unavailable: "errorHub",
  wrong_hash: "errorWrongHash",
  disk_full: "errorDiskFull",
  not_implemented: "errorNoVoice",
  store_unavailable: "errorStore",
};

export function wordsOf(failure: Failure, t: Words): string {
  const { kind, code, message } = failure;
  if (code === "invalid_image") return PICTURE_SIZE.test(message) ? t.errorPictureLarge : t.errorPicture;
  const word = code ? WORD_OF_CODE[code] : undefined;
  if (word) return t[word];
  switch (kind) {
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
      if (PICTURE.test(message)) return t.errorPicture;
      if (TOO_LONG.test(message)) return t.errorTooLong;
      return t === en ? message : t.errorRefused;
  }
}

/** The server's words, where ours say less. */
export function detailOf(failure: Failure, t: Words): string | null {
  return failure.message && failure.message !== wordsOf(failure, t) ? failure.message : null;
}

/** The words for an error of a call; anything but an `ApiError` is a bug and goes on. */
export function wordsOfError(error: unknown, t: Words): string {
  const failure = failureOf(error);
  return failure.kind === "refused" && !failure.code && t === en ? failure.message : wordsOf(failure, t);
}
