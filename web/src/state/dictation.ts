// Dictation: what the microphone hears goes to this page's own server and comes back as text for the message box.

import { transcribe } from "../api/voice";
import { composer, write } from "./composer";
import { loadDraft, saveDraft } from "./local";
import { Store } from "./store";
import { failureOf, type Failure } from "./thread";
import { canDo } from "./voice";

export type MicProblem =
  | "micInsecure"
  | "micUnsupported"
  | "micDenied"
  | "micMissing"
  | "micFailed"
  | "micSilence"
  | "micNoModel";

interface Dictation {
  state: "idle" | "asking" | "recording" | "writing";
  since: number | null; // milliseconds since the epoch
  problem: MicProblem | null;
  failure: Failure | null;
}

const IDLE: Dictation = { state: "idle", since: null, problem: null, failure: null };
const PROBLEM_OF_ERROR: Record<string, MicProblem> = {
  NotAllowedError: "micDenied",
  SecurityError: "micDenied",
  NotFoundError: "micMissing",
  OverconstrainedError: "micMissing",
};

export const dictation = new Store<Dictation>(IDLE);

let work: AbortController | null = null; // of the dictation under way
let recorder: MediaRecorder | null = null;

/** Why this browser cannot record here, if it cannot. */
function hindrance(): MicProblem | null {
  if (!isSecureContext) return "micInsecure";
  if (!navigator.mediaDevices?.getUserMedia || typeof MediaRecorder === "undefined") return "micUnsupported";
  return canDo("listen") ? null : "micNoModel";
}

export async function startDictation(): Promise<void> {
  if (dictation.value.state !== "idle") return;
  const problem = hindrance();
  if (problem) return dictation.set({ ...IDLE, problem });
  const mine = (work = new AbortController());
  dictation.set({ ...IDLE, state: "asking" });
  let stream: MediaStream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    if (!mine.signal.aborted) end({ problem: PROBLEM_OF_ERROR[(error as Error).name] ?? "micFailed" });
    return;
  }
  const release = () => stream.getTracks().forEach((track) => track.stop());
  if (mine.signal.aborted) return release();
  const parts: Blob[] = [];
  try {
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => event.data.size && parts.push(event.data);
    recorder.onstop = () => {
      release();
      if (!mine.signal.aborted) void writeDown(new Blob(parts, { type: recorder!.mimeType }), mine);
    };
    recorder.start();
  } catch {
    release();
    return end({ problem: "micFailed" });
  }
  mine.signal.addEventListener("abort", () => recorder?.state === "recording" && recorder.stop());
  dictation.set({ state: "recording", since: Date.now() });
}

/** End the recording; its text comes into the message box. */
export function stopDictation(): void {
  if (recorder?.state === "recording") recorder.stop();
}

/** Forget what was said; whether there was anything to forget. */
export function cancelDictation(): boolean {
  if (dictation.value.state === "idle") return false;
  work?.abort();
  end({});
  return true;
}

async function writeDown(recording: Blob, mine: AbortController): Promise<void> {
  const conversation = composer.value.conversation;
  dictation.set({ state: "writing", since: null });
  try {
    const said = await transcribe(recording, mine.signal);
    if (said) put(conversation, said);
    end(said ? {} : { problem: "micSilence" });
  } catch (error) {
    if (!mine.signal.aborted) end({ failure: failureOf(error) });
  }
}

function end(how: Partial<Dictation>): void {
  work = recorder = null;
  dictation.set({ ...IDLE, ...how });
}

/** Go on with the draft it was said for, which may not be the one on the screen any more. */
function put(conversation: string | null, said: string): void {
  if (composer.value.conversation === conversation) return write(joined(composer.value.text, said));
  const draft = loadDraft(conversation);
  saveDraft(conversation, { ...draft, text: joined(draft.text, said) });
}

/** Chinese and Japanese are written without spaces. */
function joined(before: string, said: string): string {
  const needsSpace = before && !/[\s\u3000-\u9fff\uff00-\uffef]$/.test(before);
  return before + (needsSpace ? " " : "") + said;
}
