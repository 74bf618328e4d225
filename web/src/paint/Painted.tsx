// A painted picture: what it was made of, where each word was looked for, and what can be done with it.

import { useState } from "preact/hooks";
import { attachmentPath } from "../api/calls";
import type { Attachment, PaintedPicture } from "../api/types";
import { fill, useWords } from "../i18n";
import { Again, Download } from "../ui/icons";

interface Props {
  picture: PaintedPicture;
  onView(attachment: Attachment): void;
  onRemix(picture: PaintedPicture): void;
}

const fileOf = (id: string, name: string): Attachment => ({ id, media_type: "image/png", bytes: 0, name });

export function Painted({ picture, onView, onRemix }: Props) {
  const t = useWords();
  const [word, setWord] = useState<number | null>(null);
  const { id, prompt, seed, width, height, model, heat_maps: maps } = picture;
  const shown = fileOf(id, prompt);
  const heat = word === null ? null : maps[word];
  return (
    <figure class="painted">
      <button type="button" class="picture" aria-label={fill(t.viewLarge, { name: prompt })} onClick={() => onView(shown)}>
        <img src={attachmentPath(shown)} alt={fill(t.paintedPicture, { prompt })} width={width} height={height} />
        {heat ? (
          <img class="heat" src={attachmentPath(fileOf(heat.id, heat.word))} alt={fill(t.heatOf, { word: heat.word })} />
        ) : null}
      </button>
      <figcaption>
        <p class="prompt">{prompt}</p>
        {maps.length ? (
          <ul class="words" aria-label={t.heatWords}>
            {maps.map((one, index) => (
              <li key={index}>
                <button
                  type="button"
                  class="word"
                  aria-pressed={word === index}
                  onClick={() => setWord(word === index ? null : index)}
                >
                  {one.word}
                </button>
              </li>
            ))}
          </ul>
        ) : null}
        <p class="facts">
          <small>
            {width} × {height} · {t.paintSeed} {seed} · {model}
          </small>
          <button type="button" class="ghost text" onClick={() => onRemix(picture)}>
            <Again />
            {t.remix}
          </button>
          <a class="ghost text" href={attachmentPath(shown)} download={`${seed}.png`}>
            <Download />
            {t.download}
          </a>
        </p>
      </figcaption>
    </figure>
  );
}
