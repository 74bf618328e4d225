// Whether this server hears and speaks, as far as is known.

import type { Status } from "../api/types";
import { server } from "./session";

/** False only where it is known that no model here can. */
export function canDo(task: "listen" | "speak", status: Status | null = server.value.status): boolean {
  return !status?.ready || status.models.some((model) => model.tasks.includes(task));
}
