// One turn: what was said, what it brought, how it ended.

import { memo } from "preact/compat";
import type { Attachment, PaintedPicture } from "../api/types";
import { useWords } from "../i18n";
import { Markdown } from "../markdown/Markdown";
import { Painted } from "../paint/Painted";
import { Painting } from "../paint/Painting";
import { server } from "../state/session";
import { useStore } from "../state/store";
import type { Entry, Failure } from "../state/thread";
import { CopyButton } from "../ui/CopyButton";
import { Again, Info } from "../ui/icons";
import { Asked } from "./Asked";
import { Branches } from "./Branches";
import { FailureBox } from "./Failure";
import { ReadAloudButton } from "./ReadAloud";

/** What can be done with messages; the same object for the life of a thread. */
export interface MessageActions {
  again(id: string): void;
  edit(id: string, text: string): void;
  discard(id: string): void;
  showBranch(id: string): void;
  view(attachment: Attachment): void;
  remix(picture: PaintedPicture): void;
}

export interface MessageProps {
  entry: Entry;
  siblings: string[];
  isLast: boolean;
  isIdle: boolean; // nothing is being answered in this conversation
  actions: MessageActions;
}

const isSame = (a: MessageProps, b: MessageProps) =>
  a.entry === b.entry &&
  a.isLast === b.isLast &&
  a.isIdle === b.isIdle &&
  a.actions === b.actions &&
  a.siblings.length === b.siblings.length &&
  a.siblings.every((id, index) => id === b.siblings[index]);

export const Message = memo(
  (props: MessageProps) => (props.entry.role === "user" ? <Asked {...props} /> : <Answered {...props} />),
  isSame,
);

/** A stored answer that failed says why in the server's words. */
function failureOf(entry: Entry): Failure | null {
  if (entry.failure) return entry.failure;
  if (entry.finish_reason !== "error") return null;
  return { kind: "refused", message: entry.error ?? "", retryAt: null };
}

function Answered({ entry, siblings, isLast, isIdle, actions }: MessageProps) {
  const t = useWords();
  const failure = failureOf(entry);
  const isWriting = entry.state === "writing";
  return (
    <article class="turn answered" aria-label={t.assistant} aria-busy={isWriting} data-id={entry.id}>
      {entry.notices.map((notice) => (
        <p class="notice" key={notice}>
          <Info />
          {notice}
        </p>
      ))}
      {entry.text ? <Markdown text={entry.text} isGrowing={isWriting} /> : null}
      {entry.pictures.map((picture) => (
        <Painted key={picture.id} picture={picture} onView={actions.view} onRemix={actions.remix} />
      ))}
      {entry.painting ? <Painting painting={entry.painting} /> : null}
      {isWriting && !entry.text && !entry.painting ? <Pending /> : null}
      {entry.finish_reason === "cancelled" ? <p class="ending">{t.stopped}</p> : null}
      {entry.finish_reason === "length" ? <p class="ending">{t.cut}</p> : null}
      {failure ? (
        <FailureBox failure={failure} canRetry={isLast && isIdle} onRetry={() => actions.again(entry.id)} />
      ) : null}
      {!isWriting && (entry.text || entry.pictures.length || siblings.length > 1 || entry.finish_reason === "cancelled") ? (
        <div class="actions">
          <Branches ids={siblings} id={entry.id} isDisabled={!isIdle} onShow={actions.showBranch} />
          {entry.text ? <CopyButton text={entry.text} label={t.copyMessage} /> : null}
          {entry.text ? <ReadAloudButton id={entry.id} text={entry.text} /> : null}
          {failure && isLast ? null : (
            <button
              type="button"
              class="ghost"
              aria-label={t.regenerate}
              title={t.regenerate}
              disabled={!isIdle}
              onClick={() => actions.again(entry.id)}
            >
              <Again />
            </button>
          )}
        </div>
      ) : null}
    </article>
  );
}

export function Pending() {
  const t = useWords();
  const { connection, status } = useStore(server);
  const isQueued = status !== null && status.num_waiting > 0;
  return (
    <p class="pending">
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      {connection === "loading" ? t.waitingModel : isQueued ? t.waitingQueue : t.thinking}
    </p>
  );
}
