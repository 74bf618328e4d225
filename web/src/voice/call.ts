// A spoken conversation with this page's own server. What is said is kept nowhere.

import { Store } from "../state/store";
import captureUrl from "./capture.worklet.ts?worker&url";
import { Player } from "./player";
import { loudness, toBase64 } from "./samples";

export type CallState = "connecting" | "listening" | "hearing" | "thinking" | "speaking" | "over";
export type CallProblem = "callInsecure" | "callNoMicrophone" | "callRefused" | "callOffline" | "callLacking";

export interface Said {
  id: string;
  role: "user" | "assistant";
  text: string;
}

interface View {
  state: CallState;
  said: Said[];
  problem: CallProblem | null;
  detail: string; // the server's own words about it
}

interface ServerEvent {
  type: string;
  item_id?: string;
  delta?: string;
  transcript?: string;
  response?: { status: string; status_details: { error?: { message: string } } | null };
  error?: { message: string; code: string | null };
}

const LACKING = ["no_listener", "no_speaker"];
const SHOWN = 100; // turns

export class VoiceCall {
  readonly view = new Store<View>({ state: "connecting", said: [], problem: null, detail: "" });
  /** How loud the microphone is and who answers, from 0 to 1. */
  readonly levels = new Store<{ mine: number; theirs: number }>({ mine: 0, theirs: 0 });
  #socket: WebSocket | null = null;
  #stream: MediaStream | null = null;
  #context: AudioContext | null = null;
  #player: Player | null = null;
  #words = ""; // whose sound has not come yet
  #interrupted: string | null = null; // the item of which more may be on its way
  #frame = 0;

  constructor(readonly model: string) {}

  async start(): Promise<void> {
    if (!isSecureContext || !navigator.mediaDevices) return this.#end("callInsecure");
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      });
    } catch {
      return this.#end("callNoMicrophone");
    }
    if (this.#isOver) return this.hangUp(); // the dialog was closed meanwhile
    const context = new AudioContext();
    this.#context = context;
    this.#player = new Player(
      context,
      (item, words) => this.#say(item, "assistant", words),
      () => this.#settle(),
    );
    try {
      await context.audioWorklet.addModule(captureUrl);
    } catch {
      return this.#end("callOffline"); // or the dialog was closed, with the context
    }
    if (this.#isOver) return;
    this.#connect();
    this.#draw();
  }

  hangUp(): void {
    this.#end(null);
  }

  /** What is being said is not to the point. */
  interrupt(): void {
    this.#send({ type: "response.cancel" });
    this.#fallSilent();
    this.#show("listening");
  }

  get #isOver(): boolean {
    return this.view.value.state === "over";
  }

  #connect(): void {
    const url = `${location.origin.replace(/^http/, "ws")}/v1/realtime?model=${encodeURIComponent(this.model)}`;
    const socket = new WebSocket(url, ["realtime"]);
    this.#socket = socket;
    socket.onmessage = (message) => this.#take(JSON.parse(message.data as string) as ServerEvent);
    socket.onclose = () => {
      if (!this.#isOver) this.#end(this.view.value.state === "connecting" ? "callRefused" : "callOffline");
    };
  }

  #take(event: ServerEvent): void {
    switch (event.type) {
      case "session.created": {
        const input = { transcription: {}, turn_detection: { type: "semantic_vad" } };
        this.#send({ type: "session.update", session: { audio: { input } } });
        return;
      }
      case "session.updated":
        return this.#listen();
      case "input_audio_buffer.speech_started":
        this.#fallSilent();
        return this.#show("hearing");
      case "input_audio_buffer.speech_stopped":
        return this.#show("thinking");
      case "conversation.item.input_audio_transcription.completed":
        if (event.transcript) this.#say(event.item_id!, "user", event.transcript);
        else this.#show("listening"); // a noise
        return;
      case "response.output_audio_transcript.delta":
        if (event.item_id === this.#interrupted) return;
        this.#words += event.delta!;
        return;
      case "response.output_audio.delta":
        if (event.item_id === this.#interrupted) return;
        this.#player!.play(event.item_id!, event.delta!, this.#words);
        this.#words = "";
        return this.#show("speaking");
      case "response.done": {
        const failure = event.response!.status_details?.error?.message;
        if (failure) this.view.set({ detail: failure });
        this.#words = "";
        return this.#settle();
      }
      case "error":
        return this.#fail(event.error!);
    }
  }

  #fail({ message, code }: { message: string; code: string | null }): void {
    if (code === "response_cancel_not_active") return; // it had just ended
    this.view.set({ detail: message });
    if (code !== null && LACKING.includes(code)) this.#end("callLacking");
    else if (this.view.value.state === "connecting") this.#end("callRefused");
    else this.#settle();
  }

  #listen(): void {
    if (this.view.value.state !== "connecting") return;
    const context = this.#context!;
    const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    capture.port.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => {
      this.levels.set({ mine: loudness(new Int16Array(data), 0x8000) });
      this.#send({ type: "input_audio_buffer.append", audio: toBase64(data) });
    };
    context.createMediaStreamSource(this.#stream!).connect(capture);
    this.#show("listening");
  }

  #send(event: object): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(event));
  }

  /** Who speaks is interrupted: the server is told what was heard of it. */
  #fallSilent(): void {
    const stopped = this.#player!.stop();
    if (!stopped) return;
    this.#words = "";
    this.#interrupted = stopped.item;
    this.#send({
      type: "conversation.item.truncate",
      item_id: stopped.item,
      content_index: 0,
      audio_end_ms: stopped.heardMs,
    });
  }

  #settle(): void {
    const { state } = this.view.value;
    if (!this.#player?.isPlaying && (state === "speaking" || state === "thinking")) this.#show("listening");
  }

  #show(state: CallState): void {
    if (!this.#isOver && state !== this.view.value.state) this.view.set({ state });
  }

  #say(id: string, role: Said["role"], text: string): void {
    const said = [...this.view.value.said];
    const place = said.findIndex((one) => one.id === id);
    if (place < 0) said.push({ id, role, text });
    else said[place] = { ...said[place]!, text: said[place]!.text + text };
    this.view.set({ said: said.slice(-SHOWN), detail: "" });
  }

  #draw(): void {
    if (this.#isOver) return;
    this.#player!.tick();
    const theirs = this.#player!.level;
    if (theirs !== this.levels.value.theirs) this.levels.set({ theirs });
    this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #end(problem: CallProblem | null): void {
    cancelAnimationFrame(this.#frame);
    this.view.set({ state: "over", problem: this.view.value.problem ?? problem });
    this.#socket?.close();
    this.#player?.stop();
    void this.#context?.close();
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#socket = this.#player = this.#context = this.#stream = null;
    this.levels.set({ mine: 0, theirs: 0 });
  }
}
