// Who holds the device's memory: one bar of the whole budget, and below it what each part is.

import { useEffect, useState } from "preact/hooks";
import { getMemory } from "../api/calls";
import { ApiError } from "../api/client";
import type { Language, Memory as Ledger, MemoryResident, Status } from "../api/types";
import { fill, useWords, type Words } from "../i18n";
import { bytes } from "../ui/format";

const NUM_COLOURS = 5;
const REMEMBERED = ", remembered"; // behind the name of an open model

/** `status` is asked for again and again while the panel is open; the ledger is asked for along with it. */
export function Memory({ status, language }: { status: Status; language: Language }) {
  const t = useWords();
  const [ledger, setLedger] = useState<Ledger | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    getMemory(stop.signal).then(setLedger, (error: unknown) => {
      if (!stop.signal.aborted && !(error instanceof ApiError)) throw error; // the chip tells of those
    });
    return () => stop.abort();
  }, [status]);
  if (!ledger?.ready) return null;
  const names = nameOf(t);
  const named = (name: string) =>
    names[name] ??
    (name.endsWith(REMEMBERED) ? fill(t.memoryRemembered, { name: name.slice(0, -REMEMBERED.length) }) : name);
  const held = ledger.residents.filter((one) => one.device_bytes > 0);
  const away = ledger.residents.filter((one) => one.bytes > one.device_bytes);
  const work = ledger.reservations.reduce((sum, one) => sum + one.bytes, 0);
  const budget = fill(t.memoryOf, { used: bytes(ledger.used_bytes), budget: bytes(ledger.budget_bytes) });
  return (
    <section class="memory">
      <h3>{t.memoryBudget}</h3>
      <p class="hint">{budget}</p>
      <div class="memory-bar" role="img" aria-label={`${t.memoryBudget}: ${budget}`}>
        {held.map((one, index) => (
          <Part key={one.name} colour={index % NUM_COLOURS} share={one.device_bytes / ledger.budget_bytes} />
        ))}
        {work > 0 ? <Part colour="work" share={work / ledger.budget_bytes} /> : null}
      </div>
      <ul>
        {held.map((one, index) => (
          <Line key={one.name} colour={index % NUM_COLOURS} name={named(one.name)} size={one.device_bytes} />
        ))}
        {work > 0 ? <Line colour="work" name={t.memoryWork} size={work} /> : null}
        <Line colour="free" name={t.memoryFree} size={ledger.free_bytes} />
        {away.map((one) => (
          <Line
            key={`${one.name} away`}
            colour="away"
            name={fill(place(one, t), { name: named(one.name) })}
            size={one.bytes - one.device_bytes}
          />
        ))}
      </ul>
      {ledger.waiting.map((one, index) => (
        <p class="hint" key={index}>
          {fill(t.memoryWaits, { name: named(one.name), size: bytes(one.bytes) })}
        </p>
      ))}
      {ledger.notices.map((notice) => (
        <p class="hint" key={notice} lang={language === "en" ? undefined : "en"}>
          {notice}
        </p>
      ))}
    </section>
  );
}

type Colour = number | "work" | "free" | "away";

const Part = ({ colour, share }: { colour: Colour; share: number }) => (
  <i class={`is-${colour}`} style={{ width: `${100 * share}%` }} />
);

const Line = ({ colour, name, size }: { colour: Colour; name: string; size: number }) => (
  <li>
    <i class={`is-${colour}`} aria-hidden="true" />
    <span>{name}</span>
    <b>{bytes(size)}</b>
  </li>
);

const place = (one: MemoryResident, t: Words): string => (one.place === "disk" ? t.memoryOnDisk : t.memoryInHost);

const nameOf = (t: Words): Record<string, string> => ({
  decoder: t.memoryDecoder,
  encoder: t.memoryEncoder,
  projector: t.memoryProjector,
  "key/value cache": t.memoryCache,
  "remembered pictures": t.memoryPictures,
  "an answer": t.memoryAnswer,
  "a look at a picture": t.memoryLook,
  "a text to embed": t.memoryText,
});
