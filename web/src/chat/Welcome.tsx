// The first sight: what to try, and what not to expect.

import { useWords } from "../i18n";
import { Globe, Mark, Person, Picture, Sigma } from "../ui/icons";

interface Props {
  onTry(prompt: string): void;
  onPhoto(): void;
  onTour(): void;
}

export function Welcome({ onTry, onPhoto, onTour }: Props) {
  const t = useWords();
  const examples = [
    { icon: <Globe />, title: t.exampleFact, prompt: t.exampleFactPrompt },
    { icon: <Sigma />, title: t.exampleSum, prompt: t.exampleSumPrompt },
    { icon: <Person />, title: t.exampleWho, prompt: t.exampleWhoPrompt },
  ];
  return (
    <div class="welcome">
      <Mark />
      <h1>{t.welcome}</h1>
      <p class="lead">{t.welcomeSub}</p>
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
        {t.limits}{" "}
        <button type="button" class="link" onClick={onTour}>
          {t.limitsMore}
        </button>
      </p>
    </div>
  );
}
