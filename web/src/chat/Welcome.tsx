// The first sight: what to try, and what not to expect.

import { fill, useWords } from "../i18n";
import { BUILT_IN, shortName, useChosen } from "../state/choice";
import { Globe, Mark, Person, Picture, Sigma } from "../ui/icons";

interface Props {
  onTry(prompt: string): void;
  onPhoto(): void;
  onTour(): void;
  onModels(): void;
}

export function Welcome({ onTry, onPhoto, onTour, onModels }: Props) {
  const t = useWords();
  const { name, model } = useChosen(null);
  const staysHere = !model?.leaves_machine;
  const examples = [
    { icon: <Globe />, title: t.exampleFact, prompt: t.exampleFactPrompt },
    { icon: <Sigma />, title: t.exampleSum, prompt: t.exampleSumPrompt },
    { icon: <Person />, title: t.exampleWho, prompt: t.exampleWhoPrompt },
  ];
  return (
    <div class="welcome">
      <Mark />
      <h1>{staysHere ? t.welcome : t.welcomeAway}</h1>
      <p class="lead">{staysHere ? t.welcomeSub : fill(t.modelLeaves, { host: model?.upstream ?? "" })}</p>
      <div class="examples">
        {examples.map(({ icon, title, prompt }) => (
          <button key={title} type="button" onClick={() => onTry(prompt)}>
            {icon}
            <strong>{title}</strong>
            <span>{prompt}</span>
          </button>
        ))}
        <button type="button" onClick={onPhoto}>
          <Picture />
          <strong>{t.examplePhoto}</strong>
          <span>{t.examplePhotoPrompt}</span>
        </button>
      </div>
      <p class="limits">
        {name === BUILT_IN ? t.limits : fill(t.limitsOther, { name: shortName(name) })}{" "}
        {name === BUILT_IN ? (
          <span class="limit-links">
            <button type="button" class="link" onClick={onTour}>
              {t.limitsMore}
            </button>
            <button type="button" class="link" onClick={onModels}>
              {t.limitsLarger}
            </button>
          </span>
        ) : null}
      </p>
    </div>
  );
}
