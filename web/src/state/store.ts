// A value that components can watch. Small on purpose: state lives outside the components, so that an answer goes on
// while another conversation is on the screen.

import { useLayoutEffect, useState } from "preact/hooks";

export class Store<Value extends object> {
  readonly #watchers = new Set<() => void>();
  #value: Value;

  constructor(value: Value) {
    this.#value = value;
  }

  get value(): Value {
    return this.#value;
  }

  set(patch: Partial<Value>): void {
    this.#value = { ...this.#value, ...patch };
    for (const watcher of [...this.#watchers]) watcher();
  }

  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }
}

/** The store's value; the component is drawn again when it changes. */
export function useStore<Value extends object>(store: Store<Value>): Value {
  const [, setDrawn] = useState<Value | null>(null);
  useLayoutEffect(() => {
    const update = () => setDrawn(store.value);
    update(); // it may have changed between drawing and watching
    return store.watch(update);
  }, [store]);
  return store.value;
}

/** A part of the store's value; the component is drawn again only when that part changes. */
export function useSelected<Value extends object, Part>(store: Store<Value> | null, select: (value: Value) => Part): Part | null {
  const now = store ? select(store.value) : null;
  const [, setDrawn] = useState(now);
  useLayoutEffect(() => {
    const update = () => setDrawn(() => (store ? select(store.value) : null));
    update();
    return store?.watch(update);
  }, [store]);
  return now;
}
