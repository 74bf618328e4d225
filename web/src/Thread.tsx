// The conversation, following the newest words until the reader scrolls away.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useWords } from "./context";
import { Down } from "./icons";
import { Message } from "./Message";
import type { Conversation } from "./store";

const NEAR_PX = 80;

interface Props {
  conversation: Conversation;
  isBusy: boolean;
  isLoading: boolean;
  onAgain(): void;
}

export function Thread({ conversation, isBusy, isLoading, onAgain }: Props) {
  const t = useWords();
  const scroller = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const [isAway, setIsAway] = useState(false);
  const { turns } = conversation;
  const last = turns.at(-1);

  const onScroll = () => {
    const box = scroller.current!;
    const isNear = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    follows.current = isNear;
    setIsAway(!isNear);
  };
  const toEnd = () => {
    const box = scroller.current!;
    box.scrollTop = box.scrollHeight;
  };
  useLayoutEffect(() => {
    follows.current = true;
    toEnd();
  }, [conversation.id, turns.length]);
  useLayoutEffect(() => {
    if (follows.current) toEnd();
  }, [last]);

  return (
    <>
      <div class="thread" ref={scroller} onScroll={onScroll} tabIndex={-1}>
        <div class="column">
          {turns.map((turn, index) => (
            <Message
              key={turn.id}
              turn={turn}
              isLast={index === turns.length - 1}
              isBusy={isBusy && index === turns.length - 1}
              isLoading={isLoading}
              onAgain={onAgain}
            />
          ))}
        </div>
      </div>
      {isAway ? (
        <button class="to-latest" aria-label={t.toLatest} title={t.toLatest} onClick={toEnd}>
          <Down />
        </button>
      ) : null}
      <Announcer conversation={conversation} isBusy={isBusy} />
    </>
  );
}

/** Tells a screen reader that an answer is under way, then the whole answer once: not every token. */
function Announcer({ conversation, isBusy }: { conversation: Conversation; isBusy: boolean }) {
  const t = useWords();
  const [said, setSaid] = useState("");
  const wasBusy = useRef(false);
  useEffect(() => {
    if (isBusy) setSaid(t.answering);
    else if (wasBusy.current) setSaid(conversation.turns.at(-1)?.text ?? "");
    wasBusy.current = isBusy;
  }, [isBusy]);
  return (
    <div class="for-screen-readers" aria-live="polite">
      {said}
    </div>
  );
}
