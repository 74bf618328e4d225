// Draws a part of the page that is loaded when it is first needed.

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

const loaded = new Map<() => Promise<unknown>, unknown>();

interface Props<Own extends object> {
  load: () => Promise<ComponentType<Own>>;
  own: Own;
  onFailed(): void;
}

export function Lazy<Own extends object>({ load, own, onFailed }: Props<Own>) {
  const [Part, setPart] = useState<ComponentType<Own> | null>(() => (loaded.get(load) as ComponentType<Own>) ?? null);
  useEffect(() => {
    if (Part) return;
    let isOver = false;
    load().then(
      (part) => {
        loaded.set(load, part);
        if (!isOver) setPart(() => part);
      },
      () => !isOver && onFailed(),
    );
    return () => {
      isOver = true;
    };
  }, []);
  return Part ? <Part {...own} /> : null;
}
