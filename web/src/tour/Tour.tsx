// The first-run tour: where it runs, what it can do, what it cannot, what is good to know.

import { useEffect, useRef, useState } from "preact/hooks";
import { fill, isRemote, useWords } from "../i18n";
import { useChosen } from "../state/choice";
import { session } from "../state/session";
import { useStore } from "../state/store";
import { Dialog } from "../ui/Dialog";
import { Check, Cross, Globe, Lock, Person, Picture, Sigma } from "../ui/icons";
import "../styles/tour.css";

interface Props {
  onClose(): void;
  onTry(prompt: string): void;
  onPhoto(): void;
}

const NUM_STEPS = 4;

export function Tour({ onClose, onTry, onPhoto }: Props) {
  const t = useWords();
  const [step, setStep] = useState(0);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), [step]);
  const { model } = useChosen(null);
  const away = model?.leaves_machine ? fill(t.modelLeaves, { host: model.upstream ?? "" }) : "";
  const titles = [away ? t.welcomeAway : t.tourPrivateTitle, t.tourCanTitle, t.tourCannotTitle, t.tourReadyTitle];
  return (
    <Dialog class="tour" label={t.tourLabel} onClose={onClose}>
      <p class="step">{fill(t.tourStep, { index: step + 1, count: NUM_STEPS })}</p>
      <h2 ref={heading} tabIndex={-1}>
        {titles[step]}
      </h2>
      <div class="tour-body">
        {step === 0 ? away ? <p>{away}</p> : <Private /> : null}
        {step === 1 ? <Can onTry={onTry} onPhoto={onPhoto} /> : null}
        {step === 2 ? <Cannot /> : null}
        {step === 3 ? <Ready /> : null}
      </div>
      <div class="tour-foot">
        <button type="button" class="ghost text" onClick={onClose}>
          {t.tourSkip}
        </button>
        <span class="pips" aria-hidden="true">
          {titles.map((title, index) => (
            <i key={title} class={index === step ? "is-on" : ""} />
          ))}
        </span>
        {step > 0 ? (
          <button type="button" class="button" onClick={() => setStep(step - 1)}>
            {t.tourBack}
          </button>
        ) : null}
        <button
          type="button"
          class="button is-primary"
          onClick={() => (step + 1 < NUM_STEPS ? setStep(step + 1) : onClose())}
        >
          {step + 1 < NUM_STEPS ? t.tourNext : t.tourDone}
        </button>
      </div>
    </Dialog>
  );
}

function Private() {
  const t = useWords();
  const { session: now } = useStore(session);
  const text = isRemote ? t.tourPrivateTextRemote : t.tourPrivateText;
  return (
    <>
      <Lock />
      <p>{fill(text, { encrypted: now?.encrypted ? t.tourEncrypted : "" })}</p>
    </>
  );
}

function Can({ onTry, onPhoto }: Omit<Props, "onClose">) {
  const t = useWords();
  const examples = [
    { icon: <Globe />, what: t.tourCanFact, prompt: t.exampleFactPrompt },
    { icon: <Globe />, what: t.tourCanChinese, prompt: t.tourCanChinesePrompt },
    { icon: <Sigma />, what: t.tourCanSum, prompt: t.exampleSumPrompt },
    { icon: <Person />, what: t.tourCanWho, prompt: t.exampleWhoPrompt },
  ];
  return (
    <>
      <p>{t.tourCanText}</p>
      <ul class="tries">
        {examples.map(({ icon, what, prompt }) => (
          <li key={what}>
            <button type="button" onClick={() => onTry(prompt)}>
              {icon}
              <span>
                <strong>{what}</strong>
                <small>{prompt}</small>
              </span>
            </button>
          </li>
        ))}
        <li>
          <button type="button" onClick={onPhoto}>
            <Picture />
            <span>
              <strong>{t.tourCanPhoto}</strong>
              <small>{t.examplePhotoPrompt}</small>
            </span>
          </button>
        </li>
      </ul>
    </>
  );
}

function Cannot() {
  const t = useWords();
  return (
    <>
      <p>{t.tourCannotText}</p>
      <ul class="points is-no">
        {[t.tourCannot1, t.tourCannot2, t.tourCannot3, t.tourCannot4, t.tourCannot5].map((text) => (
          <li key={text}>
            <Cross />
            {text}
          </li>
        ))}
      </ul>
    </>
  );
}

function Ready() {
  const t = useWords();
  return (
    <ul class="points">
      {[t.tourReady1, t.tourReady2, t.tourReady3, t.tourReady4].map((text) => (
        <li key={text}>
          <Check />
          {text}
        </li>
      ))}
    </ul>
  );
}
