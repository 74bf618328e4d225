// Reads an answer aloud, and stops when it is pressed again.

import { useWords } from "../i18n";
import { readAloud, reading, spokenText, stopReading } from "../state/reading";
import { session } from "../state/session";
import { useStore } from "../state/store";
import { canDo } from "../state/voice";
import { wordsOfError } from "../ui/failures";
import { Speaker, Stop } from "../ui/icons";
import { say } from "../ui/Toast";

export function ReadAloudButton({ id, text }: { id: string; text: string }) {
  const t = useWords();
  const { session: here } = useStore(session);
  const { id: current, isHeard } = useStore(reading);
  if (!here?.voice) return null;
  const isRead = current === id;
  const onClick = () => {
    if (isRead) return void stopReading();
    const spoken = spokenText(text);
    if (!spoken) return say(t.readNothing);
    if (!canDo("speak")) return say(t.readNoModel);
    readAloud(id, spoken).catch((error: unknown) => say(wordsOfError(error, t)));
  };
  const label = isRead ? t.readStop : t.readAloud;
  return (
    <button
      type="button"
      class={`ghost read-aloud${isRead && !isHeard ? " is-waiting" : ""}`}
      aria-label={label}
      title={label}
      onClick={onClick}
    >
      {isRead ? <Stop /> : <Speaker />}
    </button>
  );
}
