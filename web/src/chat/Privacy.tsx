// Where what is written here goes: nowhere, unless the chosen model runs on another machine.

import { fill, isRemote, useWords } from "../i18n";
import { useChosen } from "../state/choice";
import type { ThreadStore } from "../state/thread";

export function Privacy({ thread }: { thread: ThreadStore | null }) {
  const t = useWords();
  const { model } = useChosen(thread);
  if (model?.leaves_machine) return <b>{fill(t.modelLeaves, { host: model.upstream ?? "" })}</b>;
  return <>{isRemote ? t.privateRemote : t.private}</>;
}
