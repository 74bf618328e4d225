// The first sight: what to try, and what not to expect.

import { useWords } from "./context";
import { Globe, Leaf, Mark, Picture, Sigma } from "./icons";

export function Welcome({ onTry, onPhoto }: { onTry(prompt: string): void; onPhoto(): void }) {
  const t = useWords();
  const examples = [
    { icon: <Globe />, title: t.exampleFact, prompt: t.exampleFactPrompt },
    { icon: <Sigma />, title: t.exampleSum, prompt: t.exampleSumPrompt },
    { icon: <Leaf />, title: t.exampleWrite, prompt: t.exampleWritePrompt },
  ];
  return (
    <div class="welcome">
      <Mark />
      <h1>{t.welcome}</h1>
      <p class="lead">{t.welcomeSub}</p>
      <div class="examples">
        {examples.map(({ icon, title, prompt }) => (
          <button key={title} onClick={() => onTry(prompt)}>
            {icon}
            <strong>{title}</strong>
            <span>{prompt}</span>
          </button>
        ))}
        <button onClick={onPhoto}>
          <Picture />
          <strong>{t.examplePhoto}</strong>
          <span>{t.examplePhotoPrompt}</span>
        </button>
      </div>
      <p class="limits">{t.limits}</p>
    </div>
  );
}
