// What goes over the wire between the page and /api and /v1/status.

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
}

export interface Conversation {
  id: string;
  title: string;
  created_at: number; // seconds since the epoch
  updated_at: number;
  num_messages: number;
  leaf: string | null;
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
  created_at: number;
}

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
