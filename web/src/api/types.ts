// What goes over the wire between the page and /api, /v1/status and /v1/memory.

export type Language = "en" | "zh";
export type Theme = "light" | "dark";
export type Role = "admin" | "user";

export interface Session {
  needs_key: boolean;
  signed_in: boolean;
  name: string | null;
  role: Role | null;
  encrypted: boolean;
  version: string;
  voice: boolean; // false: switched off
}

export interface Conversation {
  id: string;
  title: string;
  created_at: number; // seconds since the epoch
  updated_at: number;
  num_messages: number;
  leaf: string | null;
  model: string | null; // null: as the settings say
}

export interface Attachment {
  id: string;
  media_type: string;
  bytes: number;
  name?: string | null;
}

export interface Message {
  id: string;
  parent_id: string | null;
  role: "user" | "assistant";
  text: string;
  attachments: Attachment[];
  notices: string[];
  finish_reason: string | null;
  error: string | null;
  model: string | null;
  usage: { prompt_tokens: number; completion_tokens: number } | null;
  pictures: PaintedPicture[];
  created_at: number;
}

/** A picture that was painted as an answer, or in it; ids are of attachments. */
export interface PaintedPicture {
  id: string;
  prompt: string;
  model: string;
  seed: number;
  width: number;
  height: number;
  heat_maps: { word: string; id: string }[];
}

export interface GalleryPicture extends PaintedPicture {
  conversation_id: string;
  message_id: string;
  created_at: number;
}

/** How the picture of an answer is painted. */
export interface PaintWish {
  wanted: boolean; // whatever the model would answer
  model?: string;
  size?: string;
  seed?: number;
  heat_maps?: boolean;
}

export type StageName = "sketch" | "middle" | "final";

export interface Page<Item> {
  data: Item[];
  next: string | null;
}

export interface Settings {
  language: Language | null;
  theme: Theme | null;
  system_prompt: string;
  temperature: number | null;
  max_tokens: number | null;
  show_tour: boolean;
  model: string | null; // of conversations that name none
}

export interface Limits {
  requests_per_minute: number | null;
  max_parallel: number | null;
}

export interface KeyEntry {
  id: string;
  name: string;
  role: Role;
  created_at: number;
  last_used_at: number | null;
  limits: Limits;
}

export interface DataFigures {
  conversations: number;
  messages: number;
  attachments: number;
  responses: number;
  bytes: number;
  encrypted: boolean;
  retention_days: number | null;
  folder: string | null;
}

export interface ServedModel {
  id: string;
  tasks: string[];
  num_params: number;
  weight_bytes: number;
  context_len: number;
  licence: string;
  names?: string[]; // others that it answers to
  loaded?: boolean; // false: the first question waits until it is
  upstream?: string | null; // the server that runs it, where it is another
  leaves_machine?: boolean; // what is asked may go to another machine
}

export interface Status {
  ready: boolean;
  version: string;
  device: string;
  dtype: string;
  models: ServedModel[];
  resident_bytes: number;
  num_running: number;
  num_waiting: number;
  max_batch_size: number;
  notices: string[];
  process_bytes?: number | null;
  tokens_per_s?: number | null;
  max_queue?: number | null;
}

export interface MemoryResident {
  name: string;
  kind: "weights" | "cache";
  bytes: number;
  device_bytes: number; // of them, on the device
  place: "device" | "host" | "disk"; // of most of it
  pinned: boolean;
  reload_s: number;
}

export interface Memory {
  ready: boolean;
  device: string;
  budget_bytes: number;
  used_bytes: number;
  free_bytes: number;
  residents: MemoryResident[];
  reservations: { name: string; shape: string; bytes: number; pinned: boolean }[];
  waiting: { name: string; bytes: number; waited_s: number }[];
  notices: string[];
}

export type ModelJob = "chat" | "vision" | "paint" | "listen" | "speak" | "detect" | "embed";

/** One commit of an open model on the server's disk. */
export interface ModelCopy {
  revision: string;
  bytes: number;
  files: number;
  licence: string;
  pulled_at: string;
  verified_at: number | null;
  problems: string[];
  folder: string | null;
}

export interface OpenModel {
  id: string; // what requests name it
  repo: string;
  job: ModelJob | null;
  licence: string;
  commercial: boolean | null; // null: it depends, or is not known
  gated: boolean;
  num_params: number | null;
  download_bytes: number | null;
  memory_bytes: Record<string, number>; // of the weights, by precision
  fits: string | null;
  lacking_bytes: number | null;
  notes: Partial<Record<Language, string>>;
  runs: boolean; // in this version
  served: boolean; // can be asked for now
  copies: ModelCopy[];
  broken_off: { revision: string; total_bytes: number; here_bytes: number }[];
}

export interface OpenModels {
  data: OpenModel[];
  free_bytes: number;
  memory_bytes: number | null;
  hub: string | null;
  has_token: boolean;
  is_admin: boolean;
  pull_refusal: "admin_only" | "pull_not_allowed" | "offline" | null;
  pull_refusal_reason: string | null;
}

/** Work on the files of a model. */
export interface Job {
  id: string;
  repo: string;
  kind: "pull" | "verify";
  state: "waiting" | "running" | "checking" | "done" | "failed" | "cancelled";
  total_bytes: number;
  here_bytes: number;
  bytes_per_s: number;
  remaining_s: number | null;
  file: string | null;
  num_parts: number;
  notes: string[];
  error: { message: string; code: string | null } | null;
}
