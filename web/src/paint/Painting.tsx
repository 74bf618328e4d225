// A picture on its way: the last stage that was reached, and how far it is.

import { fill, useWords } from "../i18n";
import type { Painting as State } from "../state/thread";

const STAGES = ["sketch", "middle", "final"] as const;

export function Painting({ painting }: { painting: State }) {
  const t = useWords();
  const { preview, done, total } = painting;
  const reached = preview ? STAGES.indexOf(preview.stage) : -1;
  const names = { sketch: t.stageSketch, middle: t.stageMiddle, final: t.stageFinal };
  const percent = total ? Math.round((100 * done) / total) : null;
  return (
    <figure class="painting">
      {preview ? (
        <img src={preview.url} alt={fill(t.stageShown, { stage: names[preview.stage] })} data-stage={preview.stage} />
      ) : (
        <div class="canvas" aria-hidden="true" />
      )}
      <figcaption>
        <ol class="stages">
          {STAGES.map((stage, index) => (
            <li key={stage} class={index <= reached ? "is-reached" : ""} aria-current={index === reached + 1 ? "step" : undefined}>
              {names[stage]}
            </li>
          ))}
        </ol>
        <progress {...(percent === null ? {} : { value: percent })} max={100} aria-label={t.painting} />
      </figcaption>
    </figure>
  );
}
