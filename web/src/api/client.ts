// Requests to this page's own server. Who asks is told by the session cookie; no key is kept here.

/** `kind` says what the page can do about it. */
export type FailureKind = "key" | "offline" | "interrupted" | "busy" | "missing" | "refused";

export class ApiError extends Error {
  constructor(
    readonly kind: FailureKind,
    message = "",
    readonly retryAfterS: number | null = null,
    readonly code: string | null = null,
  ) {
    super(message);
  }
}

const KIND_OF_STATUS: Record<number, FailureKind> = { 401: "key", 404: "missing", 429: "busy", 503: "busy" };

/** Refusals that another try will not mend, and that are not about the conversation, whatever their status. */
const REFUSED_CODES = ["model_not_found", "model_unknown", "model_unsafe", "no_store", "no_keeper"];

/** The kind of failure that an error body tells of. */
export function kindOf(status: number, code: string | null): FailureKind {
  return code !== null && REFUSED_CODES.includes(code) ? "refused" : (KIND_OF_STATUS[status] ?? "refused");
}

let askForKey: () => void = () => undefined;

/** Call this whenever a reply says that a key is needed. */
export function whenKeyIsNeeded(ask: () => void): void {
  askForKey = ask;
}

/** The failure that a reply tells of. */
export function failureFrom(status: number, body: string, retryAfter: string | null): ApiError {
  let detail: { message?: string; code?: string | null } = {};
  try {
    detail = (JSON.parse(body) as { error?: typeof detail }).error ?? {};
  } catch {
    // Something between us and the server answered in its own words.
  }
  if (status === 401) askForKey();
  const seconds = Number(retryAfter ?? NaN);
  return new ApiError(
    kindOf(status, detail.code ?? null),
    detail.message ?? `HTTP ${status}`,
    Number.isFinite(seconds) ? seconds : null,
    detail.code ?? (status === 413 ? "too_large" : null),
  );
}

/** Send a request; a body that is not a string goes as JSON. */
export async function request(method: string, path: string, body?: unknown, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      credentials: "same-origin",
      cache: "no-store",
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
      ...init,
    });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError("offline");
  }
  if (response.ok) return response;
  throw failureFrom(response.status, await response.text().catch(() => ""), response.headers.get("retry-after"));
}

export async function ask<Reply>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Reply> {
  const response = await request(method, path, body, signal ? { signal } : {});
  try {
    return (await response.json()) as Reply;
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("interrupted");
  }
}
