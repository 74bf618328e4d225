// Conversations by when they were last written to.

import type { Conversation, Language } from "../api/types";
import type { Words } from "../i18n";
import { month } from "../ui/format";

const DAY_S = 86_400;

export interface Group {
  title: string;
  items: Conversation[];
}

export function groupsOf(items: Conversation[], t: Words, language: Language): Group[] {
  const midnight = new Date().setHours(0, 0, 0, 0) / 1000;
  const titleOf = (at: number) => {
    if (at >= midnight) return t.today;
    if (at >= midnight - DAY_S) return t.yesterday;
    if (at >= midnight - 7 * DAY_S) return t.lastWeek;
    return at >= midnight - 30 * DAY_S ? t.lastMonth : month(at, language);
  };
  const groups: Group[] = [];
  for (const one of items) {
    const title = titleOf(one.updated_at);
    const last = groups.at(-1);
    if (last?.title === title) last.items.push(one);
    else groups.push({ title, items: [one] });
  }
  return groups;
}
